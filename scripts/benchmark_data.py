"""Measure data preparation: synthetic ShareGPT rows to parquet, in rows per second and peak memory.

    python scripts/benchmark_data.py                 1,000,000 rows
    python scripts/benchmark_data.py --rows 50000    a quick look

The rows are written to a temporary file first (not timed); the preparation then runs as a user would run it, in a
process of its own, so that the peak belongs to it alone.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "prepare_sft_data.py"
WORDS = [
    "river",
    "stone",
    "lantern",
    "harbour",
    "window",
    "garden",
    "paper",
    "copper",
    "winter",
    "bridge",
    "meadow",
    "candle",
    "letter",
    "orchard",
    "signal",
]


def main() -> int:
    """Run the benchmark and print one line of figures."""
    given = parser().parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows, output = Path(folder) / "sharegpt.jsonl", Path(folder) / "prepared"
        megabytes = write_rows(rows, given.rows) / 2**20
        command = [sys.executable, str(SCRIPT), "--source", "sharegpt", "--input", str(rows), "--output", str(output)]
        finished = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if finished.returncode:
            return finished.returncode
        report = json.loads((output / "report.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{report['rows_read']:,} rows ({megabytes:,.0f} MiB): {report['rows_per_second']:,} rows/s, "
        f"{report['seconds']:,.1f} s, peak memory {peak:.2f} GiB, kept {report['kept']:,}"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="rows to prepare (default: 1,000,000)")
    made.add_argument("--folder", metavar="PATH", help="where the temporary files go (default: the system's)")
    return made


def write_rows(path: Path, count: int) -> int:
    """Write `count` ShareGPT rows of one to three exchanges; returns the bytes."""
    with path.open("w", encoding="utf-8") as stream:
        for row in sharegpt_rows(count):
            stream.write(json.dumps(row) + "\n")
    return path.stat().st_size


def sharegpt_rows(count: int) -> Iterator[dict]:
    """Rows of random words, the same every time; all different, since each opens with its number."""
    draw = random.Random(0)
    for number in range(count):
        turns = [{"from": "human", "value": f"Question {number}: {_words(draw, 12)}?"}]
        for _ in range(draw.randint(0, 2)):
            turns.append({"from": "gpt", "value": _words(draw, 40)})
            turns.append({"from": "human", "value": _words(draw, 12)})
        yield {"id": str(number), "conversations": [*turns, {"from": "gpt", "value": _words(draw, 40)}]}


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


if __name__ == "__main__":
    sys.exit(main())
