"""What a benchmark says of a judge, and the plain rows of it: for a table, for a JSON file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Ends = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """A figure as a fraction (NaN where its rows give none), its 95 % interval (bootstrap over prompts; NaN for a single
    prompt), what it counts, and what is missing from it."""

    value: float
    interval: Ends
    items: int
    prompts: int
    incomplete: str = ""

    def text(self, spec: str = ".3f") -> str:
        """`0.734 [0.701, 0.765]`, marked where rows are missing; a dash where there is no figure."""
        low, high = self.interval
        known = not math.isnan(self.value)
        ends = f" [{low:{spec}}, {high:{spec}}]" if known and math.isfinite(low) else ""
        return (f"{self.value:{spec}}{ends}" if known else "–") + (" incomplete" if self.incomplete else "")


@dataclass(frozen=True)
class BenchmarkResult:
    """Everything: the overall figure, its parts by name, a row per item, and what a reader must know besides.

    asked: distinct requests to the judge, of which `unparsed` had no readable answer.
    """

    name: str
    judge: str
    metric: str
    value: float
    interval: Ends
    items: int
    prompts: int
    parts: Mapping[str, Part]
    rows: Sequence[Mapping[str, Any]]
    asked: int
    unparsed: int
    seconds: float
    notes: tuple[str, ...]
    incomplete: str = ""

    @property
    def whole(self) -> Part:
        """The overall figure, as its parts are."""
        return Part(self.value, self.interval, self.items, self.prompts, self.incomplete)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None: json.dumps(..., allow_nan=False) takes it."""
        parts = {name: _numbers(part) for name, part in self.parts.items()}
        named = {"name": self.name, "judge": self.judge, "metric": self.metric}
        counts = {"asked": self.asked, "unparsed": self.unparsed, "seconds": self.seconds}
        return (
            named | _numbers(self.whole) | counts | {"parts": parts, "notes": list(self.notes), "rows": list(self.rows)}
        )


def table_rows(results: Sequence[BenchmarkResult], *, parts: bool = True, spec: str = ".3f") -> list[dict[str, Any]]:
    """One dict a figure: benchmark, part, items, and a column for each judge, `0.734 [0.701, 0.765]`.

    Results of the same benchmark share their rows; a figure that lacks some of its rows is marked `incomplete`. parts: False
    shows the overall figures alone.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        for name, part in ({"": result.whole} | dict(result.parts if parts else {})).items():
            row = {"benchmark": result.name, "part": name or result.metric, "items": part.items}
            found.setdefault((result.name, name), row)[result.judge] = part.text(spec)
    order = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in found))}
    return [row for _, row in sorted(found.items(), key=lambda entry: order[entry[0][0]])]


def _numbers(part: Part) -> dict[str, Any]:
    value, low, high = (x if math.isfinite(x) else None for x in (part.value, *part.interval))
    counts = {"items": part.items, "prompts": part.prompts}
    return {"value": value, "low": low, "high": high, **counts, "incomplete": part.incomplete or None}
