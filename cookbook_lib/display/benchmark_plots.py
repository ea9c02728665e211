"""Pictures of benchmarks, from plain rows.

benchmark_bars(rows)        a bar a result with its interval; chance and the best possible are marked
matrix_heatmap(matrix)      RM-Bench's 3 x 3: chosen answers of three styles against rejected ones
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cookbook_lib.display.judge_plots import SERIES, draw_nothing
from cookbook_lib.display.plots import label_rows, set_title
from cookbook_lib.display.style import GREY, INK, LIGHT_BLUE, PAPER
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("concise", "plain", "markdown")


def benchmark_bars(rows: Sequence[Mapping[str, Any]], *, title: str = "Benchmarks") -> Picture:
    """rows: {name, value, low, high} as fractions, with judge (a bar each), chance and best (marks) where there are any.

    A value of None is named and has no bar. `incomplete`, what is missing from a figure, is marked in its name.
    """
    names = list(dict.fromkeys(_named(row) for row in rows))
    judges = list(dict.fromkeys(row.get("judge") for row in rows))
    height = 0.72 / max(len(judges), 1)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if not rows:
            draw_nothing(axes, title)
            return
        label_rows(axes, names)
        for row in rows:
            judge = judges.index(row.get("judge"))
            y = names.index(_named(row)) + (judge - (len(judges) - 1) / 2) * height
            _draw_bar(axes, row, y, 0.86 * height, SERIES[judge % len(SERIES)])
        for y, name in enumerate(names):
            _draw_marks(axes, [row for row in rows if _named(row) == name], y)
        if len(judges) > 1:
            shades = [axes.barh(0, 0, color=SERIES[i % len(SERIES)], alpha=0.85) for i in range(len(judges))]
            axes.legend(shades, map(str, judges), loc="upper left", bbox_to_anchor=(1, 1))
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.grid(True)
        marked = [
            word for word, key in (("dotted: chance", "chance"), ("solid: best possible", "best")) if _any(rows, key)
        ]
        set_title(axes, title, " · ".join(["95 % intervals", *marked]))

    return Picture(draw, (7.2, 0.75 + max(0.34, 0.24 * len(judges)) * max(len(names), 1)), _words(rows, title))


def matrix_heatmap(
    matrix: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str] = STYLES,
    columns: Sequence[str] = STYLES,
    title: str = "Chosen answer against rejected answer",
) -> Picture:
    """matrix[i][j]: share of prompts whose chosen answer in style i beats the rejected one in style j; None is left blank.

    For a square one the words say RM-Bench's easy (below the diagonal), normal (on it) and hard (above it).
    """
    square = len(rows) == len(columns) and all(len(row) == len(rows) for row in matrix) and len(rows) > 1
    levels = _levels(matrix) if square else {}
    said = " · ".join(f"{name} {value:.3f}" for name, value in levels.items() if value is not None)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                _draw_cell(axes, i, j, value)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(labelsize=8.5, labelcolor=INK)
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("rejected")
        axes.set_ylabel("chosen")
        axes.set_title(title, fontweight="bold", color=INK)
        figure.supxlabel(said, fontsize=8, color=GREY)

    size = (1.5 + 1.1 * max(len(columns), 2), 1.2 + 0.75 * max(len(rows), 1))
    cells = "; ".join(f"{name} {', '.join(map(_short, row))}" for name, row in zip(rows, matrix, strict=True))
    return Picture(draw, size, f"{title}: {cells}" + (f" ({said})" if said else ""))


def _any(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row.get(key) is not None for row in rows)


def _draw_bar(axes: Any, row: Mapping[str, Any], y: float, height: float, colour: str) -> None:
    value, low, high = row["value"], row.get("low"), row.get("high")
    if value is None:
        axes.text(0.01, y, "not measured", va="center", color=GREY, fontsize=7.5)
        return
    axes.barh(y, value, height, color=colour, alpha=0.85)
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
    axes.text(1.03, y, f"{value:.3f}", va="center", color=INK, fontsize=7.5)  # a column, where no line crosses it


def _draw_marks(axes: Any, rows: Sequence[Mapping[str, Any]], y: int) -> None:
    for key, line in (("chance", (0, (1, 1.4))), ("best", "-")):
        for value in dict.fromkeys(row.get(key) for row in rows if row.get(key) is not None):
            axes.plot([value, value], [y - 0.43, y + 0.43], color=INK, linewidth=1.3, linestyle=line)


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['name']} (incomplete)" if row.get("incomplete") else str(row["name"])


def _words(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    said = []
    for row in rows:
        judge = f" by {row['judge']}" if row.get("judge") is not None else ""
        ends = f" [{row['low']:.3f}, {row['high']:.3f}]" if row.get("low") is not None else ""
        said.append(f"{_named(row)}{judge} {_short(row['value'])}{ends}")
    return f"{title}: {'; '.join(said) or 'nothing to show'}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _levels(matrix: Sequence[Sequence[float | None]]) -> dict[str, float | None]:
    """Means of the cells above, on and below the diagonal; None where one is missing."""
    places = [(i, j) for i in range(len(matrix)) for j in range(len(matrix))]
    groups = {"hard": [c for c in places if c[0] < c[1]], "normal": [c for c in places if c[0] == c[1]],
              "easy": [c for c in places if c[0] > c[1]]}  # fmt: skip
    found: dict[str, float | None] = {}
    for name, cells in groups.items():
        values = [matrix[i][j] for i, j in cells]
        known = [value for value in values if value is not None]
        found[name] = sum(known) / len(known) if len(known) == len(values) else None
    return found


def _draw_cell(axes: Any, i: int, j: int, value: float | None) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    shades = LinearSegmentedColormap.from_list("share", ["#f5f8fc", LIGHT_BLUE, SERIES[0]])
    face = PAPER if value is None else shades(value)
    axes.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=face, edgecolor="none"))
    ink = PAPER if value is not None and value > 0.78 else INK
    axes.text(j, i, _short(value), ha="center", va="center", color=ink, fontsize=10)
