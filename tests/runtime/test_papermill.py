"""Headless runs: by plain papermill, and by `cookbook run` with its exit codes, its parameters and its signals."""

import json
import os
import signal
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

JOIN = """import os, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
total = torch.tensor(float(rank + 1)); dist.all_reduce(total)"""
PARAMETERS = "lr: float = 0.1  # learning rate\nsteps: int = 3\nfiles: list = None"
SHOW = "print('lr', lr, 'steps', steps, 'files', files, 'sum', total.item())\nassert lr == 0.5"

COOPERATIVE = """import signal
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
step = 0
while True:
    step += 1
    flag = torch.tensor(float(len(asked))); dist.all_reduce(flag)
    if step == 1: print('training', flush=True)
    if flag: break
    time.sleep(0.05)
steps = [None, None]; dist.all_gather_object(steps, step)
print('saved a checkpoint after the same step:', steps[0] == steps[1])"""


def test_every_rank_gets_the_parameters(runs):
    runs.notebook(JOIN, SHOW, parameters=PARAMETERS)
    done = runs.cookbook(
        "run", "book.ipynb", "-n", "2", "-p", "lr", "0.5", "-y", '{"files": ["a", "1"]}', "-o", "out.ipynb"
    ).finish()
    assert done.code == 0, done.text
    assert "lr 0.5 steps 3 files ['a', '1'] sum 3.0" in done.text, "cells' output is shown live"
    assert "sum 3.0" in runs.outputs()
    assert not runs.job.left_after(3)


def test_an_unknown_parameter_is_refused_before_anything_starts(runs):
    runs.notebook(JOIN, parameters=PARAMETERS)
    done = runs.cookbook("run", "book.ipynb", "-p", "lrr", "0.5", "-o", "out.ipynb").finish()
    assert done.code == 2
    assert (
        "error: book.ipynb has no parameter 'lrr' (did you mean 'lr'?). Its parameters are lr, steps, files."
        in done.text
    )
    assert not (runs.folder / "out.ipynb").exists()


def test_a_failing_cell_is_named_with_its_rank(runs):
    runs.notebook(JOIN, "if rank == 1: raise ValueError('boom')\ndist.barrier()", "print('never')")
    done = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb").finish()
    assert done.code == 1
    assert "error: cell [2] of book.ipynb: ValueError: [rank 1] boom" in done.text
    assert "----> 1 if rank == 1" in done.text, "its traceback"
    assert "never" not in runs.outputs()
    assert "ValueError: [rank 1] boom" in runs.outputs(), "the copy is kept"
    assert not runs.job.left_after(3)


def test_a_killed_rank_is_named(runs):
    runs.notebook(JOIN, "if rank == 1: time.sleep(0.5); os.kill(os.getpid(), 9)\ndist.barrier(); time.sleep(60)")
    done = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb", COOKBOOK_LINGER="4").finish()
    assert done.code == 1, done.text
    assert "RankDied: rank 1 (process" in done.text
    assert not runs.job.left_after(15)


def test_a_dead_kernel_is_told_from_a_failing_cell(runs):
    runs.notebook("print('last words', flush=True)\nimport os; os.kill(os.getpid(), 9)")
    done = runs.cookbook("run", "book.ipynb", "-n", "1", "-o", "out.ipynb").finish()
    assert done.code == 138, done.text
    assert (runs.folder / "out.ipynb").exists()
    assert not runs.job.left_after(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_cooperatively_and_keeps_the_copy(runs, number, code):
    runs.notebook(JOIN, COOPERATIVE, "print('never')")
    command = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb")
    command.wait_for("training")
    command.process.send_signal(number)
    done = command.finish(90)
    assert done.code == code, done.text
    assert "saved a checkpoint after the same step: True" in runs.outputs()
    assert "never" not in runs.outputs()
    assert not runs.job.left_after(3)


def test_a_scheduler_may_signal_every_process_of_the_job(runs):
    runs.notebook(JOIN, COOPERATIVE)
    command = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb")
    command.wait_for("training")
    for pid in runs.job.processes():
        os.kill(pid, signal.SIGTERM)
    done = command.finish(90)
    assert done.code == 143, done.text
    assert "saved a checkpoint after the same step: True" in runs.outputs()
    assert not runs.job.left_after(3)


def test_a_cell_that_will_not_stop_is_ended(runs):
    runs.notebook(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(100)"
    )
    command = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb", "--stop-grace", "1")
    command.wait_for("deaf")
    command.process.terminate()
    done = command.finish(90)
    assert done.code == 143, done.text
    assert "did not end within 1 s" in done.text
    assert "deaf" in runs.outputs()
    assert not runs.job.left_after(8)


def test_a_signal_before_the_first_cell(runs):
    runs.notebook("print('never')")
    command = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb")
    end = time.monotonic() + 30
    while not any("RANK" in environment for environment in runs.job.processes().values()) and time.monotonic() < end:
        time.sleep(0.05)
    command.process.terminate()
    done = command.finish(90)
    assert done.code == 143, done.text
    assert "never" not in runs.outputs()
    assert not runs.job.left_after(8)


def test_the_runner_is_killed(runs):
    runs.notebook("import time; print('running', flush=True); time.sleep(100)")
    command = runs.cookbook("run", "book.ipynb", "-n", "2", "-o", "out.ipynb")
    command.wait_for("running")
    command.process.kill()
    assert not runs.job.left_after(10)


def test_plain_papermill_with_an_installed_kernel(runs):
    """`cookbook kernel install`, then anybody's `papermill -k cookbook-2`; SIGINT saves and leaves nothing."""
    prefix = str(runs.folder / "prefix")
    assert runs.cookbook("kernel", "install", "--prefix", prefix).finish().code == 0
    spec = json.loads((runs.folder / "prefix/share/jupyter/kernels/cookbook-2/kernel.json").read_text())
    assert spec["argv"][0] == sys.executable
    assert spec["interrupt_mode"] == "message"
    runs.notebook(JOIN, SHOW, "print('sleeping', flush=True)\ntime.sleep(100)", parameters=PARAMETERS)
    arguments = ["-m", "papermill", "-k", "cookbook-2", "--log-output", "-p", "lr", "0.5", "book.ipynb", "out.ipynb"]
    command = runs.start(*arguments, JUPYTER_PATH=f"{prefix}/share/jupyter")
    command.wait_for("sleeping")
    command.process.send_signal(signal.SIGINT)
    assert command.finish(90).code != 0
    assert not runs.job.left_after(8)
    assert "sum 3.0" in runs.outputs()


def test_the_doctor_runs_a_cell_on_two_ranks(runs):
    prefix = str(runs.folder / "prefix")
    runs.cookbook("kernel", "install", "--prefix", prefix).finish()
    done = runs.cookbook("kernel", "doctor", JUPYTER_PATH=f"{prefix}/share/jupyter").finish()
    assert done.code == 0, done.text
    assert "a kernel of two ranks is ready" in done.text
    assert not runs.job.left_after(3)
