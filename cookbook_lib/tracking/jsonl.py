"""metrics.jsonl: one JSON object per logged step, {"step": 12, "train/loss": 2.31, ...}; the run's own record.

    logged twice   (training, then validation)   one line, the second call's metrics join it
    resumed        at step s                     lines after s are cut, all or nothing, and logged again
    started anew   in the same folder            the old file becomes metrics.previous.jsonl
    null                                         a number that was not finite

A line has left this process when `log` returns: a killed run leaves at most one half line, which the next start drops.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME, PREVIOUS = "metrics.jsonl", "metrics.previous.jsonl"


class Jsonl:
    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        self.path = folder / NAME
        kept = [] if resumed_step is None else [row for row in read_metrics(self.path) if row["step"] <= resumed_step]
        if resumed_step is None and self.path.is_file() and self.path.stat().st_size:
            os.replace(self.path, folder / PREVIOUS)
        _write_all(self.path, kept)
        self._row: dict[str, Any] = kept[-1] if kept else {}
        self._begin = self._end = self.path.stat().st_size  # of the last line
        if kept:
            self._begin -= len(_line(self._row))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        if self._row.get("step") == step:
            self._row = self._row | finite
        else:
            self._row, self._begin = {"step": step} | finite, self._end
        with self.path.open("r+b") as file:
            file.seek(self._begin)
            file.write(_line(self._row))
            file.truncate()
            self._end = file.tell()

    def finish(self) -> None:
        """Nothing is open between two steps."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows in order, without a half line at the end (a killed run); [] when there is no file."""
    if not path.is_file():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _write_all(path: Path, rows: list[dict[str, Any]]) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(b"".join(map(_line, rows)))
    os.replace(fresh, path)
