"""The training curve: what it shows, how often it draws, and that it leaves nothing behind."""

import math

import matplotlib
import pytest
from matplotlib.figure import Figure

from cookbook_lib.display.curve_panels import smooth
from cookbook_lib.display.curves import REWARD_PANELS, LiveCurves, training_curves
from cookbook_lib.display.screens import Pace


class Recorder:
    """A screen that remembers what it was given."""

    def __init__(self):
        self.texts, self.final = [], False

    def show(self, view, *, final=False):
        self.texts.append(str(view))
        self.final |= final

    def save(self, picture, path):
        picture.save(path)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def rows(n=40):
    for step in range(1, n + 1):
        yield {
            "step": step,
            "train/loss": 4 / step,
            "train/lr": 1e-3,
            "train/grad_norm": 1.0,
            "val/loss": abs(step - 30) + 1,
        }


def test_the_text_twin_names_the_last_and_the_best():
    text = str(training_curves(rows(), "sft"))
    assert text == "sft · step 40 · loss 0.1 · val loss 11 (best 1 at step 30)"


def test_the_best_reward_is_the_highest():
    found = [
        {"step": step, "train/reward": 0.1, "val/reward": reward} for step, reward in ((0, 0.2), (10, 0.6), (20, 0.5))
    ]
    text = str(training_curves(found, "judge", loss="reward"))
    assert text == "judge · step 20 · reward 0.1 · val reward 0.5 (best 0.6 at step 10)"


@pytest.mark.parametrize(("known", "columns"), [(0, 1), (4, 2), (5, 3), (6, 3)])
def test_many_panels_stand_in_two_columns(known, columns):
    names = list(REWARD_PANELS)[:known]
    found = [{"step": 1, "train/reward": 0.5} | dict.fromkeys(names, 1.0)]
    figure = Figure()
    training_curves(found, loss="reward", panels=REWARD_PANELS).draw(figure)
    assert len(figure.axes) == 1 + known
    assert figure.axes[0].get_gridspec().ncols == columns


def test_live_and_static_draw_the_same_bytes():
    live = LiveCurves("sft", screen=Recorder())
    for row in rows():
        live.log(row["step"], {name: value for name, value in row.items() if name != "step"})
    assert live.picture().render() == training_curves(rows(), "sft").render()


def test_it_draws_no_faster_than_its_pace_and_always_the_last_state():
    screen, clock = Recorder(), Clock()
    live = LiveCurves("sft", screen=screen, pace=Pace(interval=1.0, clock=clock))
    for step in range(1, 101):
        clock.now += 0.1
        live.log(step, {"train/loss": float(step)})
    assert 9 <= len(screen.texts) <= 12
    live.finish()
    live.finish()
    assert screen.final
    assert screen.texts[-1] == "sft · step 100 · loss 100"
    assert len(screen.texts) <= 13


def test_a_run_that_was_stopped_still_shows_its_last_step():
    screen, clock = Recorder(), Clock()
    with pytest.raises(KeyboardInterrupt), LiveCurves("sft", screen=screen, pace=Pace(clock=clock)) as live:
        live.log(1, {"train/loss": 2.0})
        live.log(2, {"train/loss": 1.0})
        raise KeyboardInterrupt
    assert screen.texts == ["sft · step 1 · loss 2", "sft · step 2 · loss 1"]


def test_a_slow_drawing_waits_longer():
    clock, drawn = Clock(), []

    def slow():
        clock.now += 1.0
        drawn.append(clock.now)

    pace = Pace(interval=0.5, share=0.1, longest=60.0, clock=clock)
    for _ in range(100):
        pace.run(slow)
        clock.now += 1.0
    assert len(drawn) == pytest.approx(10, abs=1)  # a tenth of the time, although due twice a second


def test_one_slow_drawing_does_not_silence_the_run():
    clock, drawn = Clock(), []

    def slow_once():
        clock.now += 0.01 if drawn else 3.0
        drawn.append(clock.now)

    pace = Pace(clock=clock)
    for _ in range(200):
        pace.run(slow_once)
        clock.now += 0.1
    assert drawn[1] - drawn[0] < 5.2
    assert len(drawn) > 15


def test_a_step_logged_again_after_a_resume_replaces_its_value():
    live = LiveCurves("sft", screen=Recorder())
    live.log(3, {"train/loss": 9.0})
    live.log(3, {"train/loss": 1.0, "val/loss": 2.0})
    assert live.history == {3: {"train/loss": 1.0, "val/loss": 2.0}}


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"step": 1, "train/loss": math.nan}],
        [{"step": 0, "val/loss": 5.0}],
        [{"step": 7, "train/loss": 2.0, "train/lr": 0.0}],
    ],
)
def test_thin_histories_draw_without_a_warning(history):
    assert training_curves(history, "sft", total_steps=10).render().startswith(b"\x89PNG")


def test_it_keeps_the_readers_matplotlib_settings():
    before = dict(matplotlib.rcParams)
    training_curves(rows(), "sft").render()
    assert dict(matplotlib.rcParams) == before


def test_save_takes_the_format_from_the_suffix(tmp_path):
    live = LiveCurves("sft", screen=Recorder())
    live.log(1, {"train/loss": 1.0})
    live.save(tmp_path / "new" / "sft_train.png")
    live.save(tmp_path / "sft_train.svg")
    assert (tmp_path / "new" / "sft_train.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "sft_train.svg").read_text()


def test_other_ranks_show_and_write_nothing(tmp_path, capsys):
    live = LiveCurves("sft", is_main=False)
    live.log(1, {"train/loss": 1.0})
    live.finish()
    live.save(tmp_path / "sft_train.png")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_smoothing_keeps_a_constant_and_starts_without_bias():
    assert smooth([5.0] * 50) == pytest.approx([5.0] * 50)
    assert smooth([8.0, 0.0])[0] == 8.0
    assert smooth([]) == []
