"""kill -9 at random moments of a run that saves all the time: nothing is lost, nothing half-written is ever read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 20
RAISES_WHILE_SAVING = """
import sys, time
from pathlib import Path
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.checkpoint import Checkpoints
from tests.training.tiny_run import export, model_of, optimizer_of, qwen

def slow(folder):
    time.sleep(0.5)
    export(folder)

mesh = make_mesh(device="cpu")
model = model_of(qwen(), mesh)
Checkpoints(Path(sys.argv[1]), keep=None, mesh=mesh).save(1, model, optimizer_of(model), {}, slow)
raise RuntimeError("training failed")
"""


@pytest.mark.slow
@pytest.mark.serial
def test_killed_twenty_times_the_result_is_the_same_bit_for_bit(tmp_path: Path, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_run", str(tmp_path), str(KILLS)],
        cwd=home, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == KILLS
    assert result["while_saving"] >= KILLS // 4, "too few kills came while a save was being written to say anything"
    assert result["killed"] == result["left_alone"]
    assert result["folders"] == ["best", "latest", "step_00000098", "step_00000099", "step_00000100"]


@pytest.mark.slow
def test_a_process_that_ends_by_an_exception_finishes_its_save(tmp_path: Path, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAISES_WHILE_SAVING, str(tmp_path)],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "RuntimeError: training failed" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000001"]
