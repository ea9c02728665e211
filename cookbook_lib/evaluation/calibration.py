"""Does a score difference mean what Bradley-Terry says it means?  P(chosen is better) = sigmoid((r_chosen - r_rejected) / T)

    confidence   c = sigmoid(|d| / T), from 1/2 to 1: how sure the judge is of the answer that it prefers
    right        1 where that is the chosen one, 0 where it is the rejected one, 1/2 where the scores are equal
    ECE          sum over bins b of  n_b / n · |mean right_b - mean c_b|                       0 is calibrated
    Brier        mean (1 - sigmoid(d / T))^2       log loss   mean -log sigmoid(d / T)         1/4 and ln 2 say nothing
    T            argmax of the likelihood of other pairs than those it is used on: T > 1 is an overconfident judge

Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599; for pairs there are two classes, so bins lie between 1/2 and 1.
The ECE of few pairs is above 0 for a perfect judge too; `by_chance` says how far (Vaicenavicius et al. 2019,
https://arxiv.org/abs/1902.06977: the same confidences with outcomes drawn from them). Pairs that the data calls ties do
not belong here.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.evaluation.intervals import (
    Groups,
    Interval,
    Weights,
    bootstrap,
    group_index,
    mean_by_group,
    share_by_group,
)
from cookbook_lib.evaluation.logistic import fit_logistic
from cookbook_lib.evaluation.measure import Floats, Measure, Scores, counted, differences, joined, pick, undefined

BINS, IMAGINED = 10, 200  # bins between 1/2 and 1; data sets drawn for `by_chance`
NO_PAIR = "there is no pair with scores"


@dataclass(frozen=True)
class ReliabilityPoint:
    """The pairs whose confidence lies in [low, high): how sure the judge was of them, and how often right, with 95 %."""

    low: float
    high: float
    pairs: int
    confidence: float
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None


@dataclass(frozen=True)
class Calibration:
    """All about scores at one temperature."""

    ece: Measure
    by_chance: float | None  # the ECE that a calibrated judge would show on as many pairs
    brier: Measure
    log_loss: Measure
    points: tuple[ReliabilityPoint, ...]

    def point_rows(self) -> list[dict[str, Any]]:
        """Plain rows, for a picture or a file."""
        return [asdict(point) for point in self.points]


@dataclass(frozen=True)
class Calibrated:
    """Scores as they are, the temperature of all pairs, and scores divided by temperatures fitted on other prompts."""

    raw: Calibration
    temperature: Measure
    fitted: Calibration | None  # None where a temperature does not exist; `temperature.note` says why


def calibrate(
    chosen: Scores, rejected: Scores, *, groups: Groups = None, bins: int = BINS, seed: int = 0
) -> Calibrated:
    """Both, with temperatures crosswise: prompts are dealt into halves, each half is judged with the other half's T."""
    raw = calibration(chosen, rejected, groups=groups, bins=bins, seed=seed)
    temperature = fit_temperature(chosen, rejected, groups=groups, seed=seed)
    halves = _crosswise(differences(chosen, rejected), groups, seed)
    if halves is None or temperature.value is None:
        note = joined(temperature.note, "too few prompts, or too many right answers, to fit and check a temperature")
        return Calibrated(raw, temperature if temperature.value is None else replace(temperature, note=note), None)
    fitted = calibration(chosen, rejected, temperature=halves, groups=groups, bins=bins, seed=seed)
    return Calibrated(raw, temperature, fitted)


def calibration(
    chosen: Scores,
    rejected: Scores,
    *,
    temperature: float | Floats = 1.0,
    groups: Groups = None,
    bins: int = BINS,
    seed: int = 0,
) -> Calibration:
    """Measures at a temperature, one for all or (n,) one for each pair. Pairs without scores are left out, and counted."""
    d = differences(chosen, rejected) / temperature
    kept = ~np.isnan(d)
    note = counted(int((~kept).sum()), "pair without scores is left out", "pairs without scores are left out")
    d, among = d[kept], pick(groups, kept)
    if not len(d):
        nothing = undefined(NO_PAIR)
        return Calibration(nothing, None, nothing, nothing, ())
    confidence, right = sigmoid(np.abs(d)), (1 + np.sign(d)) / 2
    gaps, place = right - confidence, _bin(confidence, bins)

    def ece(weights: Weights) -> Floats:
        binned = [(weights[:, place == b] @ gaps[place == b]) for b in np.unique(place)]
        return np.abs(np.stack(binned)).sum(0) / weights.sum(1)

    return Calibration(
        Measure(bootstrap(ece, len(d), among, seed=seed), len(d), note),
        _by_chance(confidence, place, seed),
        Measure(mean_by_group((1 - sigmoid(d)) ** 2, among, seed=seed), len(d), note),
        Measure(mean_by_group(np.logaddexp(0, -d), among, seed=seed), len(d), note),
        tuple(_point(b, bins, confidence, right, place, among, seed) for b in np.unique(place)),
    )


