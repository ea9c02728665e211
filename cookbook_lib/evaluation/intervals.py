"""How sure a measurement is: bootstrap intervals over rows (Efron 1979, https://doi.org/10.1214/aos/1176344552).

    value    sum_i s_i / sum_i c_i                    a loss (nats over tokens), a difference of losses or of shares
    draw b   rows 1 .. n drawn anew with replacement, the same ratio
    interval the 2.5 % and 97.5 % quantiles of the draws

Rows are drawn and not tokens: tokens of one conversation are not independent. Two models are compared on the same draws,
so what makes a row hard for both cancels. A share of yes and no has Wilson's interval instead (1927): all right or all
wrong in 20 rows is no certainty, and the bootstrap would say that it is.

Rows that share a prompt are not independent either: `mean_by_group`, `share_by_group` and `bootstrap` draw whole groups.
`bootstrap` serves any statistic that takes weights (how often each row was drawn), a hundred draws at a time:

    groups  a a b c      one draw of three groups: b, b, c      weights  0 0 2 1
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cookbook_lib.config import CookbookError

DRAWS = 2000
COVERAGE = 0.95
NORMAL = 1.959964  # its quantile, for COVERAGE
AT_ONCE = 100  # draws held in memory together
DEFINED = 0.5  # share of draws in which a statistic must be defined before an interval is claimed

Groups = Sequence[Hashable | None] | NDArray[Any] | None  # what each row belongs to; None: to nothing, it is its own
Weights = NDArray[np.float64]  # (draws, n): how often each row counts


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; the ends are NaN where fewer than two rows speak."""

    value: float
    low: float
    high: float

    def map(self, f: Callable[[float], float]) -> "Interval":
        """The interval of an increasing function of the value."""
        return Interval(f(self.value), f(self.low), f(self.high))

    def text(self, spec: str) -> str:
        """`1.23 [1.10, 1.35]`"""
        ends = f" [{self.low:{spec}}, {self.high:{spec}}]" if math.isfinite(self.low) else ""
        return f"{self.value:{spec}}{ends}"

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def ratio(sums: ArrayLike, counts: ArrayLike, *, seed: int = 0) -> Interval:
    """sum(sums) / sum(counts) over rows: sums and counts (n,)."""
    s, c = np.asarray(sums, float), np.asarray(counts, float)
    draws = np.concatenate([(w @ s) / (w @ c) for w in _resampled(len(s), seed)]) if len(s) > 1 else np.array([])
    return _interval(s.sum() / c.sum(), draws)


def share(yes: ArrayLike) -> Interval:
    """The share of ones among zeros and ones (n,)."""
    outcomes = np.asarray(yes, float)
    n, p = len(outcomes), float(outcomes.mean())
    middle = (p + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * math.sqrt(p * (1 - p) / n + NORMAL**2 / (4 * n**2))
    return Interval(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def difference(after: ArrayLike, before: ArrayLike, counts: ArrayLike, *, seed: int = 0) -> Interval:
    """The ratio of `after` less that of `before`, row by row on the same draws: all (n,)."""
    a, b = np.asarray(after, float), np.asarray(before, float)
    return ratio(a - b, counts, seed=seed)


def mean_by_group(values: ArrayLike, groups: Groups = None, *, seed: int = 0) -> Interval:
    """The mean of values (n,), n > 0, whose rows come in groups."""
    x = np.asarray(values, float)
    index = group_index(groups, len(x))
    return ratio(np.bincount(index, x), np.bincount(index), seed=seed)


def share_by_group(yes: ArrayLike, groups: Groups = None, *, seed: int = 0) -> Interval:
    """The mean of zeros, ones and what lies between (n,), n > 0; where all rows are 0, or all 1, Wilson's interval over groups."""
    x = np.asarray(yes, float)
    if np.all(x == 0) or np.all(x == 1):
        return share(np.full(group_index(groups, len(x)).max() + 1, x[0]))
    return mean_by_group(x, groups, seed=seed)


def bootstrap(
    statistic: Callable[[Weights], NDArray[np.float64]], n: int, groups: Groups = None, *, seed: int = 0
) -> Interval:
    """A statistic of n rows that come in groups. `statistic`: (draws, n) weights to (draws,) values, NaN where undefined.

    Draws in which it is undefined are left out; where they are more than half, the ends are NaN.
    """
    index = group_index(groups, n)
    value, count = float(statistic(np.ones((1, n)))[0]), int(index.max(initial=-1)) + 1
    if count < 2 or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    draws = np.concatenate([statistic(drawn[:, index].astype(float)) for drawn in _resampled(count, seed)])
    defined = draws[np.isfinite(draws)]
    return _interval(value, defined if len(defined) >= DEFINED * len(draws) else np.array([]))


def group_index(groups: Groups, n: int) -> NDArray[np.int64]:
    """(n,) the number of each row's group, in order of appearance."""
    named: list[Any] = [None] * n if groups is None else list(groups)
    if len(named) != n:
        raise CookbookError(f"there are {len(named)} groups for {n} rows: name one for each row.")
    keys = [("row", i) if group is None else ("group", group) for i, group in enumerate(named)]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], np.int64)


def _resampled(n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each row is drawn, (AT_ONCE, n) at a time."""
    random = np.random.default_rng(seed)
    for _ in range(0, DRAWS, AT_ONCE):
        yield random.multinomial(n, np.full(n, 1 / n), size=AT_ONCE)


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    if not len(draws):
        return Interval(float(value), math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(float(value), float(low), float(high))
