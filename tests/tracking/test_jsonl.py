"""metrics.jsonl: one line a step, whatever is logged, interrupted or resumed."""

import json
from pathlib import Path

import pytest

from cookbook_lib.tracking.jsonl import Jsonl, read_metrics


def log_steps(folder: Path, steps: range, resumed_step: int | None = None) -> None:
    jsonl = Jsonl(folder, resumed_step)
    for step in steps:
        jsonl.log(step, {"train/loss": 1.0 / (step + 1)})
    jsonl.finish()


def steps_in(folder: Path) -> list[int]:
    return [row["step"] for row in read_metrics(folder / "metrics.jsonl")]


def test_a_line_is_there_when_log_returns(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.log(1, {"train/loss": 2.5, "train/lr": 1e-5})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "train/loss": 2.5, "train/lr": 1e-05}\n'
    jsonl.finish()


def test_the_same_step_twice_is_one_line(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.log(1, {"train/loss": 2.0})
    jsonl.log(2, {"train/loss": 1.0})
    jsonl.log(2, {"val/loss": 1.5})
    jsonl.log(3, {"train/loss": 0.5})
    jsonl.finish()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "train/loss": 2.0},
        {"step": 2, "train/loss": 1.0, "val/loss": 1.5},
        {"step": 3, "train/loss": 0.5},
    ]


def test_a_joined_line_that_is_shorter_leaves_nothing_behind(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.log(1, {"loss": 0.123456789012345})
    jsonl.log(1, {"loss": 1.0})
    jsonl.finish()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_what_is_not_finite_is_null_in_valid_json(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.log(1, {"a": float("nan"), "b": float("inf"), "c": 1.0})
    jsonl.finish()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "a": None, "b": None, "c": 1.0}


def test_resuming_cuts_what_will_be_logged_again(tmp_path: Path) -> None:
    log_steps(tmp_path, range(8))
    log_steps(tmp_path, range(5, 9), resumed_step=4)
    assert steps_in(tmp_path) == list(range(9))


def test_resuming_goes_on_in_the_line_of_the_restored_step(tmp_path: Path) -> None:
    log_steps(tmp_path, range(4))
    jsonl = Jsonl(tmp_path, resumed_step=2)
    jsonl.log(2, {"val/loss": 9.0})
    jsonl.log(3, {"train/loss": 8.0})
    jsonl.finish()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[2] == {"step": 2, "train/loss": 1 / 3, "val/loss": 9.0}
    assert steps_in(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("tail", ['{"step": 3, "tra', '{"step": 3}', "\0\0\0"])
def test_the_half_line_of_a_killed_run_is_dropped(tmp_path: Path, tail: str) -> None:
    log_steps(tmp_path, range(3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(tail)
    log_steps(tmp_path, range(3, 5), resumed_step=2)
    assert steps_in(tmp_path) == [0, 1, 2, 3, 4]


def test_a_new_run_keeps_the_old_record_aside(tmp_path: Path) -> None:
    log_steps(tmp_path, range(5))
    log_steps(tmp_path, range(2))
    assert steps_in(tmp_path) == [0, 1]
    assert len(read_metrics(tmp_path / "metrics.previous.jsonl")) == 5


def test_resuming_where_there_is_no_record_yet(tmp_path: Path) -> None:
    log_steps(tmp_path, range(7, 9), resumed_step=6)
    assert steps_in(tmp_path) == [7, 8]
