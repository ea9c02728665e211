"""Intervals cover what they promise to cover, and say less where there is less to say."""

import math

import numpy as np
import pytest

from cookbook_lib.evaluation.intervals import Interval, difference, ratio, share


def test_the_value_is_a_ratio_of_sums_and_no_mean_of_ratios():
    found = ratio([10.0, 1.0], [10, 1])
    assert found.value == 1
    assert ratio([10.0, 4.0], [10, 1]).value == pytest.approx(14 / 11)


def test_a_95_percent_interval_covers_the_truth_about_that_often():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        counts = random.integers(5, 50, 60)
        sums = counts * 2.0 + random.normal(0, 3, 60) * np.sqrt(counts)
        found = ratio(sums, counts, seed=trial)
        hits += found.low <= 2.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_pairs_make_a_difference_surer_than_two_intervals():
    random = np.random.default_rng(0)
    hardness = random.normal(3, 1, 100)
    before, after = hardness, hardness - 0.1 + random.normal(0, 0.05, 100)
    change = difference(after, before, np.ones(100))
    assert change.high < 0
    assert ratio(after, np.ones(100)).high > ratio(before, np.ones(100)).low


def test_the_same_seed_gives_the_same_interval():
    values, counts = np.arange(20.0), np.ones(20)
    assert ratio(values, counts, seed=1) == ratio(values, counts, seed=1) != ratio(values, counts, seed=2)


def test_one_row_has_a_value_and_no_interval():
    found = ratio([3.0], [2])
    assert found.value == 1.5
    assert math.isnan(found.low)
    assert found.text(".2f") == "1.50"
    assert found.as_dict() == {"value": 1.5, "low": None, "high": None}


@pytest.mark.parametrize(
    ("yes", "n", "low", "high"), [(0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0), (10, 20, 0.2993, 0.7007)]
)
def test_shares_have_wilson_s_interval(yes, n, low, high):
    found = share([1] * yes + [0] * (n - yes))
    assert found.value == yes / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_text_and_map():
    assert Interval(1.0, 0.5, 2.0).map(math.exp).text(".2f") == "2.72 [1.65, 7.39]"
