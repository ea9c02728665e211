"""The progress bar: its numbers, its ends, and where it is written."""

import io

import pytest

from cookbook_lib.display.progress import LiveProgress, clock_time
from cookbook_lib.display.screens import TerminalScreen


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def bar(total, **options):
    stream, clock = io.StringIO(), Clock()
    screen = TerminalScreen(stream, log_interval=10.0, clock=clock)
    return LiveProgress(total, "sft", screen=screen, clock=clock, **options), stream, clock


def test_rate_and_time_left():
    progress, _, clock = bar(400)
    clock.now = 40.0
    progress.advance(120)
    assert progress.view().text.endswith("120/400 steps · 3 steps/s · 1:33 left")


def test_a_resumed_run_does_not_claim_the_steps_before_it():
    progress, _, clock = bar(400)
    clock.now = 5.0
    progress.log(300, {"train/loss": 1.0})
    clock.now = 15.0
    progress.log(310, {"train/loss": 0.9, "train/tokens_per_second": 12345.6})
    assert progress.view().text.endswith("310/400 steps · loss 0.9 · 12,346 tokens/s · 1 steps/s · 1:30 left")


@pytest.mark.parametrize(
    ("done", "failed", "ending"),
    [(10, False, "in 0:02"), (4, False, "stopped after 0:02"), (4, True, "failed after 0:02")],
)
def test_the_end_says_how_it_ended(done, failed, ending):
    progress, stream, clock = bar(10)
    clock.now = 2.0
    progress.advance(done)
    progress.finish(failed)
    progress.finish()
    assert stream.getvalue().count("\n") == 2  # the first line and the last: no line between within ten seconds
    assert stream.getvalue().rstrip().endswith(ending)


def test_an_exception_marks_the_bar_and_passes_through():
    progress, stream, _ = bar(10)
    with pytest.raises(ZeroDivisionError), progress:
        progress.advance(1 // 0)
    assert "failed" in stream.getvalue()


def test_an_unknown_total_counts_without_a_promise():
    progress, _, clock = bar(None, unit="rows")
    clock.now = 2.0
    progress.advance(1000)
    assert progress.view().text.endswith("1,000 rows · 500 rows/s")


def test_a_terminal_rewrites_its_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with LiveProgress(2, "sft", screen=TerminalScreen(stream)) as progress:
        progress.advance(2)
    assert stream.getvalue().count("\r") >= 2
    assert stream.getvalue().count("\n") == 1


def test_titles_are_escaped():
    progress, _, _ = bar(1)
    progress.title = "<b>&"
    assert "&lt;b&gt;&amp;" in progress.view().html


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (90, "1:30"), (7400, "2:03:20"), (-3, "0:00"), (59.6, "1:00")]
)
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text
