"""What every test may rely on: no launcher variables from outside, one thread of arithmetic, real data by name."""

import os
import signal
from pathlib import Path

# Before torch is imported anywhere: two workers on two cores, and ranks spawned by tests, each with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SWANLAB_MODE", "disabled")
os.environ.setdefault("MPLBACKEND", "agg")

# A shell that starts the tests in its background has them ignore SIGINT, and so would every process that they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from cookbook_lib.config.layers import LAUNCHER
from cookbook_lib.config.places import HOME

KERNELS = {"start_kernel", "shared_kernel", "runs"}  # fixtures of tests/runtime that start real ones
MACHINE = ("N_GPUS_PER_NODE", "NNODES", "NODE_RANK", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that exported MODEL_PATH or a scheduler's RANK must not decide a test."""
    for name in (*LAUNCHER, *MACHINE, "COOKBOOK_AUTHKEY", "COOKBOOK_NPROC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def home() -> Path:
    """The project's root."""
    return HOME


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files, named by COOKBOOK_REAL_DATA; the test skips where there is none."""
    folder = os.environ.get("COOKBOOK_REAL_DATA")
    if not folder:
        pytest.skip("COOKBOOK_REAL_DATA names no folder of real data files")
    return Path(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Kernels are killed, interrupted and timed: their tests share the machine with nobody."""
    for item in items:
        if item.path.parent.name == "runtime" and KERNELS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.serial)
