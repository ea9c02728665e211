"""run_ranks: a function on N processes, for tests of what several ranks do together.

    results = run_ranks(work, 4, "an argument")      # [work("an argument") of rank 0, ..., of rank 3]

Each process has torchrun's environment (RANK, LOCAL_RANK, WORLD_SIZE, ...); the store lives in the test's process, where
torchrun's agent has it, so no port is guessed. `work` is a module-level function; arguments and results are pickled.
A failing rank ends the others after a moment of grace, and the test fails with every rank's traceback.
"""

import faulthandler
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch.distributed as dist

GRACE_S = 5.0  # for the other ranks to say what they know, after the first failure

# Processes are forked from a server that has imported torch: 0.1 s each instead of 3.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "torch.distributed.fsdp", "torch.distributed.tensor"])


class RanksFailed(AssertionError):
    """What each failing rank said."""


def run_ranks(work: Callable[..., Any], world: int, *args: Any, timeout: float = 60.0) -> list[Any]:
    """work(*args) on `world` processes; results in rank order. RanksFailed on an error, a death, or after `timeout` s."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = zip(
            *(_start(rank, world, store.port, folder, timeout, work, args) for rank in range(world)), strict=True
        )
        try:
            outcomes = _collect(list(pipes), timeout)
        finally:
            for process in processes:
                process.kill()
                process.join()
        stacks = [Path(folder, f"stack{rank}").read_text() for rank in range(world)]
    problems = [
        f"rank {rank}: {_problem(outcomes[rank], stacks[rank], timeout)}"
        for rank in range(world)
        if not _succeeded(outcomes[rank])
    ]
    if problems:
        raise RanksFailed("\n".join(problems))
    return [outcomes[rank][1] for rank in range(world)]


def _start(
    rank: int, world: int, port: int, folder: str, timeout: float, work: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Connection, Any]:
    ours, theirs = _context.Pipe(duplex=False)
    environment = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": 1,
    }  # fmt: skip
    process = _context.Process(
        target=_rank_main, args=(theirs, environment, folder, timeout, pickle.dumps((work, args))), daemon=True
    )
    process.start()
    theirs.close()
    return ours, process


def _rank_main(pipe: Connection, environment: dict[str, Any], folder: str, timeout: float, job: bytes) -> None:
    import torch

    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    with Path(folder, f"stack{environment['RANK']}").open("w") as stack:
        faulthandler.dump_traceback_later(max(timeout - 1.0, 0.1), file=stack)
        try:
            work, args = pickle.loads(job)
            outcome = ("done", work(*args))
        except BaseException:
            outcome = ("error", traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
        # Plain pickle: torch's own would send tensors as shared memory that dies with this process.
        pipe.send_bytes(pickle.dumps(outcome))
        pipe.close()
        os._exit(0)  # no interpreter teardown under live process groups


def _collect(pipes: list[Connection], timeout: float) -> list[tuple[str, Any] | None]:
    """Every rank's outcome, None for one that said nothing in time."""
    outcomes: list[tuple[str, Any] | None] = [None] * len(pipes)
    waiting = dict(zip(pipes, range(len(pipes)), strict=True))
    deadline = time.monotonic() + timeout
    while waiting and (ready := wait(list(waiting), max(deadline - time.monotonic(), 0))):
        for pipe in ready:
            rank = waiting.pop(pipe)  # type: ignore[arg-type]
            outcomes[rank] = _receive(pipe)  # type: ignore[arg-type]
            if not _succeeded(outcomes[rank]):
                deadline = min(deadline, time.monotonic() + GRACE_S)
    return outcomes


def _receive(pipe: Connection) -> tuple[str, Any]:
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return "died", "the process ended without a word (killed, or a crash in C++)"


def _succeeded(outcome: tuple[str, Any] | None) -> bool:
    return outcome is not None and outcome[0] == "done"


def _problem(outcome: tuple[str, Any] | None, stack: str, timeout: float) -> str:
    if outcome is None:
        return f"still running when the test gave up (limit {timeout:.0f} s, or a peer failed)\n{stack}"
    return outcome[1]
