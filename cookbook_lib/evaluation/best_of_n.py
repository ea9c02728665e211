"""Best-of-n: let the judge pick one of n answers; how good is what it picks (Gao et al. 2022, https://arxiv.org/abs/2210.10760)?

    picked(n)    mean over prompts of  E[truth of the highest score among n of the prompt's N answers, drawn without return]
               = sum over ranks j of  C(j-1, n-1) / C(N, n) · truth_(j)         j = 1 lowest score .. N highest
    best(n)      the same with the truth itself as the score: nobody picks better
    random       n = 1: the mean of the truth

Answers whose scores are equal are picked with equal chance, and so share the mean of their truths. A missing score is the
lowest of all. Truth is right or wrong (0, 1) or any rating.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from cookbook_lib.evaluation.intervals import group_index, mean_by_group
from cookbook_lib.evaluation.measure import Floats, Measure, Scores, as_scores, counted, same_length, undefined


@dataclass(frozen=True)
class BestOfN:
    """What is picked of n answers, beside what nobody could beat."""

    n: int
    picked: Measure
    best: Measure


def best_of_n(
    scores: Scores,
    truth: Sequence[float],
    groups: Sequence[Hashable],
    *,
    ns: Sequence[int] | None = None,
    seed: int = 0,
) -> list[BestOfN]:
    """scores, truth, groups (answers,): the prompt of each answer in `groups`.

    ns: how many answers to pick from; by default 1, 2, 4, 8 .. as far as every prompt has that many, and the most that
    they all have. Prompts with fewer than n answers are left out of n, and the note says how many.
    """
    same_length(scores=scores, truth=truth, groups=groups)
    x, y, index = as_scores(scores), as_scores(truth, "truth"), group_index(groups, len(groups))
    if not len(x):
        return []
    x = np.where(np.isnan(x), -math.inf, x)
    prompts = [(x[index == i], y[index == i]) for i in range(index.max() + 1)]
    return [
        BestOfN(n, _mean([(s, t) for s, t in prompts], n, seed), _mean([(t, t) for _, t in prompts], n, seed))
        for n in ns or _doublings(min(len(s) for s, _ in prompts))
    ]


def expected_pick(scores: Floats, truth: Floats, n: int) -> float:
    """The expected truth of the highest of n of these answers (N,), N >= n."""
    order = np.argsort(scores, kind="stable")
    _, place = np.unique(scores[order], return_inverse=True)
    shared = (np.bincount(place, truth[order]) / np.bincount(place))[place]
    chance = [math.comb(j, n - 1) / math.comb(len(order), n) for j in range(len(order))]
    return float(np.dot(chance, shared))


def _mean(prompts: list[tuple[Floats, Floats]], n: int, seed: int) -> Measure:
    known = [(s, t) for s, t in prompts if len(s) >= n and not np.isnan(t).any() and not np.isnan(s).any()]
    if not known:
        return undefined(f"no prompt has {counted(n, 'answer')} with a known truth")
    few = len(prompts) - len(known)
    note = f"{counted(few, 'prompt')} with fewer answers, or without a truth, left out" if few else ""
    return Measure(mean_by_group([expected_pick(s, t, n) for s, t in known], seed=seed), len(known), note)


def _doublings(most: int) -> list[int]:
    powers = [2**i for i in range(most.bit_length()) if 2**i <= most]
    return powers if powers[-1] == most else [*powers, most]
