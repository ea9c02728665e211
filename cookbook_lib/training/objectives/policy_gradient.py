r"""Reinforcement learning from completions: the likelier, the better they did.

    L = 1/U sum_t w_t [ W_t l(rho_t, A_t)  +  beta KL_t  -  eta H_t  +  c E_t ]        t over the tokens of completions

    l      vanilla (PPO), gspo, cispo; W truncated importance weights      policy_losses.py
    A      grpo, rloo, ..., gae                                            ../advantages.py
    KL     k1, k2, k3 against a reference                                  kl.py
    H      entropy of what the token was drawn from                        ../../models/token_logps.py
    E      the critic's error, for gae                                     value.py
    w, U   loss_agg_mode: each a sum over units, and one division          completion_tokens.py

Advantages, and all that is old or a reference's, come with the batch: what the updates of a round learn from was settled when
the round was made. The unit is a token or a completion, as loss_agg_mode says.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import ROUND, ROUND_WEIGHT, CompletionBatch
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Loss, Stats
from cookbook_lib.training.objectives.completion_tokens import Told, completion_logps, owned, token_weights
from cookbook_lib.training.objectives.kl import kl_estimates
from cookbook_lib.training.objectives.policy_losses import POLICY_LOSSES, Drawn, importance_weights
from cookbook_lib.training.objectives.value import value_losses


@dataclass(frozen=True)
class Term:
    """One summand of a token's loss, weighted already, and what is reported with it; (N,) each."""

    losses: torch.Tensor | float
    seen: dict[str, torch.Tensor]


class PolicyGradient:
    """temperature: of the sampling. horizon: tokens that a completion may have, for seq-mean-token-sum-norm."""

    def __init__(
        self, mesh: Mesh, options: AlgorithmConfig, *, temperature: float = 1.0, horizon: int | None = None
    ) -> None:
        self.mesh, self.options, self.temperature, self.horizon = mesh, options, temperature, horizon
        self.unit = "token" if options.loss_agg_mode == "token-mean" else "completion"

    def count(self, batch: CompletionBatch) -> float:
        tokens, completions = owned(batch, self.mesh)
        return float((tokens if self.unit == "token" else completions).sum())

    def __call__(self, model: PackedModel, batch: CompletionBatch) -> Loss:
        o = self.options
        wanted = {"entropy": o.entropy_coeff != 0, "values": o.adv_estimator == "gae"}
        said = completion_logps(model, batch, self.mesh, temperature=self.temperature, **wanted)
        known = Known(batch, self.mesh, said.logps.device)
        terms = [term(said, known) for term in self._terms()]
        losses = sum((term.losses for term in terms), torch.zeros_like(said.logps))
        weights = token_weights(o.loss_agg_mode, batch.completion, self.horizon) * known.tokens
        total = (losses * known.moved(weights)).sum()
        seen = {name: x for term in terms for name, x in term.seen.items()}
        return Loss(total, {"loss": (total.detach(), self.count(batch))} | _stats(seen, known))

    def _terms(self) -> list[Callable[[Told, "Known"], Term]]:
        critic = [self._critic] if self.options.adv_estimator == "gae" else []
        return [self._policy, self._distance, self._entropy, *critic]

    def _policy(self, said: Told, known: "Known") -> Term:
        o, old = self.options, known["old_logps"]
        drawn = Drawn(said.logps, old, known["advantages"], known.completion, len(known.completions))
        policy = POLICY_LOSSES[o.policy_loss](drawn, o)
        seen = {
            "clip_fraction": policy.clipped,
            "dual_clip_fraction": policy.dual_clipped,
            "ratio": policy.ratios,
            "ratio_square": policy.ratios.square(),
            "old_kl": kl_estimates("k1", old, said.logps.detach()),
        }
        if o.tis_cap is None or not (known.has("rollout_logps") or torch.is_grad_enabled()):
            return Term(policy.losses, seen)  # validation drawn at another temperature has none, and needs none
        weights = importance_weights(old, known["rollout_logps"], o.tis_cap)
        seen |= {"tis_weight": weights, "tis_capped": weights == o.tis_cap}
        return Term(weights * policy.losses, seen)

    def _distance(self, said: Told, known: "Known") -> Term:
        """To the reference; and of the engine, where it said what it thought, to the training's forward."""
        o, seen = self.options, {}
        if known.has("rollout_logps"):
            seen["mismatch_kl"] = kl_estimates("k3", known["rollout_logps"], known["old_logps"])
        if not (o.use_kl_loss or known.has("ref_logps")):
            return Term(0.0, seen)
        kl = kl_estimates(o.kl_loss_type if o.use_kl_loss else "k3", said.logps, known["ref_logps"])
        return Term(o.kl_loss_coef * kl if o.use_kl_loss else 0.0, seen | {"kl": kl.detach()})

    def _entropy(self, said: Told, known: "Known") -> Term:
        coefficient = self.options.entropy_coeff
        return Term(-coefficient * said.entropies if coefficient else 0.0, {"entropy": said.entropies.detach()})

    def _critic(self, said: Told, known: "Known") -> Term:
        assert said.values is not None
        values, o = said.values, self.options
        errors, clipped = value_losses(values, known["old_values"], known["returns"], o.cliprange_value)
        seen = {"value_loss": errors.detach(), "value_clip_fraction": clipped, "value": values.detach()}
        return Term(o.vf_coef * errors, seen | {"return": known["returns"]})


