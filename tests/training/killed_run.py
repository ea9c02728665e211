"""`python -m tests.training.killed_run FOLDER KILLS`: a run that saves after every step, killed again and again while it does.

Prints one JSON line: how often it was killed, how often a save was in progress then, and sha256 sums of the final weights and
moments of the run that was killed and of one that was not. Children are forked from this process after its imports, so a life
takes a tenth of a second and not five.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.checkpoint import Checkpoints
from tests.training.tiny_run import export, model_of, optimizer_of, qwen, train

STEPS = 100


def live(run: Path) -> None:
    """One life: resume, train to the end, saving in the background after every step."""
    mesh = make_mesh(device="cpu")
    checkpoints = Checkpoints(run, keep=2, mesh=mesh, say=lambda news: os.abort())  # a damaged save would be a failure
    model = model_of(qwen(), mesh)
    optimizer = optimizer_of(model)
    state = checkpoints.load(model, optimizer) or {"step": 0}
    for step in range(state["step"], STEPS):
        train(model, optimizer, mesh, range(step, step + 1))
        checkpoints.save(step + 1, model, optimizer, {"step": step + 1}, export, best=step % 3 == 1)
    checkpoints.wait()


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def kill_once(run: Path, chance: random.Random, aim: bool) -> bool:
    """End a life some moments after its first save, or (`aim`) after the begin of a later one. True if one was in progress."""
    before = set(run.glob("step_*"))
    child = forked(lambda: live(run))
    wait_until(child, lambda: set(run.glob("step_*")) != before)
    if aim:
        wait_until(child, lambda: any(run.glob(".writing-step_*")))
    time.sleep(chance.uniform(0, 0.01 if aim else 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return any(run.glob(".writing-step_*"))


def wait_until(child: int, seen: Callable[[], bool]) -> None:
    while not seen():
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit("a life ended by itself")


def finish(run: Path) -> dict[str, str]:
    status = os.waitpid(forked(lambda: live(run)), 0)[1]
    if status:
        raise SystemExit(f"the last life of {run} ended with status {status}")
    files = ["model.safetensors", "state/optimizer/optimizer.safetensors"]
    return {name: hashlib.sha256((run / "latest" / name).read_bytes()).hexdigest() for name in files}


def main(folder: Path, kills: int) -> None:
    chance = random.Random(0)
    run = folder / "killed"
    run.mkdir()
    in_progress = [kill_once(run, chance, aim=kill % 2 == 0) for kill in range(kills)]
    print(
        json.dumps(
            {
                "kills": len(in_progress),
                "while_saving": sum(in_progress),
                "killed": finish(run),
                "left_alone": finish(folder / "alone"),
                "folders": sorted(path.name for path in run.iterdir()),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
