"""The console: a live line on a terminal, few plain lines elsewhere, and the numbers that a person watches."""

import io

import pytest

from cookbook_lib.tracking.console import CLEAR, Console, clock_time, describe, short


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(stream: io.StringIO, steps: int, seconds_per_step: float, total: int | None = None) -> list[str]:
    clock = Clock()
    console = Console(total or steps, stream, clock)
    for step in range(1, steps + 1):
        console.log(step, {"train/loss": 1.0 / step, "train/lr": 1e-5, "train/tokens_per_second": 12345.0})
        clock.now += seconds_per_step
    console.finish()
    return stream.getvalue().splitlines()


def test_elsewhere_lines_come_every_few_seconds_first_and_last_always() -> None:
    lines = run(io.StringIO(), steps=100, seconds_per_step=1.0)
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, *range(6, 100, 5), 100]


def test_slow_steps_have_a_line_each() -> None:
    assert len(run(io.StringIO(), steps=4, seconds_per_step=60.0)) == 4


def test_a_line_says_loss_rate_speed_and_what_is_left() -> None:
    lines = run(io.StringIO(), steps=3, seconds_per_step=30.0, total=10)
    assert lines[0] == "step 1/10 · loss 1 · lr 1e-05 · 12.3k tokens/s"
    assert lines[2] == "step 3/10 · loss 0.3333 · lr 1e-05 · 12.3k tokens/s · 3:30 left"


def test_no_control_characters_outside_a_terminal() -> None:
    stream = io.StringIO()
    run(stream, steps=50, seconds_per_step=1.0)
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_resumed_run_measures_its_own_pace() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(1000, stream, clock)
    for step in (901, 902):
        console.log(step, {"train/loss": 1.0})
        clock.now += 10.0
    assert stream.getvalue().splitlines()[-1].endswith("16:20 left")


def test_a_terminal_has_one_line_that_moves() -> None:
    stream = Terminal()
    run(stream, steps=20, seconds_per_step=1.0)
    drawn = stream.getvalue().split(CLEAR)
    assert len(drawn) == 21
    assert "█" * 10 + "▒" * 10 in drawn[10]
    assert stream.getvalue().count("\n") == 2  # after the first step and the last
    assert drawn[-1].startswith("step 20/20 · loss 0.05")


def test_fast_steps_are_not_all_drawn() -> None:
    stream = Terminal()
    run(stream, steps=1000, seconds_per_step=0.001)
    assert stream.getvalue().count(CLEAR) < 20


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_validations_always_have_a_line_of_their_own(stream: io.StringIO) -> None:
    console = Console(100, stream, Clock())
    for step in range(1, 6):
        console.log(step, {"train/loss": 1.0})
    console.log(5, {"val/loss": 0.5, "val/accuracy": 0.875})
    assert "step 5/100 · val loss 0.5 · val accuracy 87.5 %" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_an_unfinished_live_line_is_ended() -> None:
    clock, stream = Clock(), Terminal()
    console = Console(100, stream, clock)
    for step in (1, 2):
        console.log(step, {"train/loss": 1.0})
        clock.now += 1.0
    assert not stream.getvalue().endswith("\n")
    console.finish()
    assert stream.getvalue().endswith("\n")


def test_short_numbers_and_times() -> None:
    assert [short(n) for n in (7, 999, 1500, 2_500_000)] == ["7", "999", "1.5k", "2.5M"]
    assert [clock_time(s) for s in (0.4, 61, 3727)] == ["0:00", "1:01", "1:02:07"]


def test_of_a_policy_the_reward_is_told() -> None:
    told = describe({"train/loss": -0.02, "train/reward": 0.4375, "train/lr": 3e-4, "train/rollout_share": 0.71})
    assert told == ["reward 0.4375", "lr 0.0003", "71 % of the time in rollouts"]
    assert describe({"train/reward": 0.4375, "train/rollout_share": float("nan")}) == ["reward 0.4375"]
    assert describe({"val/loss": 5e-5, "val/reward": 0.5}) == ["val reward 0.5"]
