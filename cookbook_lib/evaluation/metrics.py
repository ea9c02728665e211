"""How well scores agree with preferences and with given scores.

    pair_accuracy     share of pairs whose chosen answer scores higher; equal scores are wrong, or half right
    auc               P(score of a good answer > score of a bad one) + P(equal) / 2            Hanley & McNeil 1982
    pearson           cov(x, y) / (sd(x) sd(y))                                                 a line
    spearman          pearson of the ranks, equal values sharing their mean rank               any rising curve
    kendall           (concordant - discordant) / sqrt((pairs - ties in x) (pairs - ties in y)), tau-b (Kendall 1945)

Missing scores make a pair wrong (a judge that cannot answer has not answered right) and leave a correlation, where
nothing could be made of them; both are counted in the note. Intervals are bootstraps by `groups`, the prompts.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.evaluation.intervals import Groups, Weights, bootstrap, share_by_group
from cookbook_lib.evaluation.measure import (
    Floats,
    Measure,
    Scores,
    as_scores,
    counted,
    differences,
    joined,
    measured,
    pick,
    same_length,
    undefined,
)

Kind = Literal["pearson", "spearman", "kendall"]
KINDS: tuple[Kind, ...] = ("pearson", "spearman", "kendall")
STILL = 1e-12  # a variance below this share of the data's own is none


# --------------------------------------------------------------------------------------------------------------- pairs


def pair_accuracy(
    chosen: Scores,
    rejected: Scores,
    *,
    groups: Groups = None,
    ties: Sequence[bool] | None = None,
    equal: Literal["wrong", "half"] = "wrong",
    tie_within: float = 0.0,
    seed: int = 0,
) -> Measure:
    """The share of pairs that the scores order as the data does: (n,) each.

    equal: what a pair is worth whose scores do not differ; "wrong" is the rule of RewardBench and RM-Bench, "half" is a
        coin's due. ties: pairs that the data calls equal; they are right where the scores differ by at most `tie_within`
        (Deutsch et al. 2023, "Ties Matter", https://arxiv.org/abs/2305.14324).
    """
    d = differences(chosen, rejected)
    same_length(chosen=chosen, ties=ties)
    if not len(d):
        return undefined("there is no pair")
    gold = np.zeros(len(d), bool) if ties is None else np.asarray(ties, bool)
    credit = pair_credits(d, gold, equal, tie_within)
    level = int(((np.abs(d) <= tie_within) & ~gold).sum())
    note = joined(
        counted(level, "pair of equal scores counts as ", "pairs of equal scores count as ") + (equal if level else ""),
        counted(int(np.isnan(d).sum()), "pair without scores counts as wrong", "pairs without scores count as wrong"),
    )
    return Measure(share_by_group(credit, groups, seed=seed), len(d), note)


def pair_credits(d: Floats, ties: NDArray[np.bool_], equal: str = "wrong", tie_within: float = 0.0) -> Floats:
    """(n,) what each difference is worth: 1 right, 0 wrong or missing, and 1/2 for equal scores if `equal` says so."""
    level = np.abs(d) <= tie_within
    decided = np.where(level, 0.5 if equal == "half" else 0.0, d > tie_within)
    return np.where(ties, level, decided).astype(float)


def fit_tie_threshold(chosen: Scores, rejected: Scores, ties: Sequence[bool]) -> tuple[float, float]:
    """(tie_within, accuracy): the difference up to which to call a tie, so that most pairs of these are right.

    Use it on other pairs than those it is fitted on. (0, nan) when there is no pair with scores.
    """
    d, gold = differences(chosen, rejected), np.asarray(ties, bool)
    same_length(chosen=chosen, ties=ties)
    sizes = np.unique(np.abs(d[~np.isnan(d)]))
    if not len(sizes):
        return 0.0, math.nan
    found = [(float(pair_credits(d, gold, tie_within=limit).mean()), -float(limit)) for limit in (0.0, *sizes)]
    accuracy, limit = max(found)
    return -limit, accuracy


# -------------------------------------------------------------------------------------------------------- correlations


def correlations(scores: Scores, truth: Scores, *, groups: Groups = None, seed: int = 0) -> dict[Kind, Measure]:
    """All three: kind -> figure."""
    return {kind: correlation(scores, truth, kind, groups=groups, seed=seed) for kind in KINDS}


def correlation(
    scores: Scores,
    truth: Scores,
    kind: Kind = "spearman",
    *,
    groups: Groups = None,
    seed: int = 0,
    names: tuple[str, str] = ("scores", "true scores"),
) -> Measure:
    """How scores (n,) rise with truth (n,), from -1 to 1; `names` are for the sentence when one of them is constant."""
    n = same_length(**{names[0]: scores, names[1]: truth})
    x, y = as_scores(scores, names[0]), as_scores(truth, names[1])
    kept = ~(np.isnan(x) | np.isnan(y))
    x, y = x[kept], y[kept]
    if len(x) < 2:
        return undefined(f"a correlation needs two rows with scores, here are {len(x)}", len(x))
    for name, values in zip(names, (x, y), strict=True):
        if values.min() == values.max():
            return undefined(f"all {name} are {values[0]:g}: with a constant nothing correlates", len(x))
    interval = bootstrap(_statistic(kind, x, y), len(x), pick(groups, kept), seed=seed)
    left = counted(n - len(x), "row without a score is left out", "rows without a score are left out")
    return measured(interval, len(x), left, otherwise="the scores are too close to a constant to correlate")


def _statistic(kind: Kind, x: Floats, y: Floats) -> Callable[[Weights], Floats]:
    match kind:
        case "pearson":
            x, y = _standard(x), _standard(y)
            return lambda weights: weighted_pearson(x, y, weights)
        case "spearman":
            return lambda weights: weighted_pearson(weighted_ranks(x, weights), weighted_ranks(y, weights), weights)
        case "kendall":
            return lambda weights: _kendall(x, y, weights)


def _standard(x: Floats) -> Floats:
    return (x - x.mean()) / x.std()


def weighted_pearson(x: Floats, y: Floats, weights: Weights) -> Floats:
    """(draws,) the correlation of x and y, each (n,) or (draws, n) and about 1 in size; NaN where one does not vary."""
    total = weights.sum(1, keepdims=True)
    x, y = (values - (weights * values).sum(1, keepdims=True) / total for values in (x, y))
    xx, yy, xy = ((weights * product).sum(1) for product in (x * x, y * y, x * y))
    varies = np.minimum(xx, yy) > STILL * total[:, 0]
    return np.divide(xy, np.sqrt(xx * yy), out=np.full(len(xy), math.nan), where=varies)


def weighted_ranks(x: Floats, weights: Weights) -> Floats:
    """(draws, n) the share of a draw below each value, equal values counting half: the ranks of the drawn rows, over n."""
    below, own = _below(x, x, weights, weights)
    return (below + own / 2) / weights.sum(1, keepdims=True)


def _below(x: Floats, among: Floats, weights: Weights, among_weights: Weights) -> tuple[Weights, Weights]:
    """(draws, n) how much of `among` lies below each x, and how much equals it."""
    values, place = np.unique(among, return_inverse=True)
    sizes = np.stack([np.bincount(place, drawn, len(values)) for drawn in among_weights])
    before = np.concatenate([np.zeros((len(sizes), 1)), np.cumsum(sizes, 1)], 1)
    low, high = np.searchsorted(values, x, "left"), np.searchsorted(values, x, "right")
    return before[:, low], before[:, high] - before[:, low]


def _kendall(x: Floats, y: Floats, weights: Weights) -> Floats:
    from scipy.stats import kendalltau  # here alone: a second of import that other measures do without

    rows = np.arange(len(x))
    drawn = [np.repeat(rows, counts.astype(int)) for counts in weights]
    return np.array([kendalltau(x[i], y[i], method="asymptotic").statistic for i in drawn])


# ------------------------------------------------------------------------------------------------------ labelled answers


def auc(scores: Scores, good: Sequence[bool], *, groups: Groups = None, seed: int = 0) -> Measure:
    """How well scores (n,) tell good answers from bad ones: 0.5 is chance, 1 a clean cut."""
    n = same_length(scores=scores, good=good)
    x = as_scores(scores)
    kept = ~np.isnan(x)
    x, is_good = x[kept], np.asarray(good, bool)[kept]
    if not len(x) or is_good.all() or not is_good.any():
        kinds = "no answer" if not len(x) else f"all {len(x)} answers are {'good' if is_good.all() else 'bad'}"
        return undefined(f"{kinds}: telling good from bad needs both", len(x))

    def statistic(weights: Weights) -> Floats:
        of_good, of_bad = weights[:, is_good], weights[:, ~is_good]
        below, own = _below(x[is_good], x[~is_good], of_good, of_bad)
        all_pairs = of_good.sum(1) * of_bad.sum(1)
        won = (of_good * (below + own / 2)).sum(1)
        return np.divide(won, all_pairs, out=np.full(len(won), math.nan), where=all_pairs > 0)

    left = counted(n - len(x), "answer without a score is left out", "answers without a score are left out")
    return Measure(bootstrap(statistic, len(x), pick(groups, kept), seed=seed), len(x), left)
