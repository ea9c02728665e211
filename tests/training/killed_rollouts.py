"""`python -m tests.training.killed_rollouts FOLDER KILLS`: reinforcement learning, killed in its rollouts and in its updates.

Prints one JSON line: in what each life was killed, what the later ones said, and sha256 sums of the final weights and moments of
the run that was killed and of one that was not. Children are forked after the imports.
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
from tests.training.rollout_run import learn, model_of, rules, stream_of
from tests.training.tiny_run import optimizer_of

STEPS, UPDATES = 12, 3


def live(run: Path) -> None:
    """One life: go on, and save after every step; the file `doing` says what is under way."""
    mesh = make_mesh(device="cpu")
    model = model_of(mesh)
    checkpoints = Checkpoints(run, keep=2, mesh=mesh, asynchronous=False)
    optimizer = optimizer_of(model)
    state = checkpoints.load(model, optimizer) or {"step": 0}
    stream = stream_of(
        mesh, model, own=rules(updates=UPDATES, batch_size=6), folder=run, say=lambda news: told(run, news)
    )
    for step in range(state["step"], STEPS):
        doing(run, "rollouts" if step % UPDATES == 0 else "update")
        batches = stream.step(step)
        doing(run, "update")
        learn(model, optimizer, mesh, batches)
        checkpoints.save(step + 1, model, optimizer, {"step": step + 1}, model.hf.config.save_pretrained)


def doing(run: Path, what: str) -> None:
    (run / "doing").write_text(what)


def told(run: Path, news: str) -> None:
    with (run / "told").open("a") as file:
        file.write(f"{news}\n")


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def kill_once(run: Path, chance: random.Random, aim: str) -> str:
    """End a life while it does `aim`, some steps after it began; what it was doing."""
    child = forked(lambda: live(run))
    steps = len(list(run.glob("step_*")))
    for _ in range(chance.randint(1, 3)):
        wait_until(child, lambda: (run / "doing").is_file() and (run / "doing").read_text() == aim)
        wait_until(child, lambda: steps == 0 or (run / "doing").read_text() == aim)
        time.sleep(chance.uniform(0.0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return (run / "doing").read_text()


def wait_until(child: int, seen: Callable[[], bool]) -> None:
    while not seen():
        time.sleep(0.001)
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit("a life ended by itself")


def finish(run: Path) -> dict[str, str]:
    status = os.waitpid(forked(lambda: live(run)), 0)[1]
    if status:
        raise SystemExit(f"the last life of {run} ended with status {status}")
    files = ["model.safetensors", "state/optimizer/optimizer.safetensors"]
    return {name: hashlib.sha256((run / "latest" / name).read_bytes()).hexdigest() for name in files}


def main(folder: Path, kills: int) -> None:
    chance, run = random.Random(0), folder / "killed"
    run.mkdir()
    (folder / "alone").mkdir()
    killed_in = [kill_once(run, chance, ("rollouts", "update")[kill % 2]) for kill in range(kills)]
    found = {"killed_in": killed_in, "killed": finish(run), "left_alone": finish(folder / "alone")}
    found["told"] = (run / "told").read_text().splitlines()
    found["left"] = sorted(path.name for path in (run / "rollouts").iterdir())
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