def fit_temperature(chosen: Scores, rejected: Scores, *, groups: Groups = None, seed: int = 0) -> Measure:
    """The temperature under which these preferences are likeliest; divide other scores of this judge by it."""
    d = differences(chosen, rejected)
    kept = ~np.isnan(d)
    d = d[kept]
    if why := _no_temperature(d):
        return undefined(why, len(d))
    found = bootstrap(_bounded_temperature(d), len(d), pick(groups, kept), seed=seed)
    scale = _size(d)
    # u = t / (1 + t) grows with t and is finite for t = 0 and infinity, which single draws do reach
    interval = found.map(lambda u: scale * u / (1 - u) if u < 1 else math.inf)
    return Measure(interval, len(d))


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def _no_temperature(d: Floats) -> str:
    """Why the likelihood of these differences has no maximum at a temperature; "" where it has one."""
    if not len(d):
        return NO_PAIR
    if not np.any(d):
        return "all pairs have equal scores: no temperature makes them sure of anything"
    if not np.any(d < 0):
        return "every preference is scored right: the likeliest temperature is 0, certainty, which other pairs would refute"
    if d.sum() <= 0:
        return "the scores do not agree with the preferences more than they contradict them: no temperature calibrates them"
    return ""


def _size(d: Floats) -> float:
    return float(np.sqrt(np.mean(d * d)))


def _bounded_temperature(d: Floats) -> Callable[[Weights], Floats]:
    """t / (1 + t) for the fitted temperature t, in units of the differences' size."""
    x = d[:, None] / _size(d)

    start = fit_logistic(x, np.ones((1, len(x))))

    def statistic(weights: Weights) -> Floats:
        certain, contrary = weights @ (d < 0) == 0, weights @ d <= 0
        beta = np.full(len(weights), 1.0)
        fits = ~(certain | contrary)
        if fits.any():
            beta[fits] = fit_logistic(x, weights[fits], start=start)[:, 0]
        return np.where(certain & ~contrary, 0.0, np.where(contrary, 1.0, 1 / (1 + beta)))

    return statistic


def _crosswise(d: Floats, groups: Groups, seed: int) -> Floats | None:
    """(n,) for each pair the temperature of the other half of the prompts; None where a half has none."""
    index = group_index(groups, len(d))
    count = int(index.max(initial=-1)) + 1
    first = np.zeros(count, bool)
    first[np.random.default_rng(seed).permutation(count)[: count // 2]] = True
    temperatures = np.empty(len(d))
    for half in (True, False):
        others = d[(first[index] != half) & ~np.isnan(d)]
        if _no_temperature(others):
            return None
        u = float(_bounded_temperature(others)(np.ones((1, len(others))))[0])
        temperatures[first[index] == half] = _size(others) * u / (1 - u)
    return temperatures


def _bin(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """The number of each bin: equal widths between 1/2 and 1, and 1 itself in the last."""
    return np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)


def _point(
    b: int, bins: int, confidence: Floats, right: Floats, place: NDArray[np.int64], groups: Groups, seed: int
) -> ReliabilityPoint:
    """The bin b; whole prompts are drawn, as for every other figure."""
    edges, here = (0.5 + b / (2 * bins), 0.5 + (b + 1) / (2 * bins)), place == b
    rows, own = int(here.sum()), right[here]
    ends = (
        share_by_group(own, pick(groups, here), seed=seed) if rows > 1 else Interval(float(own[0]), math.nan, math.nan)
    )
    found = ends.as_dict()
    return ReliabilityPoint(*edges, rows, float(confidence[here].mean()), ends.value, found["low"], found["high"])


def _by_chance(confidence: Floats, place: NDArray[np.int64], seed: int) -> float:
    random = np.random.default_rng(seed)
    gaps = (random.random((IMAGINED, len(confidence))) < confidence) - confidence
    binned = np.stack([gaps[:, place == b].sum(1) for b in np.unique(place)])
    return float(np.abs(binned).sum(0).mean() / len(confidence))
