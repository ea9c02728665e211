"""run_ranks itself: what it says when ranks fail, hang or die, and that nothing outlives the caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cookbook_lib.parallel.mesh import make_mesh
from tests.ranks import RanksFailed, run_ranks


def tensor(scale: float) -> torch.Tensor:
    return torch.full((2,), scale * float(os.environ["RANK"]))


def test_results_come_in_rank_order():
    assert torch.stack(run_ranks(tensor, 3, 2.0)).tolist() == [[0, 0], [2, 2], [4, 4]]


def one_fails() -> None:
    mesh = make_mesh(device="cpu")
    if mesh.rank == 1:
        raise ValueError("boom")
    mesh.barrier()


def test_says_which_rank_failed():
    with pytest.raises(RanksFailed, match=r"(?s)rank 1: .*ValueError: boom"):
        run_ranks(one_fails, 2)


def one_hangs() -> None:
    if make_mesh(device="cpu").rank == 1:
        time.sleep(100)


@pytest.mark.slow
def test_ends_a_rank_that_hangs_and_shows_where():
    start = time.monotonic()
    with pytest.raises(RanksFailed, match=r"(?s)^rank 1: still running.*one_hangs"):
        run_ranks(one_hangs, 2, timeout=6)
    assert time.monotonic() - start < 15


def one_dies() -> None:
    if os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)


def test_notices_a_rank_that_was_killed():
    with pytest.raises(RanksFailed, match="rank 0: the process ended without a word"):
        run_ranks(one_dies, 2)


CALLER = """
import os, sys, time
from cookbook_lib.parallel.spawn import run_ranks
from tests.parallel.test_spawn import tell_and_sleep
run_ranks(tell_and_sleep, 2, sys.argv[1], timeout=100)
"""


def tell_and_sleep(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(100)


@pytest.mark.slow
def test_ranks_end_with_a_caller_that_is_killed(tmp_path, home):
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path)], cwd=home)
    try:
        assert _within(60, lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        caller.kill()
        caller.wait()
    ranks = [int(file.name) for file in tmp_path.iterdir()]
    assert _within(10, lambda: not any(map(_runs, ranks)))


def _runs(process: int) -> bool:
    """Whether it does; a dead one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _within(seconds: float, true) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False
