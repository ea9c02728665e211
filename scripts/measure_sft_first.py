#!/usr/bin/env python3
"""Is SFT an essential start for a reward model? Bradley-Terry on the embedded world, from three starts.

    random    weights drawn anew                                    arms, each with the same pairs, steps and tuning
    chat      after SFT on right answers about the neighbours
    judged    after SFT on the same answers and on judgements of answers, right and wrong, with their scores

Every arm meets --sizes x --seeds: its own preference pairs, its own test pairs, none of whose prompts anybody trained on.
Each arm's learning rate is the one of --rates with the best validation accuracy, at the middle size and the first seed.
What is reported: test accuracy by class of pair, the mean over seeds with its 95 % interval (Student's t over seeds, so that
pairs, order, weights and test rows are all in it), and the differences of arms, paired by seed.

    python scripts/measure_sft_first.py                                 an hour of one core; can be stopped and run again
    python scripts/measure_sft_first.py --write docs/benchmarks/NAME    also NAME.json, NAME.svg and NAME.md
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from sft_first_report import write
from sft_first_run import run

from cookbook_lib.config import CookbookError
from cookbook_lib.config.places import HOME
from cookbook_lib.display import table

ARMS = ("random", "chat", "judged")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--folder", type=Path, default=HOME / "runs" / "sft_first", help="models, and a line for each finished run"
    )
    made.add_argument("--sizes", type=int, nargs="+", default=[200, 800, 3200], metavar="N", help="preference pairs")
    made.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S")
    made.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3], metavar="LR", help="tried for every arm")
    made.add_argument("--steps", type=int, default=128, help="of a reward model, 32 pairs each")
    made.add_argument("--prompts", type=int, default=6000, help="of SFT; each has up to two right answers")
    made.add_argument("--judgements", type=int, default=6000, help="of SFT, arm judged")
    made.add_argument("--epochs", type=int, nargs=2, default=[6, 4], metavar=("CHAT", "JUDGED"), help="of SFT")
    made.add_argument("--sft-steps", type=int, default=None, help="instead of epochs")
    made.add_argument(
        "--held-out", type=int, nargs=2, default=[300, 1000], metavar=("VAL", "TEST"), help="pairs drawn for each seed"
    )
    made.add_argument("--questions", type=int, default=150, help="held-out prompts that the SFT models answer")
    made.add_argument("--jobs", type=int, default=1, help="runs at a time, on as many cores")
    made.add_argument("--write", type=Path, metavar="STEM", help="write STEM.json, STEM.svg and STEM.md")
    given = made.parse_args(arguments)
    try:
        measure(given)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: run it again to go on with the runs that are missing", file=sys.stderr)
        return 130
    return 0


# ------------------------------------------------------------------------------------------------------- what is run


def measure(given: argparse.Namespace) -> None:
    """Everything that is missing, in order: SFT, the choice of rates, the grid; then the tables."""
    done = Done(given.folder, given.jobs)
    common = {
        "seeds": given.seeds,
        "held_out": dict(zip(("val", "test"), given.held_out, strict=True)),
    }
    sft = [sft_task(arm, given) | common for arm in ARMS[1:]]
    checkpoints = dict(zip(ARMS[1:], done.all(sft), strict=True))
    trials = [task | common for task in tasks(given, given.sizes[len(given.sizes) // 2], given.seeds[0], given.rates)]
    rates = best_rates(trials, done.all(trials))
    grid = [task | common for seed in given.seeds for size in given.sizes for task in tasks(given, size, seed, rates)]
    found = done.all(grid)
    print(
        table(
            [{**_short(task), **result["test"]} for task, result in zip(grid, found, strict=True)],
            caption="test accuracy",
        ).text
    )
    if given.write:
        write(given.write, vars(given), checkpoints, rates, list(zip(grid, found, strict=True)))


def sft_task(arm: str, given: argparse.Namespace) -> dict[str, Any]:
    epochs = given.epochs[ARMS[1:].index(arm)]
    counts = {"prompts": given.prompts, "judgements": given.judgements, "questions": given.questions}
    return {"what": "sft", "arm": arm, "epochs": epochs, "steps": given.sft_steps, "lr": 3e-3, **counts}


def tasks(
    given: argparse.Namespace, size: int, seed: int, rates: Sequence[float] | dict[str, float]
) -> list[dict[str, Any]]:
    """One reward model for each arm at its rate, or at each of several rates."""
    return [
        {"what": "reward", "arm": arm, "pairs": size, "seed": seed, "lr": rate, "steps": given.steps}
        for arm in ARMS
        for rate in ([rates[arm]] if isinstance(rates, dict) else rates)
    ]


def best_rates(trials: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, float]:
    """Of each arm, the rate with the best validation accuracy; the lowest one of equals."""
    scored = sorted(zip(trials, found, strict=True), key=lambda each: (each[1]["val"], -each[0]["lr"]))
    return {task["arm"]: task["lr"] for task, _ in scored}


class Done:
    """The finished runs, one JSON line each; what is missing is run, `jobs` at a time, and added."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder, self.jobs, self.file = folder.resolve(), jobs, folder / "results.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        self.found = {_key(entry["task"]): entry["found"] for entry in map(json.loads, lines)}

    def all(self, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results of these tasks, in their order."""
        missing = [task for task in wanted if _key(task) not in self.found]
        for number, (task, found) in enumerate(self._results(missing), start=len(wanted) - len(missing) + 1):
            self.found[_key(task)] = found
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"task": task, "found": found}) + "\n")
            print(f"{number} of {len(wanted)}: {_short(task)} {_shown(found)}", flush=True)
        return [self.found[_key(task)] for task in wanted]

    def _results(self, missing: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """As they end: in this process, or in `jobs` others, which share the cores."""
        if self.jobs == 1:
            yield from ((task, run(task, self.folder)) for task in missing)
            return
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        fresh = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads, and hang
        with ProcessPoolExecutor(self.jobs, fresh, torch.set_num_threads, (threads,)) as pool:
            running = {pool.submit(run, task, self.folder): task for task in missing}
            yield from ((running[ended], ended.result()) for ended in as_completed(running))


def _key(task: dict[str, Any]) -> str:
    return json.dumps(task, sort_keys=True)


def _short(task: dict[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("what", "arm", "pairs", "seed", "lr") if name in task}


def _shown(found: dict[str, Any]) -> str:
    scores = found.get("test") or found["likelihood"]
    return " ".join(f"{name} {value:.1%}" for name, value in scores.items())


if __name__ == "__main__":
    sys.exit(main())
