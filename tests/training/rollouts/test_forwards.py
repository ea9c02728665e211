"""Groups over ranks and forwards: nothing lost, nothing twice, nothing too long, as many forwards everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import Group
from cookbook_lib.training.rollouts.forwards import Forwards

SIZES = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 7), min_size=1, max_size=6)), min_size=1, max_size=6
)


def groups_of(sizes) -> list[Group]:
    return [
        Group(
            i, np.full(prompt, i, np.int32), tuple(np.full(n, i, np.int32) for n in lengths), (True,) * len(lengths), i
        )
        for i, (prompt, lengths) in enumerate(sizes)
    ]


@settings(max_examples=80, deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(16, 40), st.booleans(), st.booleans())
def test_every_completion_is_computed_once(sizes, ranks, most, padded, share):
    groups = groups_of(sizes)
    laid = Forwards(ranks, most, max_rows=2, padded=padded, share=share)
    divided = laid.divide(groups)
    assert len(divided) == ranks and len({len(rank) for rank in divided}) == 1
    computed = [(g, i) for rank in divided for forward in rank for g, some in forward for i in some]
    assert sorted(computed) == [(g, i) for g, group in enumerate(groups) for i in range(len(group.completions))]
    for forward in (forward for rank in divided for forward in rank):
        batch = laid.batch(groups, forward)
        assert laid.load(groups, forward).positions == batch.input_ids.numel()
        if padded:
            assert len(forward) <= 2 and len(batch.input_ids) <= max(2, 1)
        else:
            assert batch.input_ids.numel() <= max(most, 1)


def test_a_group_is_cut_only_where_it_must_be():
    (group,) = groups_of([(10, [5, 5, 5, 5])])
    assert Forwards(1, 30).parts(group) == [(0, 1, 2, 3)]
    assert Forwards(1, 29).parts(group) == [(0, 1, 2), (3,)]
    assert Forwards(1, 15).parts(group) == [(0,), (1,), (2,), (3,)]
    assert Forwards(1, 30, share=False).parts(group) == [(0,), (1,), (2,), (3,)]


def whole(divided) -> bool:
    return all(len(some) == 8 for rank in divided for forward in rank for _, some in forward)


def work(groups, divided) -> list[int]:
    return [sum(groups[g].take(some).tokens for forward in rank for g, some in forward) for rank in divided]


def test_groups_stay_whole_where_every_rank_has_its_share():
    groups = groups_of([(10 + i % 3, [20] * 8) for i in range(24)])
    assert all(whole(Forwards(ranks, 1000).divide(groups)) for ranks in (1, 2, 4, 8, 12, 24))
    assert whole(Forwards(1, 1000).divide(groups[:1]))


@pytest.mark.parametrize(("ranks", "most"), [(16, 1.1), (32, 1.25), (64, 1.2), (192, 1.0)])
def test_no_rank_idles_while_there_is_a_completion_for_it(ranks, most):
    groups = groups_of([(10, [20] * 8)] * 24)
    divided = Forwards(ranks, 1000).divide(groups)
    computed = sorted((g, i) for rank in divided for forward in rank for g, some in forward for i in some)
    assert computed == [(g, i) for g in range(24) for i in range(8)] and {len(rank) for rank in divided} == {1}
    done = work(groups, divided)
    assert min(done) > 0 and max(done) / (sum(done) / ranks) <= most


def test_prompts_are_not_repeated_where_that_costs_more_than_waiting():
    """Of the one long prompt's group every part would have nearly all the tokens; that of the other is no way to less."""
    groups = groups_of([(900, [1] * 8), (90, [1] * 8)])
    assert whole(Forwards(2, 1000).divide(groups))


def test_an_empty_forward_has_the_same_columns():
    groups = groups_of([(3, [2])])
    laid = Forwards(2, 32)
    divided = laid.divide(groups)
    assert sorted(len(rank[0]) for rank in divided) == [0, 1]
    empty = laid.batch(groups, [])
    assert len(empty.targets) == 0 and torch.equal(empty.input_ids, torch.zeros(1, 1, dtype=torch.int64))


def test_a_completion_that_fits_nowhere_is_named():
    with pytest.raises(CookbookError, match="a conversation of 40 tokens does not fit into one forward of 30 tokens"):
        Forwards(1, 30).divide(groups_of([(33, [7])]))
