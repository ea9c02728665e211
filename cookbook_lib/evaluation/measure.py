"""One figure about a judge, as every measure of this room returns it, and the scores that it is made of.

    Measure(interval, rows, note)     0.734 [0.701, 0.765] of 812 rows, "3 equal scores count as wrong"
    undefined("why", rows)            no figure, and the sentence that says why

Everything is a fraction (0 to 1) or in the scores' own unit. A measure that its rows do not define (a correlation of a
constant, calibration of no pair) is `undefined`, never NaN and never an exception: one report has both kinds side by side.
Exceptions are for callers' mistakes: lists of different lengths. A score that is None, NaN or infinite is missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.intervals import Interval

Scores = Sequence[float | None] | NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % interval, the rows that it speaks of, and what a reader must know besides."""

    interval: Interval | None
    rows: int
    note: str = ""

    @property
    def value(self) -> float | None:
        return None if self.interval is None else self.interval.value

    def text(self, spec: str = ".3f") -> str:
        """`0.734 [0.701, 0.765]`; a dash where there is no figure."""
        return "–" if self.interval is None else self.interval.text(spec)

    def as_dict(self) -> dict[str, Any]:
        """value, low, high (None where there is none), rows, note: for JSON."""
        ends = dict.fromkeys(("value", "low", "high")) if self.interval is None else self.interval.as_dict()
        return {**ends, "rows": self.rows, "note": self.note}


def undefined(why: str, rows: int = 0) -> Measure:
    """No figure; `why` is a sentence."""
    return Measure(None, rows, why)


def measured(interval: Interval, rows: int, note: str = "", *, otherwise: str) -> Measure:
    """The figure, or `otherwise` where its value turned out to be no number."""
    return undefined(otherwise, rows) if math.isnan(interval.value) else Measure(interval, rows, note)


def as_scores(values: Scores, name: str = "scores") -> Floats:
    """(n,) floats, NaN where a score is missing. Raises CookbookError for what is no number."""
    try:
        found = np.array([math.nan if value is None else float(value) for value in values], np.float64)
    except (TypeError, ValueError):
        wrong = next(value for value in values if not isinstance(value, (int, float, type(None), np.number)))
        raise CookbookError(f"{name} has {wrong!r}: a score is a number, or None where it is missing.") from None
    found[~np.isfinite(found)] = math.nan
    return found


def same_length(**columns: Sequence[Any] | NDArray[Any] | None) -> int:
    """How many rows the columns have; None stands for a column that was not given. Raises CookbookError when they differ."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise CookbookError(f"{said}: give one of each for every row.")
    return next(iter(lengths.values()))


def differences(chosen: Scores, rejected: Scores) -> Floats:
    """(n,) score of chosen less score of rejected, NaN where one is missing."""
    same_length(chosen=chosen, rejected=rejected)
    return as_scores(chosen, "chosen") - as_scores(rejected, "rejected")


def pick(groups: Any, kept: NDArray[np.bool_]) -> list[Any] | None:
    """The groups of the rows that are kept."""
    return None if groups is None else [group for group, keep in zip(groups, kept, strict=True) if keep]


def counted(count: int, one: str, many: str | None = None) -> str:
    """`3 pairs`, `1 pair`, and nothing for none."""
    return "" if not count else f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
