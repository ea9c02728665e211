"""Documents that begin alike are computed behind one beginning, and no way to divide them computes fewer tokens."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.data.reward import families as module
from cookbook_lib.data.reward.families import families, family, forwards


def ids(*parts: range | list[int]) -> np.ndarray:
    return np.concatenate([np.array(part, np.int32) for part in parts]).astype(np.int32)


def cost(documents, group) -> int:
    one = family([documents[i] for i in group])
    return len(one.shared) + sum(map(len, one.rests))


PROMPT, OTHER = list(range(100, 140)), list(range(200, 250))


def test_answers_to_one_prompt_are_a_family_wherever_they_stand():
    documents = [ids(PROMPT, [1, 2]), ids(OTHER, [3]), ids(PROMPT, [4]), ids(OTHER, [5]), ids([9, 9])]
    assert sorted(sorted(group) for group in families(documents, 1000)) == [[0, 2], [1, 3], [4]]
    one = family([documents[0], documents[2]])
    assert one.shared.tolist() == PROMPT
    assert [rest.tolist() for rest in one.rests] == [[1, 2], [4]]


def test_equal_documents_keep_a_token_each_and_one_may_begin_the_other():
    documents = [ids(PROMPT), ids(PROMPT), ids(PROMPT[:30])]
    (group,) = families(documents, 1000)
    made = family([documents[i] for i in group])
    assert sorted(group) == [0, 1, 2]
    assert min(map(len, made.rests)) >= 1
    assert sorted(made.shared.tolist() + rest.tolist() for rest in made.rests) == sorted(d.tolist() for d in documents)


def test_a_short_common_header_is_no_reason_and_neither_is_sharing_turned_off():
    header = list(range(module.SHORTEST_SHARED - 1))
    assert len(families([ids(header, [50, 1]), ids(header, [60, 1])], 1000)) == 2
    assert len(families([ids(PROMPT, [1]), ids(PROMPT, [2])], 1000, sharing=False)) == 2


def test_a_family_fits_a_forward():
    documents = [ids(PROMPT, [i] * 20) for i in range(10)]
    groups = families(documents, 100)
    assert sorted(i for group in groups for i in group) == list(range(10))
    assert max(cost(documents, group) for group in groups) <= 100
    assert len(groups) < 10


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=6))
def test_no_division_of_the_order_computes_fewer_tokens(rows):
    documents = [np.array(row, np.int32) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHORTEST_SHARED", 1)
        groups = families(documents, 10_000)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    order = [i for group in groups for i in group]
    assert order == sorted(order, key=lambda i: documents[i].tobytes())
    inner = range(1, len(order))
    cuts = [set(chosen) for size in range(len(order)) for chosen in combinations(inner, size)]
    ways = [np.split(np.array(order), sorted(chosen)) for chosen in cuts]
    fewest = min(sum(cost(documents, group) for group in way) for way in ways)
    assert sum(cost(documents, group) for group in groups) == fewest


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 60))
def test_forwards_hold_everything_once_and_no_more_than_they_may(costs, most):
    made = forwards(costs, most)
    assert sorted(i for group in made for i in group) == list(range(len(costs)))
    assert all(len(group) == 1 or sum(costs[i] for i in group) <= most for group in made)
    assert [costs[i] for group in made for i in group] == sorted(costs, reverse=True)
