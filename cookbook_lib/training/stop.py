"""Stopping together: a request on one rank ends the same step on all of them.

A signal reaches ranks at different instructions. Raised at once, it leaves them one collective apart (wrong sums, then a hang)
and FSDP2's hooks half run (a model that no longer learns, without an error). So a signal only sets a flag; the flag travels
with the step's own reduction; every rank then stops after the same step, with a model that goes on learning. Long work between
two steps, which changes no weight (a round's answers, a validation), asks for the flag by itself and is left undone.

    SIGINT                                 JupyterLab's stop button, Ctrl-C, papermill
    SIGTERM, SIGUSR1                       a scheduler that wants the machine back
    StopRequest.request()                  anything else, from any thread
"""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StoppedTraining(KeyboardInterrupt):
    """Training was asked to stop and did, after a whole step; everything up to that step is saved."""


class WorkLeft(Exception):
    """Work between two steps was left undone, on every rank together, because one of them was asked to stop."""


_in_force: list["StopRequest"] = []


def stop_asked() -> bool:
    """Whether a loop that runs in this process has been asked to stop. False outside one."""
    return any(request.requested for request in _in_force)


class StopRequest:
    """Use as a context around the loop: signals become a flag inside, and what they were outside."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._reason = ""
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self._flag.is_set()

    @property
    def reason(self) -> str:
        return self._reason or "another rank was asked to stop"

    def request(self, reason: str = "a stop was requested") -> None:
        self._reason = self._reason or reason
        self._flag.set()

    def clear(self) -> None:
        self._reason = ""
        self._flag.clear()

    def __enter__(self) -> "StopRequest":
        _in_force.append(self)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        _in_force.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.request(f"{signal.Signals(number).name} received")
