"""Where a live view is shown: a notebook cell, a terminal, or nowhere. Same methods, so that callers never ask which.

    open_screen(is_main)  ->  NotebookScreen   one output a cell, updated in place by its display_id: a saved or headless
                                               copy ends with the last state (widgets would freeze at 0 %)
                              TerminalScreen   one rewritten line; in a log file a line now and then
                              NullScreen       the other ranks of a world: takes everything, shows and writes nothing

`Pace` decides how often a view is worth drawing.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

from cookbook_lib.display.views import Picture, View


class Screen(Protocol):
    """A place for one live view."""

    def show(self, view: View, *, final: bool = False) -> None: ...
    def save(self, picture: Picture, path: str | Path) -> None: ...


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process (JupyterLab, VS Code, Colab, papermill), rather than a terminal."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it long before us
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def open_screen(is_main: bool = True) -> Screen:
    """The screen of this process."""
    if not is_main:
        return NullScreen()
    return NotebookScreen() if in_notebook() else TerminalScreen(sys.stdout)


class NotebookScreen:
    """One output a cell, replaced in place. A cell that is run again has lost its output, so it gets a new one."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._cell: int | None = None

    def show(self, view: View, *, final: bool = False) -> None:
        from IPython.display import display

        data, metadata = view._repr_mimebundle_()
        if self._cell != (cell := _running_cell()):
            self._handle, self._cell = display(data, metadata=metadata, raw=True, display_id=True), cell
        else:
            self._handle.update(data, metadata=metadata, raw=True)

    def save(self, picture: Picture, path: str | Path) -> None:
        picture.save(path)


def _running_cell() -> int:
    """The number in brackets beside the cell that runs now."""
    from IPython import get_ipython

    return int(get_ipython().execution_count)


class TerminalScreen:
    """One line that is rewritten; when the stream is a file, a new line every `log_interval` seconds and at the end."""

    def __init__(self, stream: TextIO, log_interval: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._log_interval = stream, clock, log_interval
        self._rewrites = stream.isatty()
        self._next_line = clock()

    def show(self, view: View, *, final: bool = False) -> None:
        line = str(view)
        if self._rewrites:
            self._stream.write(f"\r\x1b[2K{line}" + "\n" * final)
        elif final or self._clock() >= self._next_line:
            self._stream.write(f"{line}\n")
            self._next_line = self._clock() + self._log_interval
        self._stream.flush()

    def save(self, picture: Picture, path: str | Path) -> None:
        picture.save(path)


class NullScreen:
    """Shows and writes nothing."""

    def show(self, view: View, *, final: bool = False) -> None:
        pass

    def save(self, picture: Picture, path: str | Path) -> None:
        pass


class Pace:
    """How often a live view is drawn: once per `interval` seconds at most, at most `share` of the run's time, and once
    per `longest` seconds at least (the first drawing, which imports matplotlib, must not silence the next minute).

    A figure takes a tenth of a second on a slow machine; a step of a tiny model takes less. The share keeps looking
    at a run from slowing the run.
    """

    def __init__(
        self,
        interval: float = 0.6,
        share: float = 0.1,
        longest: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval, self._share, self._longest, self._clock = interval, share, longest, clock
        self._due_at = clock()

    def run(self, draw: Callable[[], None]) -> None:
        """Draw, if it is time."""
        start = self._clock()
        if start < self._due_at:
            return
        draw()
        end = self._clock()
        self._due_at = end + min(max(self._interval, (end - start) / self._share), self._longest)
