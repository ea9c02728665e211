r"""What a policy's loss makes of each token, while the policy leaves the one that drew them.

    rho_t = p(y_t) / p_old(y_t)        A_t advantage        c(x) = clip(x, 1 - eps_low, 1 + eps_high)

    vanilla   max(- A rho, - A c(rho)), where A < 0 at most - A C
    gspo      max(- A s, - A c(s))                                   s = exp(mean_t log rho_t) of the whole completion
    cispo     - sg[c(rho)] A log p                                   clipped is the weight: no token loses its gradient

    W_t = min(p_old / p_engine, cap)                                 truncated importance weights of the engine's draws

vanilla: PPO, https://arxiv.org/abs/1707.06347; with eps_high > eps_low DAPO's clip-higher, https://arxiv.org/abs/2503.14476; C
is the dual clip, https://arxiv.org/abs/1912.09729. gspo: https://arxiv.org/abs/2507.18071, as GSPO-token: s carries token t's
own gradient, s_t = sg[s] p_t / sg[p_t], which is the same in sum where tokens of a completion share advantage and weight.
cispo: https://arxiv.org/abs/2506.13585. W: https://fengyao.notion.site/off-policy-rl. sg: no gradient goes through.

In the first update of a round rho is 1 everywhere, and the gradient of all three is that of - A log p.

Shapes: N tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.training.objectives.kl import LOG_RATIO


@dataclass(frozen=True)
class Drawn:
    """The tokens that a policy drew, (N,) each."""

    logps: torch.Tensor  # under the policy that learns; differentiable
    old_logps: torch.Tensor  # under the one that drew them
    advantages: torch.Tensor
    completion: torch.Tensor  # int64: whose token it is
    completions: int  # how many there are: asking a device would wait for its queue

    @property
    def log_ratios(self) -> torch.Tensor:
        return self.logps - self.old_logps


@dataclass(frozen=True)
class PolicyTerms:
    """Of each token, (N,)."""

    losses: torch.Tensor  # differentiable
    ratios: torch.Tensor  # rho; for gspo s
    clipped: torch.Tensor  # booleans: the clip decides
    dual_clipped: torch.Tensor  # booleans: the dual clip decides


def vanilla(drawn: Drawn, options: AlgorithmConfig) -> PolicyTerms:
    """PPO's clip, token by token."""
    return _held(_exp(drawn.log_ratios), drawn.advantages, options, options.clip_ratio_c)


def gspo(drawn: Drawn, options: AlgorithmConfig) -> PolicyTerms:
    """The clip of a completion's mean log-ratio, for all its tokens alike."""
    off = drawn.log_ratios.detach()
    sums, lengths = (
        off.new_zeros(drawn.completions).index_add(0, drawn.completion, x) for x in (off, torch.ones_like(off))
    )
    means = sums / lengths
    own = drawn.logps - drawn.logps.detach()  # 0, with a gradient
    return _held(_exp(means[drawn.completion] + own), drawn.advantages, options, None)


def cispo(drawn: Drawn, options: AlgorithmConfig) -> PolicyTerms:
    """REINFORCE under a clipped importance weight."""
    ratios = _exp(drawn.log_ratios).detach()
    weights = _clip(ratios, options)
    losses = -weights * drawn.advantages * drawn.logps
    return PolicyTerms(losses, ratios, weights != ratios, torch.zeros_like(ratios, dtype=torch.bool))


POLICY_LOSSES: dict[str, Callable[[Drawn, AlgorithmConfig], PolicyTerms]] = {
    "vanilla": vanilla,
    "gspo": gspo,
    "cispo": cispo,
}


def importance_weights(old_logps: torch.Tensor, rollout_logps: torch.Tensor, cap: float) -> torch.Tensor:
    """W_t, (N,): p_old / p_engine, at most `cap`."""
    return _exp(old_logps - rollout_logps).clamp(max=cap)


def _held(ratios: torch.Tensor, advantages: torch.Tensor, options: AlgorithmConfig, dual: float | None) -> PolicyTerms:
    """The larger of the free and the clipped loss, and no more than the dual clip's."""
    free, held = -advantages * ratios, -advantages * _clip(ratios, options)
    losses = torch.maximum(free, held)
    ceiling = torch.full_like(losses, torch.inf)
    if dual is not None:
        ceiling = torch.where(advantages < 0, -advantages * dual, ceiling)
    return PolicyTerms(torch.minimum(losses, ceiling), ratios.detach(), held > free, losses > ceiling)


def _clip(ratios: torch.Tensor, options: AlgorithmConfig) -> torch.Tensor:
    return ratios.clamp(1 - options.clip_ratio_low, 1 + options.clip_ratio_high)


def _exp(log_ratios: torch.Tensor) -> torch.Tensor:
    return log_ratios.clamp(-LOG_RATIO, LOG_RATIO).exp()
