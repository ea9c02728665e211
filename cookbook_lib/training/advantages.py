r"""From what the completions of a round earned to the advantage of each of their tokens.

    r_i reward of completion i; mu, sigma (n - 1) of the n completions of its prompt, its group

    grpo                            A_i = (r_i - mu) / (sigma + 1e-6)              https://arxiv.org/abs/2402.03300
    dr_grpo                         A_i = r_i - mu                                 https://arxiv.org/abs/2503.20783
    rloo                            A_i = r_i - mean of the others                 https://arxiv.org/abs/2402.14740
    remax                           A_i = r_i - r(greedy answer)                   https://arxiv.org/abs/2310.10505
    reinforce_plus_plus             A_t = whiten(G_t), G_t = r_t + gamma G_t+1     https://arxiv.org/abs/2501.03262
    reinforce_plus_plus_baseline    A_t = whiten(r_i - mu)
    gae                             A_t = whiten(a_t), a_t = d_t + gamma lam a_t+1, d_t = r_t + gamma V_t+1 - V_t, R_t = a_t + V_t
                                                                                   https://arxiv.org/abs/1506.02438

A reward is earned at a completion's last token; r_t is 0 before it, or what the distance from a reference costs there
(`token_rewards`). whiten: mean 0, standard deviation 1 over all tokens of the round, which is why every function here wants the
whole round, on every rank alike. Computed in float64: equal rewards have an advantage of exactly 0.

Shapes: C completions, N tokens: of completion 0 in order, of 1, ... (`completion` (N,) int64 ascending from 0, each present).
"""

from dataclasses import dataclass

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import AlgorithmConfig

EPSILON = 1e-6  # beside sigma, as verl has it (TRL: 1e-4)


@dataclass(frozen=True)
class Advantages:
    tokens: torch.Tensor  # (N,) fp32
    returns: torch.Tensor | None = None  # (N,) fp32: what a critic learns; gae alone


def estimate(
    options: AlgorithmConfig,
    rewards: torch.Tensor,
    group: torch.Tensor,
    completion: torch.Tensor,
    *,
    kl: torch.Tensor | None = None,
    greedy: torch.Tensor | None = None,
    values: torch.Tensor | None = None,
) -> Advantages:
    """Advantages by options.adv_estimator, of a whole round.

    rewards, group (C,); kl (N,): k1 against the reference, given when it costs reward (options.kl_coef); greedy (C,): what
    the greedy answer to each completion's prompt earned, for remax; values (N,): the critic's, for gae. Raises CookbookError
    for a reward that is no finite number, for a group that is too small, for what the estimator needs and is not given.
    """
    _check(rewards, options.adv_estimator, greedy, values)
    each = token_rewards(rewards, completion, kl, options.kl_coef)
    outcomes = torch.zeros_like(rewards, dtype=torch.float64).index_add(0, completion, each)
    match options.adv_estimator:
        case "grpo":
            by_completion = grpo(outcomes, group, by_std=options.norm_adv_by_std_in_grpo)
        case "dr_grpo":
            by_completion = dr_grpo(outcomes, group)
        case "rloo":
            by_completion = rloo(outcomes, group)
        case "reinforce_plus_plus":
            return Advantages(reinforce_plus_plus(each, completion, gamma=options.gamma).float())
        case "reinforce_plus_plus_baseline":
            return Advantages(reinforce_plus_plus_baseline(outcomes, group, completion).float())
        case "remax":
            assert greedy is not None
            return Advantages(remax(each, completion, greedy.double()).float())
        case "gae":
            assert values is not None
            advantages, returns = gae(each, values.double(), completion, gamma=options.gamma, lam=options.lam)
            return Advantages(whiten(advantages).float(), returns.float())
    return Advantages(by_completion[completion].float())


def token_rewards(
    rewards: torch.Tensor, completion: torch.Tensor, kl: torch.Tensor | None = None, kl_coef: float = 0.0
) -> torch.Tensor:
    """r_t, (N,) float64: the reward of its completion at each last token, kl_coef times `kl` (N,) less at every token."""
    each = torch.zeros(len(completion), dtype=torch.float64, device=rewards.device)
    each = each.index_copy(0, _ends(completion), rewards.double())
    return each if kl is None else each - kl_coef * kl.double()


# ------------------------------------------------------------------------------------------- one number for a completion


def grpo(rewards: torch.Tensor, group: torch.Tensor, *, by_std: bool = True) -> torch.Tensor:
    """(C,). Group relative policy optimisation; by_std=False is dr_grpo."""
    rewards = rewards.double()
    index, sizes = _groups(group)
    off = rewards - _mean(rewards, index, sizes)
    if not by_std:
        return off
    squares = torch.zeros(len(sizes), dtype=off.dtype, device=off.device).index_add(0, index, off.square())
    sigma = (squares / (sizes - 1)).sqrt()
    return off / (sigma[index] + EPSILON)


