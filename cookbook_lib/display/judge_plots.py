"""Pictures of what a judge scores, from plain numbers.

    margin_histogram(margins)               chosen less rejected: right of zero is right
    score_distribution(scores, classes)     a hill for each class: do good answers score higher?
    score_against_length(rows)              does the judge like answers long?
    reliability_diagram(curves)             how often the judge is right when it is sure

Missing values (None, NaN) are not drawn, and counted in the picture's words.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any, TypeGuard

from cookbook_lib.display.plots import set_title
from cookbook_lib.display.style import AMBER, BLUE, GREEN, GREY, INK, PAPER, RED, TEAL, VIOLET
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40
FEWEST = 5  # pairs of a bin that a line goes through
SERIES = (BLUE, AMBER, GREEN, VIOLET, TEAL, RED)


def margin_histogram(margins: Sequence[float | None], *, title: str = "Chosen less rejected") -> Picture:
    """margins: the difference of scores of each pair; the few beyond the 1st and 99th percentile lie in the outermost bars."""
    values = finite(margins)
    right, level = sum(m > 0 for m in values), sum(m == 0 for m in values)
    wrong, missing = len(values) - right - level, len(margins) - len(values)
    parts = [f"{right:,} right", f"{wrong:,} wrong"] + [f"{level:,} equal"] * bool(level)
    said = " · ".join(parts + [f"{missing:,} without a score"] * bool(missing))

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not values:
            draw_nothing(axes, title)
            return
        low, high = _span(values)
        width = (high - low) / BINS
        edges = [low + i * width for i in range(BINS + 1)]
        clipped = [min(max(m, low), high) for m in values]
        axes.hist([m for m in clipped if m < 0], edges, color=RED, alpha=0.75, rwidth=0.92)
        axes.hist([m for m in clipped if m > 0], edges, color=GREEN, alpha=0.75, rwidth=0.92)
        if level:
            axes.bar(0, level, 0.5 * width, color=GREY)
        axes.axvline(0, color=INK, linewidth=1)
        middle = median(values)
        axes.axvline(middle, color=INK, linewidth=1, linestyle=(0, (3, 2)))
        axes.text(middle, 1, f" median {middle:.3g}", transform=axes.get_xaxis_transform(), va="top", fontsize=7.5)
        axes.set_ylim(top=1.1 * axes.get_ylim()[1])
        set_title(axes, title, said)
        axes.set_xlabel("score of the chosen answer less score of the rejected one")

    words = f", median {median(values):.3g}" if values else ""
    return Picture(draw, (7.2, 2.6), f"{title}: {said.replace(' · ', ', ')}{words}")


def score_distribution(
    scores: Sequence[float | None], classes: Sequence[Any], *, title: str = "Scores by class"
) -> Picture:
    """scores, and the class of each answer (a rating 0 to 4, right or wrong): a row for each class, the lowest at the bottom."""
    kinds = sorted(dict.fromkeys(classes), key=lambda kind: (str(type(kind)), kind))
    groups = {kind: finite([s for s, c in zip(scores, classes, strict=True) if c == kind]) for kind in kinds}
    every = [score for values in groups.values() for score in values]
    missing = len(scores) - len(every)
    note = f"{len(every):,} answers" + (f" · {missing:,} without a score" if missing else "")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not every:
            draw_nothing(axes, title)
            return
        low, high = min(every), max(every)
        room = 0.05 * (high - low) or 0.5
        for y, values in enumerate(groups.values()):
            _draw_hill(axes, y, values, (low - room, high + room), SERIES[0])
            axes.text(1.01, y + 0.2, f"{len(values):,}", transform=axes.get_yaxis_transform(), color=GREY, fontsize=7.5)
        axes.set_yticks(range(len(groups)), list(map(_class_name, groups)))
        axes.tick_params(axis="y", labelsize=8.5, labelcolor=INK)
        axes.set_ylim(-0.15, len(groups))
        axes.set_xlim(low - room, high + room)
        axes.grid(False)
        axes.set_xlabel("score   (line: median)")
        set_title(axes, title, note)

    medians = ", ".join(f"{_class_name(kind)} median {median(v):.3g} of {len(v):,}" for kind, v in groups.items() if v)
    return Picture(draw, (7.2, 0.9 + 0.55 * max(len(groups), 1)), f"{title}: {medians or 'nothing to show'}")


def _class_name(kind: Any) -> str:
    """A rating of 4.0 is 4."""
    return f"{kind:g}" if isinstance(kind, float) else str(kind)


def score_against_length(
    rows: Sequence[Mapping[str, Any]], *, correlation: float | None = None, title: str = "Score against length"
) -> Picture:
    """rows: {length, score, chosen (bool; may be missing)} of each answer. correlation: Spearman's, to be said."""
    points = [row for row in rows if _is_number(row["score"]) and row["length"] > 0]
    said = "" if correlation is None else f"rank correlation {correlation:+.2f}"

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not points:
            draw_nothing(axes, title)
            return
        named = {"chosen": True, "rejected": False} if any("chosen" in row for row in points) else {"answer": None}
        size = max(4.0, 16 - len(points) / 150)
        for (name, kind), colour in zip(named.items(), (GREEN, RED), strict=False):
            drawn = [row for row in points if row.get("chosen") == kind]
            at = [row["length"] for row in drawn], [row["score"] for row in drawn]
            shade = colour if kind is not None else BLUE
            axes.scatter(*at, s=size, color=shade, alpha=0.45, linewidth=0, label=name)
        trend = _running_median(points)
        axes.plot(*zip(*trend, strict=True), color=PAPER, linewidth=4)
        axes.plot(*zip(*trend, strict=True), color=INK, linewidth=1.7, label="running median")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if str(int(value))[0] in "25" else "")
        axes.tick_params(which="minor", length=0, labelsize=7, labelcolor=GREY)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.4)
        axes.set_xlabel("length of the answer")
        axes.set_ylabel("score")
        set_title(axes, title, said)

    return Picture(draw, (7.2, 3.1), ", ".join(filter(None, [f"{title}: {len(points):,} answers", said])))


