"""Packing as a picture: which documents each rank computes in each forward of one optimizer step.

rank 0  forward 0  |███████|▓▓▓▓|░░░░░░░░░|██|    a document a shade, the token budget a frame
        forward 1  |▓▓▓▓▓▓▓▓▓▓|░░░|██████|
rank 1  forward 0  ...
"""

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from cookbook_lib.display.plots import label_rows, set_title
from cookbook_lib.display.style import BLUE, GREY, LIGHT_BLUE, MID_BLUE, RULE
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Forward = tuple[int, int, Sequence[int]]  # rank, micro-batch, tokens of each document
SHADES = (BLUE, MID_BLUE, LIGHT_BLUE)  # neighbours differ, so that documents can be told apart


def packing_picture(
    forwards: Sequence[Forward],
    *,
    budget: int | None = None,
    padded: bool = False,
    title: str = "One optimizer step",
) -> Picture:
    """forwards: (rank, micro-batch, tokens of each document). budget: tokens that a forward may hold, its frame.

    padded: each document fills a row as long as the longest of its forward; what is computed for nothing is hatched.
    """
    order = sorted((rank, micro, [int(n) for n in lengths]) for rank, micro, lengths in forwards)
    real = sum(sum(lengths) for _, _, lengths in order)
    computed = sum(_positions(lengths, padded) for _, _, lengths in order)
    filled = f"{real / computed:.1%} of {computed:,} computed tokens are real" if computed else "empty"

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for y, (_, _, lengths) in enumerate(order):
            _draw_forward(axes, y, lengths, budget, padded)
        _label_forwards(axes, order)
        set_title(axes, title, filled)
        axes.set_xlabel("tokens")
        axes.set_xlim(0, 1.1 * max([budget or 0, *(_positions(lengths, padded) for _, _, lengths in order), 1]))

    documents = sum(len(lengths) for _, _, lengths in order)
    text = f"{title}: {len(order)} forwards, {documents} documents, {filled}"
    return Picture(draw, (8.6, 1.1 + 0.24 * len(order)), text)


def _positions(lengths: Sequence[int], padded: bool) -> int:
    return max(lengths, default=0) * len(lengths) if padded else sum(lengths)


def _draw_forward(axes: "Axes", y: int, lengths: Sequence[int], budget: int | None, padded: bool) -> None:
    if budget is not None:
        axes.barh(y, budget, height=0.78, color="none", edgecolor=RULE, linewidth=1)
    widths = [max(lengths)] * len(lengths) if padded and lengths else list(lengths)
    starts = [0, *accumulate(widths)]
    for i, (start, width, length) in enumerate(zip(starts, widths, lengths, strict=False)):
        axes.barh(y, length, left=start, height=0.62, color=SHADES[i % len(SHADES)], linewidth=0)
        if width > length:
            rest: dict[str, Any] = {"color": "none", "edgecolor": RULE, "hatch": "//////", "linewidth": 0}
            axes.barh(y, width - length, left=start + length, height=0.62, **rest)


def _label_forwards(axes: "Axes", order: Sequence[Forward]) -> None:
    """The rank once, its forwards, their tokens; a rule between ranks."""
    label_rows(axes, [f"forward {micro}" for _, micro, _ in order])
    for y, (_, _, lengths) in enumerate(order):
        axes.text(
            1,
            y,
            f"{sum(lengths):,}",
            transform=axes.get_yaxis_transform(),
            color=GREY,
            fontsize=7.5,
            ha="right",
            va="center",
        )
    row = 0
    for rank, group in groupby(order, key=lambda forward: forward[0]):
        size = len(list(group))
        style: dict[str, Any] = {"color": BLUE, "fontsize": 8, "ha": "right", "va": "center"}
        axes.text(-0.085, row + (size - 1) / 2, f"rank {rank}", transform=axes.get_yaxis_transform(), **style)
        row += size
        if row < len(order):
            axes.axhline(row - 0.5, color=RULE, linewidth=0.8)
