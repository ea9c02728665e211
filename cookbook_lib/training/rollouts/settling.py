"""From rewards to advantages, for a whole round: what its updates learn from is settled before the first of them.

Every rank holds the whole round, so that what looks at all of it (whitening, say) needs no exchange, and gives the same numbers
on any number of ranks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import torch

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import Group
from cookbook_lib.training.advantages import estimate
from cookbook_lib.training.objectives.kl import kl_estimates
from cookbook_lib.training.rollouts.judging import Answered

Settle = Callable[[Sequence[Answered]], list[Answered]]  # groups with old_logps -> the same with advantages


def advantages_by(options: AlgorithmConfig) -> Settle:
    """The columns `advantages` and, of a critic, `returns`, as algorithm.adv_estimator has them (training/advantages.py)."""

    def settle(answered: Sequence[Answered]) -> list[Answered]:
        groups = [one.group for one in answered]
        ref = _column(groups, "ref_logps") if options.use_kl_in_reward else None
        found = estimate(
            options,
            torch.tensor([total for one in answered for total in one.totals]),
            torch.tensor([one.group.number for one in answered for _ in one.totals]),
            torch.from_numpy(
                np.repeat(np.arange(sum(len(g.lengths) for g in groups)), [n for g in groups for n in g.lengths])
            ),
            kl=None if ref is None else kl_estimates("k1", _column(groups, "old_logps"), ref),
            greedy=_greedy(answered) if options.adv_estimator == "remax" else None,
            values=_column(groups, "old_values") if options.adv_estimator == "gae" else None,
        )
        columns = {"advantages": found.tokens} | ({} if found.returns is None else {"returns": found.returns})
        return [replace(one, group=group) for one, group in zip(answered, _with(groups, columns), strict=True)]

    return settle


def earned(answered: Sequence[Answered]) -> list[Answered]:
    """What validation settles: no advantage, and for a critic the reward that it learns, normalised where that is asked for, as
    the return of every token."""
    settled = []
    for one in map(without_advantages, answered):
        group, columns = one.group, dict(one.group.columns)
        if "old_values" in columns:
            columns["returns"] = tuple(
                np.full(n, r, np.float32) for n, r in zip(group.lengths, one.totals, strict=True)
            )
        settled.append(replace(one, group=replace(group, columns=columns)))
    return settled


def without_advantages(one: Answered) -> Answered:
    """With an advantage of 0 for every token."""
    columns = dict(one.group.columns) | {"advantages": tuple(np.zeros(n, np.float32) for n in one.group.lengths)}
    return replace(one, group=replace(one.group, columns=columns))


def _column(groups: Sequence[Group], name: str) -> torch.Tensor:
    """(N,), all groups' tokens end to end."""
    return torch.from_numpy(np.concatenate([numbers for group in groups for numbers in group.columns[name]]))


def _greedy(answered: Sequence[Answered]) -> torch.Tensor | None:
    rewards = [one.greedy for one in answered for _ in one.totals]
    return None if None in rewards else torch.tensor(rewards)


def _with(groups: Sequence[Group], columns: dict[str, torch.Tensor]) -> list[Group]:
    sizes = [sum(group.lengths) for group in groups]
    starts = [0, *accumulate(sizes)]
    made = []
    for group, start in zip(groups, starts, strict=False):  # one start more than groups
        ends = list(accumulate(group.lengths))
        own = {name: np.split(x[start : start + ends[-1]].numpy(), ends[:-1]) for name, x in columns.items()}
        made.append(replace(group, columns=dict(group.columns) | {name: tuple(x) for name, x in own.items()}))
    return made
