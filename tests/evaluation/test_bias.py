"""Biases: by hand, on judges whose bias is known, and where nothing can be said."""

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.bias import feature_bias, format_bias, format_effect, length_bias, position_bias


def judged(love: float, n: int = 800) -> tuple[list, list, list, list]:
    """Answers with a quality and a length that have nothing to do with each other; a judge scores quality + love · length."""
    random = np.random.default_rng(0)
    quality, length = random.normal(size=(2, 2, n))
    better = random.random(n) < 1 / (1 + np.exp(-2 * (quality[0] - quality[1])))
    pick, i = np.where(better, 0, 1), np.arange(n)
    scores, lengths = quality + love * length, np.exp(5 + length)
    return scores[pick, i], scores[1 - pick, i], lengths[pick, i], lengths[1 - pick, i]


def test_by_hand():
    # chosen longer: right; chosen shorter: wrong, right; same length: right
    found = length_bias([1, 0, 1, 1], [0, 1, 0, 0], [20, 10, 10, 7], [10, 20, 30, 7])
    assert (found.more.value, found.more.rows) == (1.0, 1)
    assert (found.less.value, found.less.rows) == (0.5, 2)
    assert found.gap.value == 0.5
    assert found.judge.value == pytest.approx(2 / 3)
    assert found.data.value == pytest.approx(1 / 3)
    assert found.excess.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("love", "sign"), [(0.6, 1), (-0.6, -1)])
def test_a_judge_that_loves_length_is_found_out(love, sign):
    found = length_bias(*judged(love))
    assert min(sign * found.gap.interval.low, sign * found.gap.interval.high) > 0.1
    assert min(sign * found.excess.interval.low, sign * found.excess.interval.high) > 0.05
    assert sign * found.correlation.value > 0.3
    assert max(sign * found.left_over.interval.low, sign * found.left_over.interval.high) < -0.3


def test_a_judge_that_does_not_care_is_not():
    found = length_bias(*judged(0.0))
    for figure in (found.gap, found.excess, found.left_over):
        assert figure.interval.low < 0 < figure.interval.high


@pytest.mark.parametrize(
    "columns",
    [([], [], [], []), ([None], [1], [2], [3]), ([1, 1], [1, 1], [5, 5], [5, 5]), ([1], [0], [5], [4])],
    ids=["no pair", "no scores", "all the same", "one pair"],
)
def test_where_nothing_can_be_said_a_sentence_is(columns):
    for name, figure in length_bias(*columns).measures().items():
        # a pair without scores is no longer passed over: it is wrong, and the note says so
        assert (figure.value is None or "without scores" in figure.note) == bool(figure.note), name
        assert figure.value is None or np.isfinite(figure.value)


def test_a_pair_without_scores_is_wrong():
    """One pair of four read, and read rightly, is no accuracy of 1."""
    found = length_bias([1, None, None, None, 1], [0, None, 0, None, 0], [20, 20, 20, 10, 10], [10, 10, 10, 20, 20])
    assert (found.more.value, found.more.rows) == (pytest.approx(1 / 3), 3)
    assert (found.less.value, found.less.rows) == (1 / 2, 2)
    assert found.gap.value == pytest.approx(1 / 3 - 1 / 2)
    assert found.more.note == "2 pairs without scores count as wrong"
    assert found.less.note == "1 pair without scores counts as wrong"
    assert found.gap.note == "3 pairs without scores count as wrong"
    for figure in (found.judge, found.data, found.excess, found.correlation, found.left_over):
        assert figure.note == "3 pairs without scores are left out"
    assert (found.judge.rows, found.judge.value, found.data.value) == (2, 0.5, 0.5)


def test_any_feature_may_be_asked_about():
    found = feature_bias("politeness", [1, 1], [0, 0], [3, 0], [0, 3])
    assert next(iter(found.measures())) == "accuracy, chosen has more politeness"
    assert found.gap.value == 0


def test_format_bias_counts_marks():
    found = format_bias([1.0, 0.0], [0.0, 1.0], ["**a** b", "plain"], ["a b", "- list\n- more"])
    assert found.more.value == 1
    assert found.less.value == 0
    assert found.judge.value == 1


def test_the_worth_of_formatting():
    texts = ["**a**", "- b", "plain"]
    found = format_effect([2.0, 1.0, 0.0], [1.0, 1.0, 5.0], texts)
    assert [f.value for f in found.values()] == pytest.approx([0.5 / np.std([2, 1, 0]), 0.75])
    assert [f.rows for f in found.values()] == [2, 2]
    assert all(f.value is None for f in format_effect([1.0], [1.0], ["plain"]).values())
    one, _ = format_effect([2.0, None, 1.0], [1.0, 1.0, None], ["**a**", "- b", "plain"]).values()
    assert (one.rows, one.note) == (1, "1 answer without a score is left out")
    constant = format_effect([1.0, 1.0], [0.5, 0.5], ["**a**", "- b"])
    assert "no spread" in next(iter(constant.values())).note


def test_position_by_hand():
    # consistent A, always-first, consistent tie, unparseable
    found = position_bias(["A", "A", "tie", None], ["B", "A", "tie", "A"], ["A", "B", "tie", "A"])
    # of all four pairs, as JudgeBench and LLMBar count: what cannot be read is no consistency (it was 2 of the 3 that can)
    assert found["same verdict both ways round"].value == 2 / 4
    assert found["same verdict both ways round"].note == "1 pair lacks a verdict"
    # A A / B A: the second A of a pair without a first verdict speaks of nothing (it made 4 of 5)
    assert found["prefers the place shown first"].value == 3 / 4
    assert found["prefers the place shown first"].note == "1 pair that lacks a verdict is left out"
    assert found["accuracy, mean of both ways round"].value == (1 + 0.5 + 1 + 0) / 4
    assert found["accuracy, right both ways round"].value == 2 / 4


def test_position_of_nothing():
    assert all(figure.value is None and figure.note for figure in position_bias([], []).values())
    same, first = position_bias([None], [None]).values()
    assert (same.value, same.note) == (0, "1 pair lacks a verdict"), "unread is not consistent"
    assert first.value is None and "1 pair that lacks a verdict is left out" in first.note


def test_a_judge_that_is_read_one_way_round_has_no_place_that_it_prefers():
    """Right wherever it is read, and 90 of its swapped texts are not: 100 first places of 110, of pairs that say nothing."""
    found = position_bias(["A"] * 100, ["B"] * 10 + [None] * 90)
    assert found["prefers the place shown first"].value == 0.5
    assert found["prefers the place shown first"].rows == 20
    assert found["same verdict both ways round"].value == 0.1


def test_nonsense_is_no_verdict():
    with pytest.raises(CookbookError, match="'C' is no verdict"):
        position_bias(["C"], ["A"])
