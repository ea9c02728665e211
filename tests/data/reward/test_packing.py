"""Packed candidates: no token lost or computed twice, every end at its answer's last token, in either form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.data.loader import Loader
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import pack_candidates, pad_candidates

PAD = 999
ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(1, 6)), max_size=6)


def candidates(shared: int, *rests: int) -> Candidates:
    """Tokens that tell their place: all of them different within a row, and none of them PAD."""
    ids = np.arange(1, 1 + shared + sum(rests), dtype=np.int32)
    begin, *parts = np.split(ids, np.cumsum([shared, *rests])[:-1])
    return Candidates(begin, tuple(parts), np.array([shared, 1.0], np.float32))


def documents(examples: list[Candidates]) -> list[list[list[int]]]:
    """(U, k): the whole conversation of each answer."""
    return [[[*e.shared.tolist(), *rest.tolist()] for rest in e.rests] for e in examples]


def seen_from(batch, row: int, column: int) -> list[int]:
    """The tokens that the one at this place sees, itself the last: its segment's, behind those of the one it continues."""
    ids = batch.input_ids[row].tolist()
    if batch.cu_seqlens is None:
        return ids[: column + 1]
    bounds = batch.cu_seqlens
    segment = int(np.searchsorted(bounds, column, side="right")) - 1
    root = -1 if batch.continues is None else batch.continues[segment]
    before = ids[bounds[root] : bounds[root + 1]] if root >= 0 else []
    return before + ids[bounds[segment] : column + 1]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, multiple=st.sampled_from([1, 2, 8]), form=st.sampled_from([pack_candidates, pad_candidates]))
def test_every_end_sees_its_whole_conversation_and_nothing_else(rows, multiple, form):
    examples = [candidates(*row) for row in rows]
    batch = form(examples, range(50, 50 + len(rows)), pad_id=PAD, multiple=multiple)
    assert batch.input_ids.shape == batch.position_ids.shape
    assert batch.input_ids.shape[1] % multiple == 0
    assert batch.rows == tuple(range(50, 50 + len(rows)))
    assert len(batch.ends) == len(batch.targets) == len(rows)
    for unit, answers in zip(batch.ends.tolist(), documents(examples), strict=True):
        for (row, column), document in zip(unit, answers, strict=True):
            assert seen_from(batch, row, column) == document
            assert int(batch.position_ids[row, column]) == len(document) - 1
    assert batch.targets[:, :1].tolist() == [[float(row[0])] for row in rows]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, multiple=st.sampled_from([1, 2, 8]))
def test_the_packed_row_holds_every_token_once(rows, multiple):
    examples = [candidates(*row) for row in rows]
    batch = pack_candidates(examples, range(len(rows)), pad_id=PAD, multiple=multiple)
    tokens = [token for e in examples for part in (e.shared, *e.rests) for token in part.tolist()]
    assert batch.input_ids.shape[0] == 1
    assert batch.input_ids[0, : len(tokens)].tolist() == tokens
    assert batch.input_ids[0, len(tokens) :].eq(PAD).all()
    assert batch.input_ids.shape[1] - len(tokens) < multiple or not tokens
    assert batch.cu_seqlens[0] == 0 and batch.cu_seqlens[-1] == batch.input_ids.shape[1]
    assert all(a < b for a, b in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)), "no segment is empty"
    assert sum(batch.lengths) == len(tokens)
    assert (batch.continues is None) == all(row[0] == 0 for row in rows)


def test_by_hand():
    batch = pack_candidates([candidates(3, 2, 1), candidates(0, 2, 2)], [7, 4], pad_id=PAD, multiple=4)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 1, 2, 3, 4, PAD, PAD]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 0, 1, 0, 1]]
    assert batch.cu_seqlens == (0, 3, 5, 6, 8, 10, 12)
    assert batch.continues == (-1, 0, 0, -1, -1, -1)
    assert batch.ends.tolist() == [[[0, 4], [0, 5]], [[0, 7], [0, 9]]]
    assert (batch.rows, batch.lengths) == ((7, 4), (3, 2, 1, 2, 2))
    padded = pad_candidates([candidates(3, 2, 1), candidates(0, 2, 2)], [7, 4], pad_id=PAD, multiple=3)
    assert padded.input_ids.tolist() == [
        [1, 2, 3, 4, 5, PAD], [1, 2, 3, 6, PAD, PAD], [1, 2, PAD, PAD, PAD, PAD], [3, 4, PAD, PAD, PAD, PAD],
    ]  # fmt: skip
    assert padded.ends.tolist() == [[[0, 4], [1, 3]], [[2, 1], [3, 1]]]
    assert (padded.cu_seqlens, padded.continues, padded.lengths) == (None, None, (5, 4, 2, 2))


@pytest.mark.parametrize("form", [pack_candidates, pad_candidates])
@pytest.mark.parametrize("multiple", [1, 4])
def test_an_empty_forward_computes_something_and_scores_nothing(form, multiple):
    batch = form([], [], pad_id=PAD, multiple=multiple)
    assert batch.input_ids.tolist() == [[PAD] * multiple]
    assert batch.input_ids.dtype == batch.position_ids.dtype == torch.int64
    assert batch.ends.shape == (0, 0, 2) and batch.targets.shape == (0, 0)
    assert (batch.rows, batch.lengths, batch.continues) == ((), (), None)


class Rows(list):
    """Candidates in memory, as a Loader wants them."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(e.shared) + sum(map(len, e.rests)) for e in self])

    @property
    def document_lengths(self) -> np.ndarray:
        return np.array([[len(e.shared) + len(rest) for rest in e.rests] for e in self])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_loader_s_step_holds_every_row_once_and_says_how_many_positions_it_computes(padded, ranks):
    examples = Rows(candidates(n % 4, 1 + n % 3, 2) for n in range(10))
    seen, computed = [], []
    for rank in range(ranks):
        loader = Loader(
            examples, batch_size=10, max_tokens=24, ranks=ranks, rank=rank, multiple=2, padded=padded,
            collate=(pack_candidates, pad_candidates),
        )  # fmt: skip
        for batch, rows in zip(loader.step(0), loader.layout(0)[rank], strict=True):
            seen += batch.rows
            assert batch.input_ids.numel() == loader.positions(rows)
            computed.append(batch.input_ids.numel())
    assert sorted(seen) == list(range(10))
    assert len(computed) > 1
