"""The training curve: what a run has logged so far, as one figure that a notebook updates in place.

    ┌ loss: each step a dot, smoothed ─────────────┐  ┌ learning rate ┐
    │ ·.                                           │  └───────────────┘
    │  '·..   ◇ validation                         │  ┌ gradient norm ┐      m_t = a m_{t-1} + (1 - a) x_t
    │      '··.◇.                                  │  └───────────────┘      shown: m_t / (1 - a^t)
    │           '·.◈ best                          │  ┌ tokens / s ───┐
    └──────────────────────────────────────────────┘  └───────────────┘

`LiveCurves` is a tracker (`log`, `finish`): hand it to the loop beside the others. `training_curves` draws the same
figure from the rows of a metrics.jsonl. A loss that is not finite is a red cross at the top of the panel.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cookbook_lib.display.screens import Pace, Screen, open_screen
from cookbook_lib.display.style import AMBER, BLUE, GREEN, GREY, INK, PAPER, RED
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[int, Mapping[str, float]]  # step -> metric -> value
Series = list[tuple[int, float]]

PANELS = {
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
    "train/tokens_per_second": "tokens per second",
}
SIZE = (9.2, 3.9)  # inches
DOTS = 1500  # more dots than this are thinned: the eye sees no difference and the file stays small


class LiveCurves:
    """The curves of a run, live. On ranks other than the main one it takes the same calls and shows and writes nothing.

    title: shown above the figure. total_steps: the right end of the x axis (None: as far as the run got).
    loss: the metric of the large panel, drawn from `train/<loss>` and `val/<loss>`. panels: metric -> title of the
    small multiples; one without values yet takes no room.
    """

    def __init__(
        self,
        title: str,
        *,
        total_steps: int | None = None,
        loss: str = "loss",
        panels: Mapping[str, str] = PANELS,
        is_main: bool = True,
        screen: Screen | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.title, self.total_steps, self.loss, self.panels = title, total_steps, loss, panels
        self.history: dict[int, dict[str, float]] = {}
        self._screen, self._pace = screen or open_screen(is_main), pace or Pace()
        self._stale = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of `step` (a step logged again, after a resume, replaces its values) and redraw when due."""
        self.history.setdefault(step, {}).update(metrics)
        self._stale = True
        self._pace.run(self._show)

    def finish(self) -> None:
        """Draw the last state; harmless when called again, or when nothing was logged."""
        if self._stale:
            self._show(final=True)

    def save(self, path: str) -> None:
        """Write the figure as it stands: `curves.save("checkpoints/sft/sft_train.png")`."""
        self._screen.save(self.picture(), path)

    def picture(self) -> Picture:
        """The figure as it stands."""
        return _picture(self.history, self.title, self.total_steps, self.loss, self.panels)

    def _show(self, final: bool = False) -> None:
        self._screen.show(self.picture(), final=final)
        self._stale = False


def training_curves(
    rows: Iterable[Mapping[str, float]],
    title: str = "",
    *,
    total_steps: int | None = None,
    loss: str = "loss",
    panels: Mapping[str, str] = PANELS,
) -> Picture:
    """The same figure from logged rows, each with a `step` (the lines of metrics.jsonl)."""
    history: dict[int, dict[str, float]] = {}
    for row in rows:
        history.setdefault(int(row["step"]), {}).update({k: v for k, v in row.items() if k != "step"})
    return _picture(history, title, total_steps, loss, panels)


def smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a thirtieth of the run, bias-corrected as in Adam."""
    decay = 1 - 2 / (1 + max(3.0, len(values) / 30))
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append(mean / weight)
    return smoothed


def _picture(history: History, title: str, total_steps: int | None, loss: str, panels: Mapping[str, str]) -> Picture:
    frozen = {step: dict(metrics) for step, metrics in sorted(history.items())}
    shown = {name: label for name, label in panels.items() if _series(frozen, name)}

    def draw(figure: "Figure") -> None:
        grid = figure.add_gridspec(max(len(shown), 1), 2 if shown else 1, width_ratios=[2.5, 1] if shown else None)
        main = figure.add_subplot(grid[:, 0])
        _draw_loss(main, frozen, loss)
        _frame(main, frozen, total_steps)
        figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold", color=INK)
        for row, (name, label) in enumerate(shown.items()):
            axes = figure.add_subplot(grid[row, 1])
            _draw_panel(axes, _series(frozen, name), label)
            _frame(axes, frozen, total_steps, named=row == len(shown) - 1)

    return Picture(draw, SIZE, _summary(frozen, title, loss))


def _series(history: History, name: str) -> Series:
    return [(step, metrics[name]) for step, metrics in history.items() if name in metrics]


def _finite(series: Series) -> Series:
    return [(step, value) for step, value in series if math.isfinite(value)]


def _draw_loss(axes: "Axes", history: History, loss: str) -> None:
    train, val = _series(history, f"train/{loss}"), _series(history, f"val/{loss}")
    axes.margins(y=0.12)
    _draw_train(axes, _finite(train))
    _draw_validation(axes, _finite(val))
    _clip_to_bulk(axes, _finite(train))
    _draw_nonfinite(axes, [step for step, value in train if not math.isfinite(value)])
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
    axes.plot(steps[::thin], values[::thin], ".", color=BLUE, alpha=0.3, markersize=3.5, markeredgewidth=0)
    axes.plot(steps[::thin], smooth(values)[::thin], color=BLUE, label="training")


def _clip_to_bulk(axes: "Axes", train: Series) -> None:
    """One spike must not flatten the rest: the axis ends above all but the highest few, arrows mark those."""
    ordered = sorted(value for _, value in train)
    if not ordered:
        return
    low, bulk, top = ordered[0], ordered[int(0.98 * (len(ordered) - 1))], ordered[-1]
    if top - low > 1.6 * (bulk - low) > 0:
        limit = bulk + 0.25 * (bulk - low)
        beyond = [step for step, value in train if value > limit]
        axes.set_ylim(top=limit)
        axes.plot(beyond, [0.985] * len(beyond), "^", color=BLUE, alpha=0.6, markersize=4.5, markeredgewidth=0,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _draw_validation(axes: "Axes", val: Series) -> None:
    if not val:
        return
    steps, values = zip(*val, strict=True)
    axes.plot(steps, values, "-D", color=AMBER, linewidth=1, markersize=4.5, markeredgecolor=PAPER, label="validation")
    if len(val) < 2:
        return
    best, value = min(val, key=lambda point: point[1])
    axes.plot([best], [value], "o", color="none", markeredgecolor=GREEN, markersize=11, markeredgewidth=1.8)
    axes.annotate(f"best {value:.4g}", (best, value), xytext=(0, 9), textcoords="offset points", ha="center",
                  color=GREEN, fontsize=8, fontweight="bold")  # fmt: skip


def _draw_nonfinite(axes: "Axes", steps: list[int]) -> None:
    if steps:
        axes.plot(steps, [0.97] * len(steps), "x", color=RED, markersize=6, markeredgewidth=1.6, clip_on=False,
                  transform=axes.get_xaxis_transform(), label=f"not finite ({len(steps)})")  # fmt: skip


def _draw_panel(axes: "Axes", series: Series, label: str) -> None:
    points = _finite(series)
    axes.set_title(label, fontsize=8, color=GREY, pad=4)
    if points:
        steps, values = zip(*points[:: max(1, len(points) // DOTS)], strict=True)
        axes.plot(steps, values, color=GREY, linewidth=1.2)
        axes.set_title(_short(points[-1][1]), loc="right", fontsize=8, color=INK, pad=4)
    axes.locator_params(axis="y", nbins=3)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))


def _frame(axes: "Axes", history: History, total_steps: int | None, named: bool = True) -> None:
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


def _summary(history: History, title: str, loss: str) -> str:
    parts = [title, f"step {max(history)}"] if history else [title, "nothing logged yet"]
    train, val = _finite(_series(history, f"train/{loss}")), _finite(_series(history, f"val/{loss}"))
    if train:
        parts.append(f"{loss} {train[-1][1]:.4g}")
    if val:
        step, best = min(val, key=lambda point: point[1])
        parts.append(f"val {loss} {val[-1][1]:.4g} (best {best:.4g} at step {step})")
    return " · ".join(part for part in parts if part)
