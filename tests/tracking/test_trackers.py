"""One protocol for every tracker: each one that is installed takes the same calls, NullTracker included."""

import importlib.util
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.tracking.tracker import PACKAGES, NullTracker, Tracker, Trackers, start_trackers

installed = {
    name: package is None or importlib.util.find_spec(package) is not None for name, package in PACKAGES.items()
}
each_tracker = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if installed[name] else pytest.mark.skip(f"the package {PACKAGES[name]} is missing")
        )
        for name in PACKAGES
    ],
)


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("SWANLAB_SAVE_DIR", str(tmp_path / "account"))


def start(names: list[str], folder: Path, resumed_step: int | None = None, is_main: bool = True) -> Tracker:
    config = {"optim": {"lr": 1e-5, "betas": [0.9, 0.95]}, "model": {"path": None}}
    return start_trackers(names, folder, "project", "experiment", config, is_main, 10, resumed_step=resumed_step)


@each_tracker
def test_every_tracker_takes_the_same_calls(name: str, tmp_path: Path) -> None:
    tracker = start([name], tmp_path / "run")
    assert isinstance(tracker, Tracker)
    tracker.log(0, {"val/loss": 3.0})
    for step in range(1, 4):
        tracker.log(step, {"train/loss": 2.0 / step, "train/lr": 1e-5, "train/tokens_per_second": 1234.5})
    tracker.log(3, {"val/loss": float("nan")})
    tracker.finish()
    tracker.finish()


@each_tracker
def test_every_tracker_resumes(name: str, tmp_path: Path) -> None:
    for resumed_step in (None, 2):
        tracker = start([name], tmp_path / "run", resumed_step)
        for step in range((resumed_step or 0) + 1, 5):
            tracker.log(step, {"train/loss": float(step)})
        tracker.finish()
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4]


@each_tracker
def test_a_new_run_after_one_that_never_finished(name: str, tmp_path: Path) -> None:
    """An interrupted notebook cell, run again: no tracker insists on the finish that never came."""
    start([name], tmp_path / "run").log(1, {"train/loss": 1.0})
    again = start([name], tmp_path / "run")
    again.log(1, {"train/loss": 2.0})
    again.finish()


def test_other_ranks_track_nothing_and_write_nothing(tmp_path: Path) -> None:
    tracker = start(["console", "jsonl"], tmp_path / "run", is_main=False)
    assert isinstance(tracker, NullTracker)
    assert isinstance(tracker, Tracker)
    tracker.log(1, {"train/loss": 1.0})
    tracker.finish()
    assert not (tmp_path / "run").exists()


def test_the_runs_own_record_is_always_kept_and_once(tmp_path: Path) -> None:
    for names in ([], ["console"], ["jsonl", "console", "jsonl"]):
        tracker = start(names, tmp_path / "run")
        assert isinstance(tracker, Trackers)
        assert [type(one).__name__ for one in tracker.trackers].count("Jsonl") == 1
        tracker.finish()


def test_all_get_every_call_in_order() -> None:
    calls: list[str] = []

    class Spy:
        def __init__(self, name: str) -> None:
            self.name = name

        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            calls.append(f"{self.name} {step} {metrics['x']}")

        def finish(self) -> None:
            calls.append(f"{self.name} end")

    both = Trackers([Spy("a"), Spy("b")])
    both.log(1, {"x": 2.0})
    both.finish()
    assert calls == ["a 1 2.0", "b 1 2.0", "a end", "b end"]


@pytest.mark.parametrize("is_main", [True, False])
def test_an_unknown_name_and_a_missing_package_are_errors_on_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_main: bool
) -> None:
    with pytest.raises(CookbookError, match=r"'mlflow' is no tracker; there are console, jsonl, swanlab"):
        start(["mlflow"], tmp_path, is_main=is_main)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CookbookError, match=r"pip install tensorboard"):
        start(["console", "tensorboard"], tmp_path, is_main=is_main)


# -- the services ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not installed["tensorboard"], reason="the package tensorboard is missing")
def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = start(["tensorboard"], tmp_path)
    for step in range(1, 6):
        first.log(step, {"train/loss": 1.0})
    first.finish()
    second = start(["tensorboard"], tmp_path, resumed_step=3)
    for step in range(4, 6):
        second.log(step, {"train/loss": 2.0})
    second.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]


@pytest.mark.skipif(not installed["swanlab"], reason="the package swanlab is missing")
def test_swanlab_leaves_the_interrupt_to_training_and_keeps_its_id(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    first = start(["swanlab"], tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    first.log(1, {"train/loss": 1.0})
    first.finish()
    assert signal.getsignal(signal.SIGINT) is before
    known = (tmp_path / ".swanlab_id").read_text()
    start(["swanlab"], tmp_path, resumed_step=1).finish()
    assert (tmp_path / ".swanlab_id").read_text() == known
    start(["swanlab"], tmp_path).finish()
    assert (tmp_path / ".swanlab_id").read_text() != known


@pytest.mark.skipif(not installed["swanlab"], reason="the package swanlab is missing")
def test_swanlab_without_a_login_records_here_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cookbook_lib.tracking import swanlab

    monkeypatch.delenv("SWANLAB_MODE")
    monkeypatch.setattr(swanlab, "logged_in", lambda: False)
    tracker = start(["swanlab"], tmp_path)
    tracker.log(1, {"train/loss": 1.0})
    tracker.finish()
    assert capsys.readouterr().out.count("not logged in") == 1
    assert list((tmp_path / "swanlab").glob("run-*/*.swanlab"))


def test_every_tracker_takes_a_recipe_with_paths_and_nulls(tmp_path: Path) -> None:
    names = [name for name in PACKAGES if installed[name]]
    config = {"path": Path("/somewhere"), "nothing": None, "files": ["a", "b"]}
    start_trackers(names, tmp_path, "project", "experiment", config, True, 1).finish()
    assert (tmp_path / "metrics.jsonl").is_file()
