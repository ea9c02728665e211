"""Two nodes, played by two launchers on this machine: one holds the notebook, the other joins."""

import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

CELL = """import os, time, torch, torch.distributed as dist
dist.init_process_group("gloo"); rank = dist.get_rank()
total = torch.tensor(float(rank + 1)); dist.all_reduce(total)
print('sum', total.item(), 'nodes', os.environ['GROUP_WORLD_SIZE'], flush=True)"""


def start_nodes(runs, *, key0="secret", key1="secret"):
    layout = ["-n", "1", "--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", runs.held_port()]
    follower = runs.cookbook("run", "book.ipynb", *layout, "--node-rank", "1", COOKBOOK_AUTHKEY=key1)
    leader = runs.cookbook("run", "book.ipynb", *layout, "--node-rank", "0", "-o", "out.ipynb", COOKBOOK_AUTHKEY=key0)
    return leader, follower


def test_two_nodes_are_one_world(runs):
    runs.notebook(CELL)
    leader, follower = start_nodes(runs)
    done = leader.finish()
    assert done.code == 0, done.text
    assert "sum 3.0 nodes 2" in done.text
    assert follower.finish(20).code == 0
    assert not runs.job.left_after(3)


def test_a_failure_on_the_other_node_ends_both(runs):
    runs.notebook(CELL, "if rank == 1: raise ValueError('boom')\ndist.barrier()")
    leader, follower = start_nodes(runs)
    done = leader.finish()
    assert done.code == 1
    assert "ValueError: [rank 1] boom" in done.text
    follower.finish(20)
    assert not runs.job.left_after(3)


def test_a_signal_to_both_nodes_stops_the_cell_first(runs):
    """As Slurm does: the follower waits for the leader, which interrupts the cell on every node."""
    runs.notebook(
        CELL,
        "try:\n    print('busy', flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(1); print('saved', rank)",
    )
    leader, follower = start_nodes(runs)
    leader.wait_for("busy")
    follower.process.terminate()
    leader.process.send_signal(signal.SIGTERM)
    assert leader.finish(30).code == 143
    assert "saved 0" in runs.outputs()
    follower.finish(20)
    assert not runs.job.left_after(3)


def test_a_lost_node_is_reported(runs):
    runs.notebook(CELL, "time.sleep(100)")
    leader, follower = start_nodes(runs)
    leader.wait_for("nodes 2")
    follower.process.kill()
    done = leader.finish(60)
    assert done.code == 1
    assert "RankDied: rank 1" in done.text
    assert not runs.job.left_after(20)


def test_several_nodes_need_a_secret(runs):
    runs.notebook(CELL)
    done = runs.cookbook("run", "book.ipynb", "--nnodes", "2").finish()
    assert done.code == 2
    assert "error: COOKBOOK_AUTHKEY is not set, and 2 nodes need one secret" in done.text
