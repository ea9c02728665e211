"""Running a judge through a benchmark: read the rows, ask, mark, and work out the figures by the official formula.

    files or hub ──load──▶ items ──ask──▶ Heard ──marks──▶ numbers per item ──figures──▶ value, parts, 95 % intervals

A Benchmark is its five functions; each module of this folder makes one and registers it. All figures are fractions.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.hub import HUB_PREFIX
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import read_rows
from cookbook_lib.evaluation.benchmarks.figures import Figure, Floats
from cookbook_lib.evaluation.benchmarks.hearing import (
    Duel,
    Heard,
    Hearing,
    Progress,
    compares_by_score,
    hear_duels,
    hear_scores,
    same_both_ways,
)
from cookbook_lib.evaluation.benchmarks.items import Item, Row
from cookbook_lib.evaluation.benchmarks.result import BenchmarkResult, Part
from cookbook_lib.evaluation.judges import Judge

Inputs = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is. `marks` gives each item's numbers, `figures` the overall first and then its parts."""

    name: str
    title: str
    about: str
    metric: str  # what the overall figure is
    hub: tuple[str, ...]  # where it is published; empty: not on the hub
    item: Callable[[Row, Origin], Item]
    marks: Callable[[Item, Heard], Sequence[float]]
    figures: Callable[
        [Sequence[Item], Floats, bool], Iterator[Figure]
    ]  # (items, marks (items, k), whether no order can change a verdict)
    duels: (
        Callable[[Item, int], Sequence[Duel]] | None
    )  # what a judge that compares is asked; None: it is asked to score
    notes: Callable[[Sequence[Item], Sequence[Heard]], Iterator[str]]

    def load(self, inputs: Inputs | None = None, *, limit: int = -1) -> list[Item]:
        """The items of a file, a folder, a hub name or a list of them; None: as published on the hub.

        Raises RowError (file, row, field) at the first row that is not this benchmark's, CookbookError for bad files.
        """
        if inputs is None:
            inputs = self._published()
        rows = read_rows([inputs] if isinstance(inputs, str | Path) else list(inputs), Report.strict())
        items: dict[tuple[str, str], Item] = {}
        for origin, row in rows if limit < 0 else islice(rows, limit):
            item = self._item(row, origin)
            _add(items, item)
        return list(items.values())

    def _item(self, row: Row, origin: Origin) -> Item:
        try:
            return self.item(row, origin)
        except RowError as error:
            others = [b for b in BENCHMARKS.values() if b is not self and b.reads(row, origin)]
            fix = f"it is a row of {others[0].title}: choose benchmark {others[0].name}" if others else error.fix
            rule = f"in {self.title} {error.rule}"
            raise RowError(origin.file, origin.row, error.field, error.found, rule, fix) from None

    def reads(self, row: Row, origin: Origin) -> bool:
        """Whether this row is one of this benchmark's."""
        try:
            self.item(row, origin)
        except RowError:
            return False
        return True

    def _published(self) -> list[str | Path]:
        if not self.hub:
            raise CookbookError(f"{self.title} is not on the hub; give its files.")
        return [HUB_PREFIX + name for name in self.hub]


BENCHMARKS: dict[str, Benchmark] = {}


def register(benchmark: Benchmark) -> Benchmark:
    """Make a benchmark known by its name."""
    BENCHMARKS[benchmark.name] = benchmark
    return benchmark


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of this name, or a CookbookError that lists those there are."""
    if name not in BENCHMARKS:
        raise CookbookError(f"benchmark {name!r} is not known; choose one of {', '.join(sorted(BENCHMARKS))}")
    return BENCHMARKS[name]


def evaluate(
    judge: Judge, benchmark: Benchmark | str, items: Sequence[Item], progress: Progress | None = None, *, seed: int = 0
) -> BenchmarkResult:
    """Ask the judge about every item. Raises CookbookError without items, or for answers that are none of a judge's.

    progress: called with (requests answered, of how many). seed: of the order in which two answers are shown (where the
    official rule draws it), and of the bootstrap.
    """
    benchmark = benchmark_named(benchmark) if isinstance(benchmark, str) else benchmark
    if not items:
        raise CookbookError(f"{benchmark.title} has no items to judge; load some first.")
    start = time.perf_counter()
    hearing = _hear(judge, benchmark, items, progress, seed)
    marks = np.array([benchmark.marks(item, heard) for item, heard in zip(items, hearing.heard, strict=True)], float)
    figures = list(benchmark.figures(items, marks, same_both_ways(judge)))
    parts = _parts(figures, items, seed)
    whole = parts.pop(figures[0].name)
    return BenchmarkResult(
        name=benchmark.title,
        judge=judge.name,
        metric=benchmark.metric,
        value=whole.value,
        interval=whole.interval,
        items=len(items),
        prompts=len({item.group for item in items}),
        parts=parts,
        rows=[_row(item, heard, mark) for item, heard, mark in zip(items, hearing.heard, marks[:, 0], strict=True)],
        asked=hearing.asked,
        unparsed=hearing.unparsed,
        seconds=time.perf_counter() - start,
        incomplete=whole.incomplete,
        notes=tuple(_notes(benchmark, items, hearing)),
    )


def _hear(judge: Judge, benchmark: Benchmark, items: Sequence[Item], progress: Progress | None, seed: int) -> Hearing:
    if benchmark.duels is None:
        return hear_scores(judge, items, [()] * len(items), progress)
    duels = [benchmark.duels(item, seed) for item in items]
    return (hear_scores if compares_by_score(judge) else hear_duels)(judge, items, duels, progress)


def _parts(figures: Sequence[Figure], items: Sequence[Item], seed: int) -> dict[str, Part]:
    groups = [item.group for item in items]
    found = {}
    for figure in figures:
        interval = figure.interval(groups, seed)
        prompts = len({groups[i] for i in figure.rows})
        ends = interval.low, interval.high
        found[figure.name] = Part(interval.value, ends, len(figure.rows), prompts, figure.incomplete)
    return found


def _row(item: Item, heard: Heard, mark: float) -> dict[str, Any]:
    """What became of an item: `right` is its share of the figure (NaN where only groups of items have one: None)."""
    row = {"id": item.id, "part": item.part, **item.facts, "right": None if np.isnan(mark) else float(mark)}
    if heard.scores is None:
        return row | {"outcomes": list(heard.outcomes), "origin": str(item.origin)}
    scores = {"chosen_scores": list(heard.scores.chosen), "rejected_scores": list(heard.scores.rejected)}
    return row | scores | {"origin": str(item.origin)}


def _notes(benchmark: Benchmark, items: Sequence[Item], hearing: Hearing) -> Iterator[str]:
    yield from benchmark.notes(items, hearing.heard)
    if hearing.unparsed:
        yield f"{hearing.unparsed:,} of {hearing.asked:,} answers of the judge could not be read"


def _add(items: dict[tuple[str, str], Item], item: Item) -> None:
    key = item.part, item.id
    if key in items:
        rule = f"{items[key].origin} has the same one, and each row counts once"
        fix = "give one copy of each file, and no file of judged rows beside it"
        raise RowError(item.origin.file, item.origin.row, "id", item.id, rule, fix)
    items[key] = item
