"""How several ways of training compare as data grows: one panel for each class of test rows, one line for each arm.

accuracy  1 ┤ ─ ─ ─ best possible          a dot for every seed, the line through their means,
            │        ╭──● with SFT         a bar for the 95 % interval of each mean
            │   ●────╯
        0.5 ┤ ● ─ ─ ─ a chosen reference
            └──┬─────┬─────┬──
              200   800  3200              rows, on a logarithmic axis
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cookbook_lib.display.plots import set_title
from cookbook_lib.display.style import AMBER, BLUE, GREEN, GREY, INK, PAPER, TEAL, VIOLET
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (GREY, BLUE, AMBER, GREEN, VIOLET, TEAL)
BESIDE = 0.15  # between neighbouring arms, as a share of a size: their bars must not hide each other


def arms(
    points: Sequence[Mapping[str, Any]],
    *,
    panels: Mapping[str, str],
    references: Mapping[str, Mapping[str, float]] | None = None,
    size: str = "pairs",
    title: str = "",
) -> Picture:
    """points: {"arm", size, "panel", "value", "low", "high", "seeds": [values]}, values in 0 to 1, low and
    high None where there is no interval. panels: name -> its title.

    references: name of a dashed line -> {panel: its height}. size: the key of the x axis and its label.
    """
    names = list(dict.fromkeys(str(point["arm"]) for point in points))
    colours = dict(zip(names, COLOURS, strict=False))

    def draw(figure: "Figure") -> None:
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (panel, label) in zip(every, panels.items(), strict=True):
            for place, name in enumerate(names):
                mine = [p for p in points if p["arm"] == name and p["panel"] == panel]
                shift = 1 + BESIDE * (place - (len(names) - 1) / 2)
                _draw_arm(axes, sorted(mine, key=lambda p: p[size]), shift, size, name, colours[name])
            _draw_references(axes, {line: at[panel] for line, at in (references or {}).items() if panel in at})
            _label(axes, sorted({int(p[size]) for p in points}), size)
            set_title(axes, label, "")
        every[0].set_ylabel("accuracy")
        handles, labels = every[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names) + len(references or {}))
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")

    return Picture(draw, (2.9 * len(panels), 3.4), _words(points, panels, size, title))


def saved_arms(path: str | Path) -> Picture:
    """The figure of a measurement in docs/benchmarks: a JSON file whose `figure` holds the arguments of `arms`."""
    return arms(**json.loads(Path(path).read_text(encoding="utf-8"))["figure"])


def _draw_arm(
    axes: "Axes", points: Sequence[Mapping[str, Any]], shift: float, size: str, name: str, colour: str
) -> None:
    if not points:
        return
    x, y = [p[size] * shift for p in points], [p["value"] for p in points]
    reach = [[_reach(p, "low") for p in points], [_reach(p, "high") for p in points]]
    axes.errorbar(x, y, yerr=reach, color=colour, marker="o", markersize=4.5, markeredgecolor=PAPER,
                  elinewidth=1.1, capsize=2.5, label=name)  # fmt: skip
    for at, point in zip(x, points, strict=True):
        seeds = point.get("seeds", [])
        axes.plot([at] * len(seeds), seeds, ".", color=colour, alpha=0.6, markersize=5.5, markeredgewidth=0)


def _reach(point: Mapping[str, Any], end: str) -> float:
    """From the value to an end of its interval; 0 where it has none."""
    return 0.0 if point[end] is None else abs(point[end] - point["value"])


def _draw_references(axes: "Axes", lines: Mapping[str, float]) -> None:
    styles = ((0, (4, 2)), (0, (1, 2)))
    for style, (name, height) in zip(styles, lines.items(), strict=False):
        axes.axhline(height, color=INK, alpha=0.65, linewidth=1, linestyle=style, label=name, zorder=1)


def _label(axes: "Axes", sizes: Sequence[int], size: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.set_xlabel(size)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _words(points: Sequence[Mapping[str, Any]], panels: Mapping[str, str], size: str, title: str) -> str:
    lines = [title] if title else []
    for panel, label in panels.items():
        said = [f"{p['arm']}, {p[size]:,} {size}: {p['value']:.1%}{_ends(p)}" for p in points if p["panel"] == panel]
        lines.append(f"{label}: " + "; ".join(said))
    return "\n".join(lines)


def _ends(point: Mapping[str, Any]) -> str:
    return "" if point["low"] is None else f" [{point['low']:.1%}, {point['high']:.1%}]"
