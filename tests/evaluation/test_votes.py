"""Votes put together, by hand."""

import pytest

from cookbook_lib.evaluation.votes import agreement_of, both_orders, preference_of, score_of, verdict_for


@pytest.mark.parametrize(
    ("votes", "mean", "majority", "agreement"),
    [
        ((3,), 3, 3, 1),
        ((3, 3, 4, None), 10 / 3, 3, 2 / 3),
        ((0, 4), 2, 2, 1 / 2),
        ((0, 0, 4, 4, 1), 9 / 5, 2, 2 / 5),
        ((None, None), None, None, None),
        ((), None, None, None),
        ((0,), 0, 0, 1),
    ],
)
def test_scores(votes, mean, majority, agreement):
    assert (score_of(votes), score_of(votes, "majority"), agreement_of(votes)) == (mean, majority, agreement)


@pytest.mark.parametrize(
    ("votes", "preference", "verdict"),
    [
        (("A",), 1, "A"),
        (("A", "B"), 0, "tie"),
        (("A", "A", "B"), 1 / 3, "A"),
        (("tie", "tie", "B"), -1 / 3, "B"),
        (("tie",), 0, "tie"),
        (("A", None, None), 1, "A"),
        ((None,), None, None),
        ((), None, None),
    ],
)
def test_preferences(votes, preference, verdict):
    assert preference_of(votes) == preference
    assert verdict_for(preference_of(votes)) == verdict


@pytest.mark.parametrize(
    ("shown", "swapped", "together"),
    [
        (1, -1, 1),  # A, then B: the same answer
        (1, 1, 0),  # A both times: the place and not the answer
        (1, 0, 1 / 2),
        (0, 0, 0),
        (-1, 1, -1),
        (1, None, None),
        (None, None, None),
    ],
)
def test_both_orders(shown, swapped, together):
    assert both_orders(shown, swapped) == together