def reliability_diagram(curves: Mapping[str, Mapping[str, Any]], *, title: str = "Reliability") -> Picture:
    """curves: name -> {points: [{confidence, accuracy, accuracy_low, accuracy_high, pairs}], ece}. On the diagonal, sure is right.

    The bars under it say how many pairs of the first curve each bin has; bins of fewer than FEWEST are faint.
    """
    drawn = {name: curve for name, curve in curves.items() if curve["points"]}
    said = ", ".join(f"{name} ECE {curve['ece']:.3f}" for name, curve in drawn.items())

    def draw(figure: "Figure") -> None:
        if not drawn:
            draw_nothing(figure.add_subplot(), title)
            return
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        top.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1, linestyle=(0, (3, 2)))
        for (name, curve), colour in zip(drawn.items(), SERIES, strict=False):
            _draw_curve(top, curve["points"], colour, f"{name}: ECE {curve['ece']:.3f}")
        for point in next(iter(drawn.values()))["points"]:
            middle, width = (point["low"] + point["high"]) / 2, point["high"] - point["low"]
            below.bar(middle, point["pairs"], 0.92 * width, color=BLUE, alpha=0.35)
        top.set_ylabel("share that is right")
        top.set_ylim(-0.02, 1.02)
        top.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, handletextpad=0.4, columnspacing=1.2)
        below.set_ylabel("pairs")
        below.locator_params(axis="y", nbins=2)
        below.set_xlabel("how sure the judge is of the answer that it prefers")
        below.set_xlim(0.49, 1.01)
        set_title(top, title, "")

    return Picture(draw, (5.6, 4.2), f"{title}: {said or 'no pair with scores'}")


def finite(values: Sequence[float | None]) -> list[float]:
    """Those that are numbers."""
    return [float(value) for value in values if _is_number(value)]


def draw_nothing(axes: "Axes", title: str) -> None:
    axes.set_axis_off()
    set_title(axes, title, "")
    axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", color=GREY)


def _is_number(value: Any) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The range of a histogram about zero: all but the outermost hundredth on each side, zero inside and on an edge of bins."""
    ordered = sorted(values)
    cut = len(ordered) // 100
    far = max(abs(ordered[cut]), abs(ordered[-1 - cut])) or 1.0
    return -far, far


def _draw_hill(axes: "Axes", y: int, values: Sequence[float], span: tuple[float, float], colour: str) -> None:
    """A histogram standing on y, as high as 0.85, with a line at the median."""
    if not values:
        return
    bins, (low, high) = BINS, span
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    heights = [y + 0.85 * count / max(counts) for count in counts]
    axes.stairs(heights, edges, baseline=y, fill=True, color=colour, alpha=0.6)
    axes.axhline(y, color=GREY, linewidth=0.6)
    middle = median(values)
    axes.plot([middle, middle], [y, y + 0.85], color=INK, linewidth=1.4)


def _running_median(points: Sequence[Mapping[str, Any]], windows: int = 12) -> list[tuple[float, float]]:
    """(length, score) medians of neighbouring answers, about as many each; those of one length are never divided."""
    chunks: list[list[Mapping[str, Any]]] = [[]]
    for _, same in groupby(sorted(points, key=lambda row: row["length"]), key=lambda row: row["length"]):
        if len(chunks[-1]) * windows >= len(points):
            chunks.append([])
        chunks[-1] += same
    return [(median(row["length"] for row in chunk), median(row["score"] for row in chunk)) for chunk in chunks]


def _draw_curve(axes: "Axes", points: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    """A line through the bins that say something; the others, of a few pairs, are faint dots beside it."""
    for point in points:
        if point["accuracy_low"] is not None:
            ends = [point["accuracy_low"], point["accuracy_high"]]
            axes.plot([point["confidence"]] * 2, ends, color=colour, linewidth=1, alpha=0.55 if _says(point) else 0.2)
    many, few = ([p for p in points if _says(p) is kind] for kind in (True, False))
    for drawn, shape, size, strength in ((many, "-o", 4.5, 1.0), (few, "o", 3.5, 0.45)):
        x, y = [p["confidence"] for p in drawn], [p["accuracy"] for p in drawn]
        named = label if drawn is many else None
        axes.plot(
            x, y, shape, color=colour, alpha=strength, markersize=size, markeredgecolor=PAPER, markeredgewidth=0.6,
            label=named,
        )  # fmt: skip


def _says(point: Mapping[str, Any]) -> bool:
    """Whether a bin has enough pairs for its share to mean something."""
    return bool(point["pairs"] >= FEWEST)
