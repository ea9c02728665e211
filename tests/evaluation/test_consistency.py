"""Consistency: verdicts that contradict themselves are found, and shown."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.consistency import Comparison, consistency


def verdicts(text: str, group: str = "p") -> list[Comparison]:
    """`a>b b=c c<a d?e`: one comparison each, shown in that order."""
    kinds = {">": "A", "<": "B", "=": "tie", "?": None}
    return [Comparison(group, said[0], said[2], kinds[said[1]]) for said in text.split()]


def test_an_order_has_no_conflict():
    found = consistency(verdicts("a>b b>c a>c b<a"))
    assert (found.symmetric.value, found.transitive.value, found.ordered.value) == (1, 1, 1)
    assert found.conflicts == ()


def test_a_cycle_of_three_is_shown():
    found = consistency(verdicts("a>b b>c c>a a>d b>d c>d"))
    assert found.transitive.value == 3 / 4
    assert found.ordered.value == 0
    (row,) = found.conflict_rows()
    assert row["kind"] == "cycle"
    assert sorted(row["answers"]) == ["a", "b", "c"]
    assert row["said"] in ("a > b > c > a", "b > c > a > b", "c > a > b > c")


def test_a_longer_cycle_that_no_triple_shows():
    found = consistency(verdicts("a>b b>c c>d d>a"))
    assert found.transitive.value is None
    assert found.ordered.value == 0
    assert len(found.conflicts[0].answers) == 4


def test_ties_must_be_transitive_too():
    (row,) = consistency(verdicts("x=y y=z x<z")).conflict_rows()
    assert row["said"] == "x ≥ y ≥ z, and yet z > x"
    assert consistency(verdicts("x=y y=z x=z")).conflicts == ()
    assert consistency(verdicts("x>y y=z x>z")).conflicts == ()


def test_symmetry_counts_pairs_asked_both_ways():
    found = consistency(verdicts("a>b b>a c>d d<c e=f f=e g>h"))
    assert found.symmetric.value == pytest.approx(2 / 3)
    assert found.symmetric.rows == 3


def test_an_order_that_was_not_read_is_no_symmetry():
    found = consistency(verdicts("a>b b>a a<b c>d d?c e?f f?e"))
    assert (found.symmetric.value, found.symmetric.rows) == (0, 3)
    assert consistency(verdicts("a>b b<a c>d d?c")).symmetric.value == 1 / 2
    assert found.symmetric.note == "3 verdicts are missing"


def test_the_majority_counts():
    assert consistency(verdicts("a>b a>b a<b b>c c>a c<a a>c")).conflicts == ()  # 2 to 1 for a over b, 2 to 1 over c


def test_prompts_are_apart():
    found = consistency([*verdicts("a>b b>c", "p"), *verdicts("c>a", "q")])
    assert found.ordered.value == 1
    assert found.ordered.rows == 2


def test_nothing_and_nonsense():
    assert all(figure.value is None and figure.note for figure in consistency([]).measures().values())
    assert "1 verdict is missing" in consistency(verdicts("a?b")).ordered.note
    with pytest.raises(CookbookError, match="with itself"):
        consistency(verdicts("a>a"))
    with pytest.raises(CookbookError, match="no verdict"):
        consistency([Comparison("p", "a", "b", "yes")])
