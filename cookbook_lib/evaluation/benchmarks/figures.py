"""Figures of a benchmark as formulas over weighted rows: the same formula gives the value and its bootstrap interval.

    mean           sum_i w_i s_i / sum_i w_i                 accuracy of a subset
    mean_of        sum_k c_k f_k / sum_k c_k                 a section of subsets, the overall of sections

A weight says how often a row counts: once for the value, as often as its prompt was drawn for a draw of the bootstrap.
A draw that leaves a subset without a row has no value and is left out. A figure that lacks some of what it is by definition the
mean of is `incomplete`, and so is every figure made of it: it is not to be compared with published ones.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.evaluation.intervals import Interval, Weights, bootstrap, share

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """One figure: the rows (numbers of items) that it is about, and (draws, rows) weights -> (draws,) values."""

    name: str
    rows: Rows
    statistic: Callable[[Weights], Floats]
    incomplete: str = ""  # what its rows lack

    def lacking(self, what: str) -> "Figure":
        """The same figure, `what` missing from its rows; the same one for an empty text."""
        return replace(self, incomplete="; ".join(filter(None, (self.incomplete, what))))

    def interval(self, groups: Sequence[str], seed: int = 0) -> Interval:
        """Value and 95 % interval, drawing whole groups (one name an item); all right or all wrong: Wilson's."""
        mine = [groups[i] for i in self.rows]
        found = bootstrap(self.statistic, len(mine), mine, seed=seed)
        if found.value in (0.0, 1.0) and found.low == found.high:
            return share(np.full(len(set(mine)), found.value))
        return found


def mean(name: str, rows: Iterable[int], values: Floats) -> Figure:
    """The mean of values (one an item) over these rows."""
    index = np.array(list(rows), np.int64)
    own = values[index]
    return Figure(name, index, lambda weights: over(weights @ own, weights.sum(1)))


def mean_of(name: str, figures: Sequence[Figure], weights: Sequence[float] | None = None) -> Figure:
    """The (weighted) mean of figures, over all their rows; incomplete where one of them is."""
    rows = np.unique(np.concatenate([figure.rows for figure in figures]))
    places = [np.searchsorted(rows, figure.rows) for figure in figures]
    shares = np.ones(len(figures)) if weights is None else np.asarray(weights, float)

    def statistic(drawn: Weights) -> Floats:
        found = [figure.statistic(drawn[:, place]) for figure, place in zip(figures, places, strict=True)]
        return np.stack(found, 1) @ shares / shares.sum()

    lacking = [f"{figure.name} {figure.incomplete}" for figure in figures if figure.incomplete]
    return Figure(name, rows, statistic, "; ".join(lacking))


def without(wanted: Sequence[str], present: Iterable[str]) -> str:
    """`without Math, Focus`, or nothing where all are there."""
    missing = [name for name in wanted if name not in set(present)]
    return f"without {', '.join(missing)}" if missing else ""


def over(sums: Floats, counts: Floats) -> Floats:
    """sums / counts, NaN where a draw counts nothing."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
