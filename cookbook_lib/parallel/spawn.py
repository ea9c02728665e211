"""run_ranks: a function on N processes of this machine, for tests and for notebooks that compare layouts.

    results = run_ranks(work, 4, "an argument")      # [work("an argument") of rank 0, ..., of rank 3]

Each process has torchrun's environment (RANK, LOCAL_RANK, WORLD_SIZE, ...). The store is the caller's, as torchrun's is
its agent's, so no port is guessed. `work` is a module-level function; arguments and results are pickled. One arithmetic
thread a rank, no CUDA. A failing rank ends the others after a moment of grace, and the error has every rank's traceback.
"""

import faulthandler
import multiprocessing
import os
import pickle
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import TCPStore

GRACE_S = 5.0  # for the other ranks to say what they know, after the first failure
EXIT_S = 1.0  # for a rank to end by itself

# Processes are forked from a server that has imported what they need: 0.1 s each instead of 3.
PRELOAD = ["torch", "torch.distributed.fsdp", "torch.distributed.tensor", "transformers"]
_context = multiprocessing.get_context("forkserver")


class RanksFailed(RuntimeError):
    """What each failing rank said."""


def run_ranks(work: Callable[..., Any], world: int, *args: Any, timeout: float = 60.0) -> list[Any]:
    """work(*args) on `world` processes; results by rank. RanksFailed on an error, a death, or after `timeout` seconds."""
    _context.set_forkserver_preload([*PRELOAD, work.__module__])  # heeded when the server starts, by the first call
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [_start(rank, world, store.port, Path(folder), timeout, work, args) for rank in range(world)]
        try:
            outcomes = _collect([pipe for pipe, _ in ranks], timeout)
        finally:  # a rank that has reported ends by itself; one that hangs does not
            for _, process in ranks:
                process.join(EXIT_S)
                process.kill()
                process.join()
        problems = [_problem(rank, outcome, Path(folder), timeout) for rank, outcome in enumerate(outcomes)]
    if any(problems):
        raise RanksFailed("\n".join(filter(None, problems)))
    return [value for _, value in outcomes]


def _start(
    rank: int, world: int, port: int, folder: Path, timeout: float, work: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Connection, Any]:
    ours, theirs = _context.Pipe(duplex=False)
    environment = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "CUDA_VISIBLE_DEVICES": "",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    job = (theirs, environment, folder / f"stack{rank}", timeout, pickle.dumps((work, args)))
    process = _context.Process(target=_rank_main, args=job, daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _rank_main(pipe: Connection, environment: dict[str, Any], stack: Path, timeout: float, job: bytes) -> None:
    import torch

    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    with stack.open("w") as file:
        faulthandler.dump_traceback_later(max(timeout - 1.0, 0.1), file=file)
        try:
            work, args = pickle.loads(job)
            outcome = ("done", work(*args))
        except BaseException:
            outcome = ("error", traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
    # Plain pickle: torch's own would send tensors as shared memory that dies with this process.
    pipe.send_bytes(pickle.dumps(outcome))
    pipe.close()


def _end_with_caller() -> None:
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)


def _collect(pipes: list[Connection], timeout: float) -> list[Any]:
    """Every rank's ("done" | "error" | "died", value), None for one that said nothing in time."""
    outcomes: list[Any] = [None] * len(pipes)
    waiting: dict[Any, int] = {pipe: rank for rank, pipe in enumerate(pipes)}
    deadline = time.monotonic() + timeout
    while waiting and (ready := wait(list(waiting), max(deadline - time.monotonic(), 0))):
        for pipe in ready:
            outcome = outcomes[waiting.pop(pipe)] = _receive(pipe)
            if outcome[0] != "done":
                deadline = min(deadline, time.monotonic() + GRACE_S)
    return outcomes


def _receive(pipe: Any) -> Any:
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return "died", "the process ended without a word (killed, or a crash in C++)"


def _problem(rank: int, outcome: Any, folder: Path, timeout: float) -> str:
    if outcome is None:
        stack = (folder / f"stack{rank}").read_text() if (folder / f"stack{rank}").exists() else ""
        return f"rank {rank}: still running at the end (limit {timeout:.0f} s, or a rank failed)\n{stack}"
    return "" if outcome[0] == "done" else f"rank {rank}: {outcome[1]}"
