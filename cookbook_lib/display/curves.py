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
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cookbook_lib.display.curve_panels import (
    Best,
    History,
    draw_loss,
    draw_panel,
    draw_steps,
    finite,
    highest,
    lowest,
    series_of,
)
from cookbook_lib.display.screens import Pace, Screen, open_screen
from cookbook_lib.display.style import INK
from cookbook_lib.display.views import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
    "train/tokens_per_second": "tokens per second",
}
PAIR_PANELS = {
    "val/accuracy": "validation accuracy",
    "train/margin": "margin of the scores",
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
}
SCORE_PANELS = {
    "val/mae": "validation: mean error",
    "val/exact": "validation: exact after rounding",
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
}
DPO_PANELS = {
    "val/accuracy": "validation accuracy",
    "train/margin": "margin of the rewards",
    "train/chosen_logp": "log-probability, chosen",
    "train/rejected_logp": "log-probability, rejected",
}
REWARD_PANELS = {
    "train/group_std": "spread within groups",
    "train/parsed": "share that can be read",
    "train/length": "tokens of a completion",
    "train/entropy": "entropy, nats a token",
    "train/kl": "distance from the start, nats",
    "train/clip_fraction": "share of tokens clipped",
}
SIZE, WIDE = (9.2, 3.9), (11.5, 3.9)  # inches
STACKED = 4  # more panels than this stand in two columns


class LiveCurves:
    """The curves of a run, live. On ranks other than the main one it takes the same calls and shows and writes nothing.

    title: shown above the figure. total_steps: the right end of the x axis (None: as far as the run got).
    loss: the metric of the large panel, drawn from `train/<loss>` and `val/<loss>`; a `reward` is the better the higher.
    panels: metric -> title of the small multiples; one without values yet takes no room.
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

    def __enter__(self) -> Self:
        """Around the loop, in a cell that may be run again: what is known is shown at once."""
        if self.history:
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()  # also when the run was stopped: the saved figure ends where the run did

    def save(self, path: str | Path) -> None:
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


def _picture(history: History, title: str, total_steps: int | None, loss: str, panels: Mapping[str, str]) -> Picture:
    frozen = {step: dict(metrics) for step, metrics in sorted(history.items())}
    shown = {name: label for name, label in panels.items() if series_of(frozen, name)}
    columns = math.ceil(len(shown) / STACKED)
    rows = math.ceil(len(shown) / max(columns, 1))

    def draw(figure: "Figure") -> None:
        grid = figure.add_gridspec(max(rows, 1), 1 + columns, width_ratios=[2.5] + [1] * columns)
        main = figure.add_subplot(grid[:, 0])
        draw_loss(main, frozen, loss, _best(loss))
        draw_steps(main, frozen, total_steps)
        figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold", color=INK)
        for place, (name, label) in enumerate(shown.items()):
            column, row = divmod(place, rows)
            axes = figure.add_subplot(grid[row, 1 + column])
            draw_panel(axes, series_of(frozen, name), label)
            draw_steps(axes, frozen, total_steps, named=row == rows - 1 or place == len(shown) - 1)

    return Picture(draw, WIDE if columns > 1 else SIZE, _summary(frozen, title, loss))


def _best(loss: str) -> Best:
    return highest if loss == "reward" else lowest


def _summary(history: History, title: str, loss: str) -> str:
    parts = [title, f"step {max(history)}"] if history else [title, "nothing logged yet"]
    train, val = finite(series_of(history, f"train/{loss}")), finite(series_of(history, f"val/{loss}"))
    if train:
        parts.append(f"{loss} {train[-1][1]:.4g}")
    if val:
        step, best = _best(loss)(val)
        parts.append(f"val {loss} {val[-1][1]:.4g} (best {best:.4g} at step {step})")
    return " · ".join(part for part in parts if part)
