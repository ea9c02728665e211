#!/usr/bin/env python3
"""The main job from end to end on the embedded model and data: prepare, fine-tune, compare with the base model.

    python scripts/tour.py            what `make tour` runs: one process, a few minutes on two cores
    python scripts/tour.py -n 2       the same on two processes (the numbers stay)

Both notebooks run headless; their executed copies, the checkpoint and the curve stay in runs/tour.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.display import table

HOME = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run both notebooks and print the table; a notebook's exit status if it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--processes", type=int, default=1, help="processes that train (default: 1)")
    parser.add_argument("--folder", type=Path, default=HOME / "runs" / "tour", help="everything is written here, anew")
    given = parser.parse_args(arguments)
    folder, begin = given.folder.resolve(), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    data, run = folder / "data", folder / "checkpoints"
    files = {"train_file": str(data / "train.parquet"), "val_file": str(data / "test.parquet")}
    for notebook, processes, parameters in (
        ("10_prepare_data", 1, {"output": str(data)}),
        ("20_sft", given.processes, {**files, "save_path": str(run), "experiment_name": "tour"}),
    ):
        if status := execute(notebook, folder, processes, parameters):
            return status
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    print("\n" + table(rows(summary, folder, time.monotonic() - begin), caption="The tour").text)
    return 0


def execute(notebook: str, folder: Path, processes: int, parameters: dict[str, Any]) -> int:
    """One notebook through `cookbook run`; the executed copy goes to `folder`."""
    command = [sys.executable, "-m", "cookbook_lib.runtime", "run", str(HOME / "notebooks" / f"{notebook}.ipynb")]
    command += ["--output", str(folder / f"{notebook}.ipynb"), "-n", str(processes), "-y", json.dumps(parameters)]
    return subprocess.call(command, cwd=HOME)


def rows(summary: dict[str, Any], folder: Path, seconds: float) -> list[dict[str, str]]:
    """What a person wants to know when it is over."""
    shown = {
        "validation loss": f"{summary['val_loss_before']:.3f} -> {summary['val_loss_after']:.3f} nats per token",
        **{row[""]: f"{row['base']} -> {row['checkpoint']}" for row in summary["compared"] or [] if "exact" in row[""]},
        "speed": f"{summary['tokens_per_second']:,} tokens per second, {summary['processes']} process(es)",
        "time": f"{seconds:.0f} s",
        "executed notebooks": f"{folder}/10_prepare_data.ipynb, 20_sft.ipynb",
        "curve": summary["curve"],
        "model": summary["final_model"],
    }
    return [{"what": name, "result": text} for name, text in shown.items()]


if __name__ == "__main__":
    sys.exit(main())
