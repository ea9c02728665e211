"""What a headless run shows: a line per cell, and below it what the cell prints, as it prints it.

[3/12] train
...the cell's output; a live bar is rewritten in place on a terminal, and appears now and then in a log file...
[3/12] train: 41.2 s
"""

import re
import sys
import time
from typing import Any, TextIO

_LOG_SECONDS = 30.0
_OPAQUE = re.compile(r"<[\w.]+( .*)?>", re.DOTALL)  # the repr of a figure or widget says nothing
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CLEAR_LINE = "\r\x1b[2K"


class Terminal:
    """Writes progress to `out` and what cells write to stderr to `err`."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self._rewrites = self._out.isatty()
        self._total, self._number, self._title, self._start = 0, 0, "", 0.0
        self._column_zero = True
        self._live: dict[str, str] = {}  # display id -> text not shown yet
        self._live_shown = 0.0

    def begin(self, number: int, total: int, title: str) -> None:
        """A code cell starts; numbers count code cells from 1."""
        self._number, self._total, self._title, self._start = number, total, title, time.monotonic()
        self.say(f"[{number}/{total}] {title}")

    def end(self, outcome: str = "") -> None:
        """The cell is over."""
        self._show_live()
        self.say(f"[{self._number}/{self._total}] {self._title}: {time.monotonic() - self._start:.1f} s{outcome}")

    def say(self, line: str) -> None:
        """A line of our own."""
        self._write(self._out, ("" if self._column_zero else "\n") + line + "\n")

    def show(self, message: dict[str, Any]) -> None:
        """One message that the running cell published."""
        content = message["content"]
        match message["header"]["msg_type"]:
            case "stream":
                self._write(self._err if content["name"] == "stderr" else self._out, content["text"])
            case "error" if content["ename"] != "KeyboardInterrupt":
                self.say("\n".join(content["traceback"]))
            case "display_data" | "update_display_data" | "execute_result":
                self._display(content)

    def _display(self, content: dict[str, Any]) -> None:
        text = content["data"].get("text/plain", "")
        display_id = content.get("transient", {}).get("display_id")
        if not text or _OPAQUE.fullmatch(text):
            return
        if display_id is None or "\n" in text:
            self.say(text)
            return
        self._live[display_id] = text
        if self._rewrites:
            self._write(self._out, _CLEAR_LINE + text)
        elif time.monotonic() - self._live_shown > _LOG_SECONDS:
            self._show_live()

    def _show_live(self) -> None:
        """Bring live lines up to date, for good."""
        for text in self._live.values():
            if not self._rewrites:
                self.say(text)
        self._live, self._live_shown = {}, time.monotonic()

    def _write(self, stream: TextIO, text: str) -> None:
        text = text if stream.isatty() else _COLOUR.sub("", text)
        stream.write(text)
        stream.flush()
        if stream is self._out or stream.isatty():  # a log file of its own does not move the cursor here
            self._column_zero = text.endswith("\n")
