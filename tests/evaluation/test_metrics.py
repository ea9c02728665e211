"""Accuracy, correlations and AUC: by hand, against scipy, and where there is nothing to measure."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.measure import as_scores
from cookbook_lib.evaluation.metrics import KINDS, auc, correlation, correlations, fit_tie_threshold, pair_accuracy

NAN = math.nan


def test_accuracy_by_hand():
    # right, wrong, equal, missing
    found = pair_accuracy([2, 0, 1, None], [1, 1, 1, 0])
    assert found.value == 1 / 4
    assert found.note == "1 pair of equal scores counts as wrong; 1 pair without scores counts as wrong"
    assert pair_accuracy([2, 0, 1, NAN], [1, 1, 1, 0], equal="half").value == 1.5 / 4


def test_pairs_that_the_data_calls_equal_are_right_when_scores_hardly_differ():
    ties = [False, True, True]
    assert pair_accuracy([1.0, 0.1, 2.0], [0.0, 0.0, 0.0], ties=ties).value == pytest.approx(1 / 3)
    assert pair_accuracy([1.0, 0.1, 2.0], [0.0, 0.0, 0.0], ties=ties, tie_within=0.5).value == pytest.approx(2 / 3)


def test_the_tie_threshold_is_the_smallest_of_the_best():
    limit, accuracy = fit_tie_threshold([1.0, 0.1, 0.2, 3.0], [0.0, 0.0, 0.0, 0.0], [False, True, True, False])
    assert (limit, accuracy) == (pytest.approx(0.2), 1.0)
    assert fit_tie_threshold([None], [1], [True])[0] == 0


def test_one_prompt_with_many_pairs_says_as_little_as_one():
    chosen, rejected = [1] * 50 + [0] * 50, [0.5] * 100
    alone = pair_accuracy(chosen, rejected).interval
    together = pair_accuracy(chosen, rejected, groups=["a"] * 50 + ["b"] * 50).interval
    assert together.high - together.low == 1 > alone.high - alone.low


def test_all_right_is_no_certainty():
    assert 0.8 < pair_accuracy([1] * 20, [0] * 20).interval.low < 0.85


def correlated(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.integers(0, 8, n)
    return x.astype(float), (x + random.integers(0, 6, n)).astype(float)


def test_correlations_are_scipy_s():
    x, y = correlated()
    assert correlation(x, y, "pearson").value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert correlation(x, y, "spearman").value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation(x, y, "kendall").value == pytest.approx(stats.kendalltau(x, y).statistic)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_ranks_of_drawn_rows_are_the_ranks_of_the_rows_repeated(rows):
    from cookbook_lib.evaluation.metrics import weighted_pearson, weighted_ranks

    x, y = np.array(rows, float).T
    weights = np.random.default_rng(len(rows)).integers(0, 3, (1, len(rows))).astype(float)
    drawn = np.repeat(np.arange(len(rows)), weights[0].astype(int))
    if len(set(x[drawn])) < 2 or len(set(y[drawn])) < 2:
        return
    found = weighted_pearson(weighted_ranks(x, weights), weighted_ranks(y, weights), weights)[0]
    assert found == pytest.approx(stats.spearmanr(x[drawn], y[drawn]).statistic)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_of_correlations_hold_the_value(kind):
    interval = correlation(*correlated(), kind).interval
    assert -1 <= interval.low < interval.value < interval.high <= 1


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([], [], "needs two rows with scores, here are 0"),
        ([1], [1], "here are 1"),
        ([3, 3, 3], [1, 2, 3], "all scores are 3"),
        ([1, 2, 3], [0, 0, 0], "all true scores are 0"),
        ([1, None, NAN], [1, 2, 3], "here are 1"),
    ],
)
def test_what_does_not_correlate_says_so(x, y, said):
    found = correlations(x, y)
    assert [figure.value for figure in found.values()] == [None] * 3
    assert all(said in figure.note for figure in found.values())
    assert found["pearson"].as_dict()["value"] is None
    assert found["pearson"].text() == "–"


def test_auc_by_hand():
    # good 3, 1; bad 1, 0: 3 beats both, 1 ties one and beats one
    assert auc([3, 1, 1, 0], [True, True, False, False]).value == (2 + 0.5 + 1) / 4
    assert "all 2 answers are good" in auc([1, 2], [True, True]).note
    assert "no answer" in auc([None], [True]).note


def test_auc_is_mann_whitney_s():
    x, y = correlated()
    good = y > np.median(y)
    expected = stats.mannwhitneyu(x[good], x[~good]).statistic / (good.sum() * (~good).sum())
    assert auc(x, good).value == pytest.approx(expected)


def test_callers_mistakes_are_errors():
    with pytest.raises(CookbookError, match="chosen has 1, rejected has 2"):
        pair_accuracy([1], [1, 2])
    with pytest.raises(CookbookError, match="'x'"):
        as_scores([1, "x"])
    with pytest.raises(CookbookError, match="1 groups for 2 rows"):
        pair_accuracy([1, 2], [0, 0], groups=["a"])


def test_infinite_scores_are_missing():
    assert np.isnan(as_scores([math.inf, -math.inf])).all()
