#!/usr/bin/env python3
"""The main job from end to end on the embedded model and data: prepare, fine-tune, train a reward model, evaluate.

    python scripts/tour.py            what `make tour` runs: one process, some minutes on two cores
    python scripts/tour.py -n 2       the same on two processes (the numbers stay)

Notebook 41_pipeline runs headless; its executed copy, both models and the pictures stay in runs/tour.
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
NOTEBOOK = "41_pipeline"
PAIRS = ["trainer.total_epochs=2", "optim.lr=1e-3"]  # a third pass learns the pairs by heart; SFT's rate is too high for them


def main(arguments: list[str] | None = None) -> int:
    """Run the notebook and print the tables; its exit status if it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--processes", type=int, default=1, help="processes that train (default: 1)")
    parser.add_argument("--folder", type=Path, default=HOME / "runs" / "tour", help="everything is written here, anew")
    given = parser.parse_args(arguments)
    folder, begin = given.folder.resolve(), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    if status := execute(folder, given.processes, {"folder": str(folder), "bt_overrides": PAIRS}):
        return status
    found = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    print("\n" + table(found["rows"], caption="The tour, beside the best possible").text)
    print("\n" + table(places(found["summaries"], folder, time.monotonic() - begin)).text)
    return 0


def execute(folder: Path, processes: int, parameters: dict[str, Any]) -> int:
    """The notebook through `cookbook run`; the executed copy goes to `folder`."""
    command = [sys.executable, "-m", "cookbook_lib.runtime", "run", str(HOME / "notebooks" / f"{NOTEBOOK}.ipynb")]
    command += ["--output", str(folder / f"{NOTEBOOK}.ipynb"), "-n", str(processes), "-y", json.dumps(parameters)]
    return subprocess.call(command, cwd=HOME)


def places(summaries: dict[str, Any], folder: Path, seconds: float) -> list[dict[str, str]]:
    """Speed, and where everything is."""
    sft, bt = summaries["sft"], summaries["bt"]
    speeds = f"{sft['tokens_per_second']:,} (SFT), {bt['tokens_per_second']:,} (Bradley-Terry)"
    shown = {
        "tokens per second": f"{speeds}, {sft['processes']} process(es)",
        "time": f"{seconds:.0f} s",
        "executed notebook": f"{folder}/{NOTEBOOK}.ipynb",
        "curves": f"{sft['curve']}, {bt['curve']}",
        "SFT model": sft["final_model"],
        "reward model": bt["final_model"],
    }
    return [{"what": name, "result": text} for name, text in shown.items()]


if __name__ == "__main__":
    sys.exit(main())
