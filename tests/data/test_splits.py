"""Grouped, stratified, seeded; the order of rows does not matter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.records import chat
from cookbook_lib.data.splits import Groups, stratum_of


def groups_of(rows):
    groups = Groups()
    for group, stratum in rows:
        groups.add(group, stratum)
    return groups


def test_the_ratio_holds_in_every_stratum():
    rows = [(f"{stratum}{n}", stratum) for stratum, count in (("a", 1000), ("b", 200), ("c", 40)) for n in range(count)]
    test = groups_of(rows).test_groups(0.1, seed=1)
    assert [sum(group.startswith(stratum) for group in test) for stratum in "abc"] == [100, 20, 4]


def test_small_strata_share_what_is_owed():
    rows = [(f"{stratum}", f"stratum {stratum}") for stratum in range(100)]
    assert len(groups_of(rows).test_groups(0.1, seed=0)) == 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30).map(str), st.sampled_from("ab")), min_size=2, max_size=80), st.randoms())
def test_row_order_does_not_matter(rows, shuffler):
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert groups_of(rows).test_groups(0.2, 3) == groups_of(shuffled).test_groups(0.2, 3)


def test_the_seed_matters_and_both_sides_get_something():
    rows = [(str(n), "a") for n in range(200)]
    assert groups_of(rows).test_groups(0.1, 0) != groups_of(rows).test_groups(0.1, 1)
    assert len(groups_of(rows[:2]).test_groups(0.01, 0)) == 1
    assert len(groups_of(rows[:2]).test_groups(0.99, 0)) == 1
    assert groups_of(rows[:1]).test_groups(0.5, 0) == set()
    assert groups_of(rows).test_groups(0, 0) == set()


def test_a_giant_group_is_passed_over():
    rows = [("hi", "a")] * 500 + [(str(n), "a") for n in range(500)]
    for seed in range(5):
        assert len(groups_of(rows).test_groups(0.1, seed)) == 100


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5])
def test_a_ratio_outside_is_an_error(ratio):
    with pytest.raises(CookbookError, match="must lie in"):
        groups_of([("a", "s"), ("b", "s")]).test_groups(ratio, 0)


def test_strata():
    assert stratum_of(chat("a", "b", source="alpaca")) == "alpaca/1/plain"