def dr_grpo(rewards: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """(C,). GRPO done right: no deviation, that would give questions that are nearly settled the largest say."""
    return grpo(rewards, group, by_std=False)


def rloo(rewards: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """(C,). Reinforce leave-one-out: r_i - (n mu - r_i) / (n - 1) = n / (n - 1) (r_i - mu)."""
    rewards = rewards.double()
    index, sizes = _groups(group)
    n = sizes[index]
    return n / (n - 1) * (rewards - _mean(rewards, index, sizes))


# ---------------------------------------------------------------------------------------------------- numbers for tokens


def remax(each: torch.Tensor, completion: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
    """(N,). The rewards still to come, over that of the greedy answer. each (N,) token rewards, greedy (C,)."""
    return from_here_on(each, completion, 1.0) - greedy[completion]


def reinforce_plus_plus(each: torch.Tensor, completion: torch.Tensor, *, gamma: float = 1.0) -> torch.Tensor:
    """(N,). The discounted rewards still to come, whitened over the round. each (N,) token rewards."""
    return whiten(from_here_on(each, completion, gamma))


def reinforce_plus_plus_baseline(rewards: torch.Tensor, group: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """(N,). Over the group's mean, whitened over the round's tokens. rewards (C,)."""
    rewards = rewards.double()
    index, sizes = _groups(group)
    return whiten((rewards - _mean(rewards, index, sizes))[completion])


def gae(
    each: torch.Tensor, values: torch.Tensor, completion: torch.Tensor, *, gamma: float = 1.0, lam: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantages, not yet whitened, and returns, (N,) each. each (N,) token rewards; values (N,): V_t of the state
    that token t was drawn in. After a completion's last token there is nothing: V = 0."""
    following = values.roll(-1).index_fill(0, _ends(completion), 0.0)
    advantages = from_here_on(each + gamma * following - values, completion, gamma * lam)
    return advantages, advantages + values


def from_here_on(x: torch.Tensor, completion: torch.Tensor, decay: float) -> torch.Tensor:
    """y_t = x_t + decay y_t+1 within each completion, (N,)."""
    lengths = torch.bincount(completion)
    place = torch.arange(len(x), device=x.device) - (lengths.cumsum(0) - lengths)[completion]
    rows = x.new_zeros(len(lengths), int(lengths.max()) if len(x) else 0)
    rows[completion, place] = x
    after = x.new_zeros(len(lengths))
    for column in reversed(range(rows.shape[1])):
        after = rows[:, column] = rows[:, column] + decay * after
    return rows[completion, place]


def whiten(x: torch.Tensor) -> torch.Tensor:
    """(x - mean) / standard deviation (n - 1)."""
    if len(x) < 2:
        return torch.zeros_like(x)
    return (x - x.mean()) * (x.var() + 1e-8).rsqrt()


# ---------------------------------------------------------------------------------------------------------------- inside


def _ends(completion: torch.Tensor) -> torch.Tensor:
    """Where each completion's last token is, (C,)."""
    return torch.bincount(completion).cumsum(0) - 1


def _groups(group: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each completion's place (C,) among the groups, and their sizes. CookbookError for a group of one."""
    names, index, sizes = group.unique(return_inverse=True, return_counts=True)
    if len(sizes) and (alone := names[sizes < 2]).numel():
        raise CookbookError(
            f"group {int(alone[0])} has one completion, and its estimator measures each against the others of its group: set "
            "rollout.n to 2 or more, or algorithm.adv_estimator to reinforce_plus_plus, remax or gae."
        )
    return index, sizes


def _mean(rewards: torch.Tensor, index: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Of its group, for each completion, (C,)."""
    sums = torch.zeros(len(sizes), dtype=rewards.dtype, device=rewards.device).index_add(0, index, rewards)
    return (sums / sizes)[index]


def _check(rewards: torch.Tensor, estimator: str, greedy: torch.Tensor | None, values: torch.Tensor | None) -> None:
    if not bool(rewards.isfinite().all()):
        place = int((~rewards.isfinite()).nonzero()[0])
        raise CookbookError(
            f"the reward of completion {place} is {float(rewards[place])}; an advantage needs a finite one: look at its reward function."
        )
    for needs, given, what in (
        ("remax", greedy, "the rewards of greedy answers"),
        ("gae", values, "a critic's values"),
    ):
        if estimator == needs and given is None:
            raise CookbookError(f"algorithm.adv_estimator is {needs}, which needs {what}: give them.")
