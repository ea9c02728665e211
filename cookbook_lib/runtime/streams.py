"""Where the output of the other ranks goes: stdout and stderr to rank 0, displays nowhere.

Displays, results and widgets are still *formatted* on every rank (a `__repr__` with a collective stays in step), and
then dropped: the notebook shows rank 0's.
"""

import contextlib
import io
import os
import threading
import time
from typing import Any

from cookbook_lib.runtime.channel import Link

_FLUSH_SECONDS = 0.1


class NowhereSocket:
    """Takes the place of the iopub socket."""

    io_thread = None

    def send_multipart(self, *args: Any, **options: Any) -> None:
        """Publish nothing."""


class RankStream(io.TextIOBase):
    """A rank's stdout or stderr: text travels to rank 0 in lines, at most every 0.1 s.

    A forked child (a DataLoader worker) must not write into the link, whose frames it would corrupt; its text goes to
    the process's own stderr.
    """

    encoding = "utf-8"

    def __init__(self, name: str, link: Link, fallback: Any) -> None:
        self.name, self._link, self._fallback = name, link, fallback
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._text: list[str] = []
        self._flushed = 0.0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if os.getpid() != self._pid:
            self._fallback.write(text)
            return len(text)
        with self._lock:
            self._text.append(text)
            due = ("\n" in text or "\r" in text) and time.monotonic() - self._flushed > _FLUSH_SECONDS
        if due:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if os.getpid() != self._pid:
            self._fallback.flush()
            return
        with self._lock:
            text, self._text, self._flushed = "".join(self._text), [], time.monotonic()
        if text:
            with contextlib.suppress(OSError):  # rank 0 is gone; the control thread ends this rank
                self._link.send("output", name=self.name, text=text)


def label(rank: int, text: str) -> str:
    """Each line with the rank that printed it."""
    lines = text if text.endswith("\n") else text + "\n"
    return "".join(f"[rank {rank}] {line}" for line in lines.splitlines(keepends=True))
