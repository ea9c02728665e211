"""Shutdown, restart and violent deaths: reported in seconds, and no process left."""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

STUCK = "if rank == 0: dist.barrier()\ntime.sleep(100)"


def kill(kernel, who):
    os.kill(kernel.job.pid(who), signal.SIGKILL)


def test_shutdown_leaves_nothing_and_runs_exit_hooks(start_kernel, tmp_path):
    kernel = start_kernel()
    kernel.run(f"import atexit; atexit.register(lambda: open('{tmp_path}/' + str(rank), 'w').close())")
    start = time.monotonic()
    kernel.manager.shutdown_kernel()
    assert time.monotonic() - start < 4
    assert not kernel.job.left_after(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_restart_gives_a_fresh_world_even_when_stuck(start_kernel):
    kernel = start_kernel()
    kernel.client.execute(STUCK)
    time.sleep(1)
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("rank").ename == "NameError"
    workers = [e for e in kernel.job.processes().values() if "RANK" in e]
    assert len(workers) == 2, "the old world is gone"


def test_shutdown_now(start_kernel):
    kernel = start_kernel()
    kernel.client.execute("time.sleep(100)")
    kernel.manager.shutdown_kernel(now=True)
    assert not kernel.job.left_after(3)


@pytest.mark.parametrize("who", ["launcher", "0"])
def test_the_launcher_or_rank_0_is_killed(start_kernel, who):
    kernel = start_kernel()
    kill(kernel, who)
    assert not kernel.job.left_after(8)
    end = time.monotonic() + 3
    while kernel.manager.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert not kernel.manager.is_alive()


def test_a_killed_rank_is_named_in_the_cell(start_kernel):
    """At once and with nothing left, though children of the rank are alive and one holds its sockets."""
    kernel = start_kernel(COOKBOOK_LINGER="2")
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '300'])")
    kernel.run("if os.fork() == 0: time.sleep(300); os._exit(0)")
    message = kernel.client.execute("time.sleep(100)")
    time.sleep(0.5)
    pid = kernel.job.pid("1")
    kill(kernel, "1")
    result = kernel.collect(message, timeout=60)
    assert (result.status, result.ename) == ("error", "RankDied")
    assert f"rank 1 (process {pid}" in result.evalue
    assert result.seconds < 25
    assert not kernel.job.left_after(12)


def test_a_rank_killed_while_the_other_waits_for_it(start_kernel):
    kernel = start_kernel(COOKBOOK_LINGER="1")
    message = kernel.client.execute("if rank == 0: dist.barrier()\ntime.sleep(100)")
    time.sleep(0.5)
    kill(kernel, "1")
    result = kernel.collect(message, timeout=60)
    assert result.ename == "RankDied"
    assert result.errors[0].startswith("RankDied: "), "the cause comes before its consequences"
    assert not kernel.job.left_after(12)


def test_a_rank_killed_between_cells_is_reported_by_the_next(start_kernel):
    kernel = start_kernel(COOKBOOK_LINGER="3")
    kill(kernel, "1")
    time.sleep(1)
    result = kernel.run("1 + 1")
    assert (result.status, result.ename) == ("error", "RankDied")
    assert not kernel.job.left_after(15)


def test_one_rank_is_the_same_kernel(start_kernel):
    kernel = start_kernel(1)
    assert kernel.value("total()") == 1.0
    assert kernel.interrupted("time.sleep(60)").ename == "KeyboardInterrupt"
    assert kernel.value("int(os.environ['OMP_NUM_THREADS'])") >= 1
    kernel.manager.shutdown_kernel()
    assert not kernel.job.left_after(3)


# a rank that nothing can move: it waits inside C++, and in no collective ----------------------------------------------

DEAF = """
if rank == {deaf}: dist.distributed_c10d._get_default_store().wait(["never"])
else: raise ValueError("boom")
"""


def test_a_deaf_rank_fails_the_cell_and_the_kernel_takes_no_more(start_kernel):
    kernel = start_kernel(COOKBOOK_GRACE="0.5")
    result = kernel.run(DEAF.format(deaf=1))
    assert (result.status, result.errors) == ("error", ["ValueError: boom"])
    assert "rank 1 cannot be stopped" in result.text("stderr")
    assert result.seconds < 40
    assert "rank 1 cannot be stopped; restart the kernel" in kernel.run("1 + 1").evalue
    kernel.manager.shutdown_kernel()
    assert not kernel.job.left_after(5)


def test_a_deaf_rank_0_ends_the_kernel_after_its_reply(start_kernel):
    kernel = start_kernel(COOKBOOK_GRACE="0.5")
    result = kernel.run(DEAF.format(deaf=0))
    assert (result.status, result.errors) == ("error", ["ValueError: [rank 1] boom"])
    assert not kernel.job.left_after(10)
