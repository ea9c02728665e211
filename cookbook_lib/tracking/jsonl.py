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
        path = folder / NAME
        kept = [] if resumed_step is None else [row for row in read_metrics(path) if row["step"] <= resumed_step]
        if resumed_step is None and path.is_file() and path.stat().st_size:
            os.replace(path, folder / PREVIOUS)
        _write_all(path, kept)
        self._file = path.open("r+b", buffering=0)
        self._row: dict[str, Any] = kept[-1] if kept else {}
        self._begin = path.stat().st_size - len(_line(self._row)) if kept else 0  # of the last line

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        same = self._row.get("step") == step
        if not same:
            self._begin = self._file.seek(0, os.SEEK_END)
        self._row = (self._row if same else {"step": step}) | {
            k: v if math.isfinite(v) else None for k, v in metrics.items()
        }
        self._file.seek(self._begin)
        self._file.write(_line(self._row))  # a joined line is longer than the one that it replaces

    def finish(self) -> None:
        self._file.close()


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
