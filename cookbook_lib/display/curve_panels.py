"""The panels of the training curve (curves.py): from logged values to lines on an empty pair of axes.

training     each step a dot, and m_t = a m_{t-1} + (1 - a) x_t, shown as m_t / (1 - a^t)
validation   a diamond each, the best one ringed
beyond       one spike must not flatten the rest: an arrow at the top; a loss that is not finite: a red cross
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cookbook_lib.display.style import AMBER, BLUE, GREEN, GREY, INK, PAPER, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Mapping[int, Mapping[str, float]]  # step -> metric -> value
Series = list[tuple[int, float]]
Best = Callable[[Series], tuple[int, float]]  # the best of some points

DOTS = 1500  # more dots than this are thinned: the eye sees no difference and the file stays small


def smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a thirtieth of the run, bias-corrected as in Adam."""
    decay = 1 - 2 / (1 + max(3.0, len(values) / 30))
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append(mean / weight)
    return smoothed


def series_of(history: History, name: str) -> Series:
    return [(step, metrics[name]) for step, metrics in history.items() if name in metrics]


def finite(series: Series) -> Series:
    return [(step, value) for step, value in series if math.isfinite(value)]


def lowest(points: Series) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])


def highest(points: Series) -> tuple[int, float]:
    return max(points, key=lambda point: point[1])


def draw_loss(axes: "Axes", history: History, loss: str, best: Best = lowest) -> None:
    train, val = series_of(history, f"train/{loss}"), series_of(history, f"val/{loss}")
    axes.margins(y=0.12)
    _draw_train(axes, finite(train))
    _draw_validation(axes, finite(val), best)
    _clip_to_bulk(axes, finite(train), finite(val))
    _draw_nonfinite(axes, [step for step, value in train + val if not math.isfinite(value)])
    axes.set_ylabel(loss)
    if axes.get_legend_handles_labels()[0]:  # above the panel, where no curve runs through it
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=4, handletextpad=0.4, columnspacing=1.4)
    else:
        axes.text(0.5, 0.5, "nothing logged yet", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])


def _draw_train(axes: "Axes", train: Series) -> None:
    if not train:
        return
    steps, values = zip(*train, strict=True)
    thin = max(1, len(train) // DOTS)
    axes.plot(
        steps[::thin],
        values[::thin],
        ".",
        color=BLUE,
        alpha=0.3 if len(train) > 20 else 0.8,
        markersize=3.5,
        markeredgewidth=0,
    )
    axes.plot(steps[::thin], smooth(values)[::thin], color=BLUE, label="training")


def _clip_to_bulk(axes: "Axes", train: Series, val: Series) -> None:
    """One spike must not flatten the rest: the axis ends above all but the highest few, arrows mark those."""
    ordered = sorted(value for _, value in train)
    if not ordered:
        return
    low, bulk, top = ordered[0], ordered[int(0.98 * (len(ordered) - 1))], ordered[-1]
    if top - low > 1.6 * (bulk - low) > 0:
        shown = [value for _, value in val] + [low, bulk]  # no validation is ever cut off
        height = max(shown) - min(shown)
        limit = max(shown) + 0.25 * height
        beyond = [step for step, value in train if value > limit]
        axes.set_ylim(min(shown) - 0.12 * height, limit)
        axes.plot(beyond, [0.985] * len(beyond), "^", color=BLUE, alpha=0.6, markersize=4.5, markeredgewidth=0,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _draw_validation(axes: "Axes", val: Series, best_of: Best) -> None:
    if not val:
        return
    steps, values = zip(*val, strict=True)
    axes.plot(steps, values, "-D", color=AMBER, linewidth=1, markersize=4.5, markeredgecolor=PAPER, label="validation")
    if len(val) < 2:
        return
    best, value = best_of(val)
    axes.plot([best], [value], "o", color="none", markeredgecolor=GREEN, markersize=11, markeredgewidth=1.8)
    at_the_end = best > 0.9 * steps[-1]  # there the label would run out of the figure
    axes.annotate(
        f"best {value:.4g}",
        (best, value),
        xytext=(4 if at_the_end else 0, 9),
        textcoords="offset points",
        ha="right" if at_the_end else "center",
        color=GREEN,
        fontsize=8,
        fontweight="bold",
    )


def _draw_nonfinite(axes: "Axes", steps: list[int]) -> None:
    if steps:
        axes.plot(steps, [0.97] * len(steps), "x", color=RED, markersize=6, markeredgewidth=1.6, clip_on=False,
                  transform=axes.get_xaxis_transform(), label=f"not finite ({len(steps)})")  # fmt: skip


def draw_panel(axes: "Axes", series: Series, label: str) -> None:
    points = finite(series)
    axes.set_title(label, fontsize=8, color=GREY, pad=4)
    if points:
        steps, values = zip(*points[:: max(1, len(points) // DOTS)], strict=True)
        axes.plot(steps, values, color=GREY, linewidth=1.2, marker="." if len(points) == 1 else "")
        axes.set_title(_short(points[-1][1]), loc="right", fontsize=8, color=INK, pad=4)
    axes.locator_params(axis="y", nbins=3)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))


def draw_steps(axes: "Axes", history: History, total_steps: int | None, named: bool = True) -> None:
    """One x axis for all panels, from the first step to the planned last one."""
    last = max([total_steps or 0, *history, 1])
    axes.set_xlim(min([*history, 1]) - 0.02 * last, 1.02 * last)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=8)  # type: ignore[call-arg]
    if named:
        axes.set_xlabel("step")
    else:
        axes.tick_params(labelbottom=False)


def _short(value: float) -> str:
    """A number for an axis: 12.3k, 0.45, 2e-05."""
    if value == 0 or 1e-2 <= abs(value) < 1e3:
        return f"{value:.3g}"
    if 1e3 <= abs(value) < 1e9:
        return f"{value / 1e6:.3g}M" if abs(value) >= 1e6 else f"{value / 1e3:.3g}k"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
