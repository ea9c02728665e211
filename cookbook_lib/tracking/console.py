"""Progress for a person: a live line on a terminal, plain lines some seconds apart elsewhere (a log file, a notebook).

terminal   step  120/300 ████████▒▒▒▒▒▒▒▒▒▒▒▒ loss 2.314 · lr 1.9e-05 · 12.3k tokens/s · 3:21 left
elsewhere  step 120/300 · loss 2.314 · lr 1.9e-05 · 12.3k tokens/s · 3:21 left
always     a line of its own for validations, the first step and the last
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

BAR = 20
EVERY_S = 5.0
REDRAW_S = 0.1
CLEAR = "\r\x1b[K"  # to the line's begin, and wipe it


class Console:
    """total_steps: of the whole run. `stream` and `clock` are for tests."""

    def __init__(
        self, total_steps: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total = total_steps
        self.stream = stream or sys.stdout
        self.clock = clock
        self.live = self.stream.isatty()
        self._first: tuple[int, float] | None = None  # (step, time) of the first call: rates are measured from there
        self._shown = -float("inf")
        self._pending = False  # a live line stands unfinished

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = self.clock()
        opening = self._first is None
        self._first = self._first or (step, now)
        parts = [*describe(metrics), *self._left(step, now)]
        if opening or step >= self.total or any(name.startswith("val/") for name in metrics):
            self._line(step, parts, now)
        elif now - self._shown >= (REDRAW_S if self.live else EVERY_S):
            self._draw(step, parts, now) if self.live else self._line(step, parts, now)

    def finish(self) -> None:
        if self._pending:
            self._write("\n")
        self._pending = False

    def _line(self, step: int, parts: list[str], now: float) -> None:
        head = CLEAR if self.live else ""
        self._write(f"{head}{' · '.join([f'step {step}/{self.total}', *parts])}\n")
        self._shown, self._pending = now, False

    def _draw(self, step: int, parts: list[str], now: float) -> None:
        full = min(BAR * step // max(self.total, 1), BAR)
        bar = "█" * full + "▒" * (BAR - full)
        self._write(f"{CLEAR}step {step:>{len(str(self.total))}}/{self.total} {bar} {' · '.join(parts)}")
        self._shown, self._pending = now, True

    def _left(self, step: int, now: float) -> list[str]:
        """Time to the last step at the pace so far, validation and saving included."""
        assert self._first is not None
        done = step - self._first[0]
        if done <= 0 or step >= self.total:
            return []
        return [f"{clock_time((now - self._first[1]) / done * (self.total - step))} left"]

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def describe(metrics: Mapping[str, float]) -> list[str]:
    """The few metrics that a person watches, in words: the reward, where there is one; a policy's loss tells nothing."""
    goal = "reward" if {"train/reward", "val/reward"} & metrics.keys() else "loss"
    shown = [
        (f"train/{goal}", (goal + " {:.4g}").format),
        (f"val/{goal}", (f"val {goal}" + " {:.4g}").format),
        ("val/accuracy", lambda share: f"val accuracy {100 * share:.1f} %"),
        ("train/grad_norm", "grad norm {:.3g}".format),
        ("train/lr", "lr {:.2g}".format),
        ("train/tokens_per_second", lambda rate: f"{short(rate)} tokens/s"),
        ("train/skipped_steps", "{:.0f} steps skipped".format),
    ]
    share = metrics.get("train/rollout_share", math.nan)  # not known of the first round
    rollouts = [] if math.isnan(share) else [f"{100 * share:.0f} % of the time in rollouts"]
    return [text(metrics[name]) for name, text in shown if name in metrics] + rollouts


def short(number: float) -> str:
    """950 · 12.3k · 4.5M"""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def clock_time(seconds: float) -> str:
    """3:21 · 1:02:07"""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