class Known:
    """What a batch says of its tokens, on the device; and, on the CPU, which tokens and completions this rank counts."""

    def __init__(self, batch: CompletionBatch, mesh: Mesh, device: torch.device) -> None:
        self.batch, self.device = batch, device
        self.completion = self.moved(batch.completion)
        self.tokens, self.completions = owned(batch, mesh)

    def moved(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.device, non_blocking=True)

    def has(self, name: str) -> bool:
        return getattr(self.batch, name) is not None

    def __getitem__(self, name: str) -> torch.Tensor:
        """A column (N,) fp32. CookbookError when the round was made without it."""
        if not self.has(name):
            raise CookbookError(
                f"the completions have no {name}, which the [algorithm] keys ask for: let the rollouts compute them."
            )
        return self.moved(getattr(self.batch, name))


def _stats(seen: dict[str, torch.Tensor], known: Known) -> Stats:
    """Means over tokens of what was seen; over completions, of their own stats (NaN: not known) and their largest ratios.

    ratio, old_kl: against the policy that drew them; kl: against the reference; mismatch_kl: of the engine's log-probabilities
    against the training's; clip_fraction: share of tokens that the clip decides. A number of the whole round counts in place of
    that of the completions that are learned from, and each round by the completions that it asked for.
    """
    mine, whole = known.moved(known.tokens), known.moved(known.completions)
    largest = torch.zeros(len(whole), device=known.device)
    largest = largest.scatter_reduce(0, known.completion, seen["ratio"], "amax", include_self=False)
    stats = {name: ((x * mine).sum(), float(known.tokens.sum())) for name, x in seen.items()}
    stats["ratio_max"] = ((largest * whole).sum(), float(known.completions.sum()))
    told, alike = dict(known.batch.stats), torch.ones(len(known.completions))
    weight = told.pop(ROUND_WEIGHT, alike)
    for name, x in told.items():
        counted = known.completions & ~x.isnan()
        each = (weight if name.startswith(ROUND) else alike)[counted]
        stats[name] = ((x[counted] * each).sum(), float(each.sum()))
        if name == "reward":
            stats["reward_square"] = (x[counted].square().sum(), float(counted.sum()))
    return stats | {name.removeprefix(ROUND): stats.pop(name) for name in list(stats) if name.startswith(ROUND)}
