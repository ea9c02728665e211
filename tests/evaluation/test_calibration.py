"""Calibration: by hand, on scores whose calibration is known, and where there is none."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cookbook_lib.evaluation.calibration import calibrate, calibration, fit_temperature, sigmoid

LOGIT = math.log(3)  # a confidence of 3/4


def drawn(n: int, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
    """Differences of a judge whose scores are `temperature` times too large."""
    random = np.random.default_rng(seed)
    d = random.normal(0, 1.5, n)
    return temperature * np.where(random.random(n) < sigmoid(d), d, -d)


def test_by_hand():
    # four pairs of confidence 3/4, two of them right: |1/2 - 3/4|
    found = calibration([LOGIT, LOGIT, -LOGIT, -LOGIT], [0, 0, 0, 0])
    assert found.ece.value == pytest.approx(1 / 4)
    assert found.brier.value == pytest.approx((2 * (1 / 4) ** 2 + 2 * (3 / 4) ** 2) / 4)
    assert found.log_loss.value == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    (point,) = found.points
    assert (point.low, point.high, point.pairs) == (pytest.approx(0.75), pytest.approx(0.8), 4)
    assert (point.confidence, point.accuracy) == (pytest.approx(0.75), 0.5)


def test_equal_scores_are_half_right_and_say_nothing():
    found = calibration([1, 1], [1, 1])
    assert found.ece.value == 0
    assert found.brier.value == 0.25
    assert found.log_loss.value == pytest.approx(math.log(2))


def test_bins_add_up():
    found = calibration(drawn(300), np.zeros(300), bins=7)
    by_points = sum(p.pairs * abs(p.accuracy - p.confidence) for p in found.points) / 300
    assert found.ece.value == pytest.approx(by_points)
    assert sum(p.pairs for p in found.points) == 300


def test_a_calibrated_judge_shows_what_chance_says():
    found = calibration(drawn(4000), np.zeros(4000))
    assert found.ece.value < 2 * found.by_chance < 0.05


def test_the_temperature_is_the_likeliest():
    d = drawn(500, 2.5, seed=1)
    expected = minimize_scalar(lambda t: np.logaddexp(0, -d / t).mean(), bounds=(0.1, 20), method="bounded").x
    found = fit_temperature(d, np.zeros(500))
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.interval.low < 2.5 < found.interval.high


def test_temperatures_of_other_prompts_calibrate():
    found = calibrate(drawn(2000, 3.0), np.zeros(2000), groups=np.arange(2000) // 2)
    assert found.fitted.ece.value < 0.04 < 0.1 < found.raw.ece.value
    assert found.fitted.log_loss.value < found.raw.log_loss.value


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        ([], [], "no pair with scores"),
        ([None, math.nan], [1, 2], "no pair with scores"),
        ([1, 2], [1, 2], "equal scores"),
        ([1], [0], "every preference is scored right"),
        ([0, 0, 2], [1, 1, 1], "do not agree"),
    ],
)
def test_no_temperature_is_a_sentence(chosen, rejected, said):
    found = calibrate(chosen, rejected)
    assert said in found.temperature.note
    assert found.temperature.value is None
    assert found.fitted is None
    json.dumps([found.raw.ece.as_dict(), found.raw.point_rows(), found.temperature.as_dict()], allow_nan=False)


def test_missing_scores_are_left_out_and_counted():
    found = calibration([1, None], [0, 0])
    assert (found.ece.rows, found.ece.note) == (1, "1 pair without scores is left out")


def test_huge_scores_do_not_overflow():
    found = calibrate([1e6, -1e6, 1e6, 2e6], [0, 0, 0, 0])
    assert found.raw.ece.value == pytest.approx(0.25)
    assert math.isfinite(found.temperature.value)


def test_the_bins_of_the_picture_draw_whole_prompts():
    """Thirty pairs said four times, and thirty said once, have the same bars."""
    random = np.random.default_rng(0)
    chosen, rejected = random.normal(0.3, 1, 30), random.normal(0, 1, 30)
    bars = []
    for n in (1, 4):
        found = calibration(list(chosen) * n, list(rejected) * n, groups=list(range(30)) * n, bins=3)
        bars.append([(point.accuracy_low, point.accuracy_high) for point in found.points])
    assert np.allclose(*bars)
