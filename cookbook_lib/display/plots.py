"""Pictures of data and of plans, from plain numbers.

    length_histogram(lengths)        how long conversations are, and how many `max_length` would cut
    schedule(points)                 the learning rate over the steps
    bars(values)                     a few measurements side by side

Each returns a Picture: shown in a notebook, saved by `.save(path)`, and said in words by `str`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cookbook_lib.display.style import AMBER, BLUE, GREY, INK, LIGHT_BLUE, PAPER, RED
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40


def length_histogram(
    lengths: Sequence[int], *, max_length: int | None = None, title: str = "Tokens per conversation"
) -> Picture:
    """lengths: tokens of each conversation. max_length: marked, with the number above it."""
    ordered = sorted(int(n) for n in lengths)
    marks = {f"{share}th" if share < 100 else "longest": _percentile(ordered, share) for share in (50, 95, 100)}
    over = sum(n > max_length for n in ordered) if max_length is not None else 0
    words = ", ".join(f"{name} {value:,}" for name, value in marks.items()) if ordered else "no conversation"
    beyond = f"; {over:,} above max_length {max_length:,}" if max_length is not None else ""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not ordered:
            _draw_empty(axes, title)
            return
        axes.hist(ordered, bins=BINS, range=(0, ordered[-1]), color=BLUE, alpha=0.75, rwidth=0.92)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
        for line, (name, value) in enumerate(list(marks.items())[:2]):
            _draw_mark(axes, value, f"{name} percentile {value:,}", GREY, line)
        if max_length is not None and over:
            _draw_mark(axes, max_length, f"max_length {max_length:,} · {over:,} above", RED, 2)
        set_title(axes, title, f"{len(ordered):,} conversations · {sum(ordered):,} tokens")
        axes.set_xlabel("tokens")
        axes.set_xlim(left=0)

    return Picture(draw, (7.2, 2.6), f"{title}: {len(ordered):,} conversations, {words}{beyond}")


def schedule(points: Sequence[tuple[int, float]], *, warmup_steps: int = 0, title: str = "Learning rate") -> Picture:
    """points: (step, learning rate), by step."""
    steps, rates = [step for step, _ in points], [rate for _, rate in points]
    peak, last = max(rates, default=0.0), rates[-1] if rates else 0.0

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not rates:
            _draw_empty(axes, title)
            return
        axes.plot(steps, rates, color=BLUE)
        axes.fill_between(steps, rates, color=BLUE, alpha=0.1, linewidth=0)
        if warmup_steps:
            axes.axvspan(0, warmup_steps, color=AMBER, alpha=0.12, linewidth=0)
            axes.text(warmup_steps, 0.04 * peak, f" warmup, {warmup_steps:,} steps", color=GREY, fontsize=8)
        set_title(axes, title, f"peak {peak:.3g} · last {last:.3g}")
        axes.set_xlabel("step")
        axes.set_xlim(0, steps[-1] or 1)
        axes.set_ylim(0, 1.1 * peak or 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}" if value else "0")

    text = (
        f"{title}: {steps[-1] + 1 if steps else 0:,} steps, warmup {warmup_steps:,}, peak {peak:.3g}, last {last:.3g}"
    )
    return Picture(draw, (7.2, 2.3), text)


def bars(values: Mapping[str, float], *, unit: str = "", title: str = "", highlight: str | None = None) -> Picture:
    """A few measurements, longest label to shortest bar; `highlight` names the one that matters."""
    largest = max(values.values(), default=0.0)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for y, (name, value) in enumerate(values.items()):
            axes.barh(y, value, height=0.62, color=BLUE if highlight in (None, name) else LIGHT_BLUE)
            axes.text(value + 0.012 * largest, y, f"{value:,.4g} {unit}".rstrip(), va="center", color=INK)
        set_title(axes, title, "")
        label_rows(axes, list(values))
        axes.set_xlim(0, 1.18 * largest or 1)
        axes.set_xticks([])

    words = ", ".join(f"{name} {value:,.4g} {unit}".rstrip() for name, value in values.items())
    return Picture(draw, (7.2, 0.55 + 0.3 * max(len(values), 1)), f"{title}: {words}" if title else words)


def _percentile(ordered: Sequence[int], share: int) -> int:
    """Nearest rank: the smallest value that `share` percent do not exceed."""
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)] if ordered else 0


def label_rows(axes: "Axes", names: list[str]) -> None:
    """Name the rows of a horizontal bar chart, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)


def _draw_mark(axes: "Axes", x: float, label: str, colour: str, line: int) -> None:
    """A vertical line with its name on text line `line`, so that close neighbours do not collide."""
    axes.axvline(x, color=colour, linewidth=1, linestyle=(0, (3, 2)))
    paper = {"color": PAPER, "pad": 0.6}  # behind the words, so that no other line runs through them
    place = axes.get_xaxis_transform()
    axes.text(x, 0.99 - 0.1 * line, f" {label}", transform=place, va="top", color=colour, fontsize=7.5, bbox=paper)


def _draw_empty(axes: "Axes", title: str) -> None:
    axes.set_axis_off()
    set_title(axes, title, "")
    axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", color=GREY)


def set_title(axes: "Axes", title: str, note: str) -> None:
    """The title on the left, a remark on the right."""
    axes.set_title(title, fontweight="bold", color=INK)
    axes.set_title(note, loc="right", fontsize=8, color=GREY)
