"""Packing: no token lost, none learned twice, none across a boundary; and work divided completely and evenly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import IGNORE_INDEX, balance, pack, pad, shift

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def example(length: int, seed: int = 0) -> Example:
    random = np.random.default_rng([length, seed])
    weights = random.choice([0.0, 1.0, 0.5], length).astype(np.float32)
    return Example(random.integers(1, 1000, length).astype(np.int32), weights)


def learned(batch, row: int = 0) -> list[tuple[int, int, float]]:
    """(token read, token learned, weight) of every supervised position, in order."""
    kept = batch.labels[row] != IGNORE_INDEX
    columns = (batch.input_ids[row], batch.labels[row], batch.weights[row])
    return list(zip(*(c[kept].tolist() for c in columns), strict=True))


def expected(e: Example) -> list[tuple[int, int, float]]:
    ids, w = e.input_ids.tolist(), e.weights.tolist()
    return [(ids[t - 1], ids[t], w[t]) for t in range(1, len(ids)) if w[t] > 0]


# ------------------------------------------------------------------------------------------------------------- shift


def test_a_position_learns_the_next_token_of_its_own_document():
    labels, weights = shift(np.array([11, 12, 13, 14]), np.array([1, 0, 0.5, 1], np.float32))
    assert labels.tolist() == [IGNORE_INDEX, 13, 14, IGNORE_INDEX]
    assert weights.tolist() == [0, 0.5, 1, 0]


def test_one_token_learns_nothing():
    labels, weights = shift(np.array([11]), np.array([1], np.float32))
    assert labels.tolist() == [IGNORE_INDEX]
    assert weights.tolist() == [0]


# -------------------------------------------------------------------------------------------------------------- pack


@settings(max_examples=50, deadline=None)
@given(lengths=LENGTHS, multiple=st.sampled_from([1, 2, 8]))
def test_a_packed_row_holds_the_documents_whole_and_in_order(lengths, multiple):
    examples = [example(n, i) for i, n in enumerate(lengths)]
    batch = pack(examples, range(100, 100 + len(lengths)), pad_id=999, multiple=multiple)
    total = sum(lengths)
    assert batch.input_ids.shape == batch.labels.shape == batch.weights.shape == batch.position_ids.shape
    assert batch.input_ids.shape[1] % multiple == 0
    assert batch.input_ids.shape[1] - total < multiple
    assert batch.input_ids[0, :total].tolist() == np.concatenate([e.input_ids for e in examples]).tolist()
    assert batch.position_ids[0, :total].tolist() == [t for n in lengths for t in range(n)]
    assert batch.cu_seqlens[: len(lengths) + 1] == tuple(np.cumsum([0, *lengths]))
    assert batch.cu_seqlens[-1] == batch.input_ids.shape[1]
    assert batch.rows == tuple(range(100, 100 + len(lengths)))
    assert batch.lengths == tuple(lengths)
    assert learned(batch) == [triple for e in examples for triple in expected(e)]
    assert batch.weights[0, total:].sum() == 0


def test_the_tail_is_a_document_of_its_own():
    batch = pack([example(5)], [0], pad_id=999, multiple=4)
    assert batch.cu_seqlens == (0, 5, 8)
    assert batch.input_ids[0, 5:].tolist() == [999] * 3
    assert batch.position_ids[0, 5:].tolist() == [0, 1, 2]
    assert batch.lengths == (5,)


@pytest.mark.parametrize("multiple", [1, 4])
def test_an_empty_forward_computes_something_and_learns_nothing(multiple):
    batch = pack([], [], multiple=multiple)
    assert batch.input_ids.shape == (1, multiple)
    assert batch.cu_seqlens == (0, multiple)
    assert batch.weights.sum() == 0
    assert (batch.labels == IGNORE_INDEX).all()
    assert (batch.rows, batch.lengths) == ((), ())


# --------------------------------------------------------------------------------------------------------------- pad


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, multiple=st.sampled_from([1, 2, 8]))
def test_the_padded_form_learns_the_same(lengths, multiple):
    examples = [example(n, i) for i, n in enumerate(lengths)]
    batch = pad(examples, range(len(lengths)), pad_id=999, multiple=multiple)
    assert batch.cu_seqlens is None
    assert batch.lengths == tuple(lengths)
    assert batch.input_ids.shape == (len(lengths), -(-max(lengths) // multiple) * multiple)
    for row, e in enumerate(examples):
        n = len(e.input_ids)
        assert batch.input_ids[row, :n].tolist() == e.input_ids.tolist()
        assert (batch.input_ids[row, n:] == 999).all()
        assert learned(batch, row) == expected(e)
        assert batch.position_ids[row].tolist() == list(range(batch.input_ids.shape[1]))
    packed = pack(examples, range(len(lengths)))
    assert float(batch.weights.sum()) == pytest.approx(float(packed.weights.sum()))


def test_types():
    for batch in (pack([example(5)], [0]), pad([example(5), example(3)], [0, 1])):
        assert batch.input_ids.dtype == batch.labels.dtype == batch.position_ids.dtype == torch.int64
        assert batch.weights.dtype == torch.float32


# ----------------------------------------------------------------------------------------------------------- balance


@settings(max_examples=100, deadline=None)
@given(
    lengths=LENGTHS,
    ranks=st.integers(1, 6),
    budget=st.integers(60, 400),
    max_rows=st.one_of(st.none(), st.integers(1, 9)),
    quadratic=st.sampled_from([0.0, 0.01]),
)
def test_every_conversation_is_computed_once_within_the_budget(lengths, ranks, budget, max_rows, quadratic):
    parts = balance(lengths, ranks, max_tokens=budget, max_rows=max_rows, quadratic=quadratic)
    assert len(parts) == ranks
    assert len({len(rank) for rank in parts}) == 1, "every rank runs the same number of forwards"
    forwards = [forward for rank in parts for forward in rank]
    assert sorted(i for forward in forwards for i in forward) == list(range(len(lengths)))
    for forward in forwards:
        assert forward == sorted(forward)
        assert sum(lengths[i] for i in forward) <= budget
        assert max_rows is None or len(forward) <= max_rows


def test_one_forward_where_everything_fits():
    assert balance([5, 6, 7], 1, max_tokens=18) == [[[0, 1, 2]]]


def test_fewer_conversations_than_ranks_leave_empty_forwards():
    parts = balance([5, 6], 4, max_tokens=10)
    assert sorted(map(str, parts)) == ["[[0]]", "[[1]]", "[[]]", "[[]]"]


def test_costs_are_even():
    lengths = np.random.default_rng(0).lognormal(5, 1, 96).clip(10, 2000).astype(int).tolist()
    parts = balance(lengths, 4, max_tokens=1 << 20, quadratic=1e-3)
    costs = [sum(lengths[i] + 1e-3 * lengths[i] ** 2 for forward in rank for i in forward) for rank in parts]
    assert max(costs) < 1.02 * min(costs)


def test_the_square_counts():
    """One long conversation costs as much as many short ones of more tokens together."""
    lengths = [1000] + [10] * 100
    by_tokens = balance(lengths, 2, max_tokens=10_000)
    by_cost = balance(lengths, 2, max_tokens=10_000, quadratic=1.0)
    assert sorted(len(rank[0]) for rank in by_tokens) == [1, 100]
    assert sorted(len(rank[0]) for rank in by_cost) == [1, 100]
    more = balance([100, 100] + [10] * 40, 2, max_tokens=10_000, quadratic=1.0)
    assert [sum([100, 100, *[10] * 40][i] for i in rank[0]) for rank in more] == [300, 300]


def test_squares_that_are_given_count_in_place_of_the_lengths():
    """Of equal lengths, the two whose attention is heavy are computed apart."""
    parts = balance([10] * 4, 2, max_tokens=100, quadratic=1.0, squares=[100, 50, 50, 100])
    assert sorted(rank[0] for rank in parts) == [[0, 1], [2, 3]]
    assert balance([10] * 4, 2, max_tokens=100, quadratic=1.0) == [[[0, 2]], [[1, 3]]]


def test_too_long_for_any_forward():
    with pytest.raises(
        CookbookError, match=r"101 tokens does not fit into one forward of 100 tokens \(data.micro_batch_size"
    ):
        balance([3, 101], 2, max_tokens=100)
