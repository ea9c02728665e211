"""A progress bar that ends right in the saved notebook: one output, rewritten in place; step, loss, rate, time left.

    sft   ━━━━━━━━━━━━━────────────  120/400 steps · loss 1.234 · 3.1 steps/s · 1:30 left

It is a tracker (`log`, `finish`) for training, a counter (`advance`) for everything else, and a `with` block for both.
On ranks other than the main one it has the same methods and shows nothing.
"""

import html
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from cookbook_lib.display.screens import Pace, Screen, open_screen
from cookbook_lib.display.style import AMBER, BLUE, GREEN, RED, SANS, tint
from cookbook_lib.display.views import Html

NOTED = ("train/loss", "val/loss", "train/tokens_per_second")  # what a step's metrics contribute to the line


class LiveProgress:
    """Progress towards `total` (None when unknown) in `unit`s, shown at most twice a second.

    `log(step, metrics)` sets the position to `step` and notes the metrics in `NOTED`; `advance(n)` adds to it. The rate
    counts from the first position seen, so a resumed run does not claim the steps of its predecessor.
    """

    def __init__(
        self,
        total: int | None,
        title: str = "",
        *,
        unit: str = "steps",
        is_main: bool = True,
        screen: Screen | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.title, self.unit = total, title, unit
        self._screen = screen or open_screen(is_main)
        self._clock, self._pace = clock, Pace(clock=clock)
        self._done, self._base, self._start = 0, 0, clock()
        self._notes: dict[str, float] = {}
        self._state = "running"
        self._pace.run(self._show)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """The tracker's face: `step` is done, with these metrics."""
        if self._done == 0 and step > 1:
            self._base, self._start = step, self._clock()
        self._done = step
        self._notes |= {name: metrics[name] for name in NOTED if name in metrics}
        self._pace.run(self._show)

    def advance(self, n: int = 1) -> None:
        """`n` more are done."""
        self._done += n
        self._pace.run(self._show)

    def finish(self, failed: bool = False) -> None:
        """Draw the last state; the second call does nothing."""
        if self._state != "running":
            return
        complete = self.total is None or self._done >= self.total
        self._state = "failed" if failed else "complete" if complete else "stopped"
        self._show(final=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(failed=kind is not None)

    def view(self) -> Html:
        """The bar as it stands."""
        fraction = min(self._done / self.total, 1.0) if self.total else (1.0 if self._state == "complete" else 0.0)
        parts = self._parts()
        return Html(_bar_html(self.title, fraction, parts, self._state), _bar_text(self.title, fraction, parts))

    def _show(self, final: bool = False) -> None:
        self._screen.show(self.view(), final=final)

    def _parts(self) -> list[str]:
        count = f"{self._done:,}" if self.total is None else f"{self._done:,}/{self.total:,}"
        notes = [_note(name, self._notes[name]) for name in NOTED if name in self._notes]
        return [f"{count} {self.unit}", *notes, *self._time_parts()]

    def _time_parts(self) -> list[str]:
        elapsed, counted = self._clock() - self._start, self._done - self._base
        if self._state != "running":
            ended = "in" if self._state == "complete" else f"{self._state} after"
            return [f"{ended} {clock_time(elapsed)}"]
        if counted <= 0 or elapsed <= 0:
            return []
        rate = f"{counted / elapsed:,.3g} {self.unit}/s"
        if self.total is None:
            return [rate]
        return [rate, f"{clock_time((self.total - self._done) * elapsed / counted)} left"]


def clock_time(seconds: float) -> str:
    """Seconds as 0:07, 1:30 or 2:03:20."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _note(name: str, value: float) -> str:
    if name == "train/tokens_per_second":
        return f"{value:,.0f} tokens/s"
    return f"{name.removeprefix('train/').replace('/', ' ')} {value:.4g}"


def _bar_text(title: str, fraction: float, parts: list[str], width: int = 25) -> str:
    filled = round(fraction * width)
    bar = "━" * filled + "─" * (width - filled)
    return f"{title}  {bar}  {' · '.join(parts)}".strip()


def _bar_html(title: str, fraction: float, parts: list[str], state: str) -> str:
    colour = {"running": BLUE, "complete": GREEN, "stopped": AMBER, "failed": RED}[state]
    label = html.escape(" · ".join(parts))
    return (
        f'<div style="font:13px/1.5 {SANS};max-width:760px;margin:4px 0;font-variant-numeric:tabular-nums">'
        f'<div style="display:flex;justify-content:space-between;gap:16px">'
        f'<span style="font-weight:600">{html.escape(title)}</span><span style="opacity:.75">{label}</span></div>'
        f'<div style="height:5px;border-radius:3px;margin-top:4px;background:{tint(colour, 0.18)}">'
        f'<div style="height:5px;border-radius:3px;width:{fraction:.1%};background:{colour}"></div></div></div>'
    )


class ProgressBars:
    """A bar for each thing that takes time, one after another: called with (what, how many more are done, of how many)."""

    def __init__(self, unit: str = "rows") -> None:
        self.unit, self.what, self.bar = unit, "", LiveProgress(None, is_main=False)

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.what:
            self.bar.finish()
            self.what = what
            self.bar = LiveProgress(total, what, unit=self.unit, is_main=sys.stderr.isatty())
        self.bar.advance(done)

    def finish(self) -> None:
        """End the last bar."""
        self.bar.finish()
