"""The loader: a step's rows depend on the seed and the step alone, and every row is met once an epoch."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from cookbook_lib.data.loader import Loader
from cookbook_lib.data.masking import Example


class Rows:
    """Tokenised rows in memory; row i begins with token i."""

    def __init__(self, count: int = 50) -> None:
        random = np.random.default_rng(0)
        self.rows = [np.r_[i, random.integers(1, 99, random.integers(1, 40))].astype(np.int32) for i in range(count)]
        self.lengths = np.array([len(row) for row in self.rows], np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Example:
        return Example(self.rows[i], np.ones(len(self.rows[i]), np.float32))


ROWS = Rows()


def loader(**options) -> Loader:
    return Loader(ROWS, **({"batch_size": 8, "max_tokens": 100} | options))


def rows_of(batches) -> list[int]:
    return [row for batch in batches for row in batch.rows]


def test_every_step_is_full_and_every_row_is_met_once_an_epoch():
    one = loader()
    assert (one.steps(1), one.steps(4)) == (7, 25)
    steps = [rows_of(one.step(s)) for s in range(25)]
    assert {len(step) for step in steps} == {8}
    stream = list(chain(*(one.rows(s).tolist() for s in range(25))))
    assert all(sorted(stream[e * 50 : (e + 1) * 50]) == list(range(50)) for e in range(4))


def test_validation_meets_every_row_once_in_order():
    assert sorted(rows_of(loader().epoch())) == list(range(50))
    assert sorted(rows_of(loader(batch_size=1000).epoch())) == list(range(50))


def test_a_batch_larger_than_the_data_is_all_of_it():
    assert sorted(loader(batch_size=80).rows(3)) == list(range(50))


@pytest.mark.parametrize(
    "layout", [{"max_tokens": 64}, {"max_rows": 1}, {"quadratic": 0.1}, {"multiple": 4}, {"padded": True}, {"ranks": 3}]
)
def test_the_layout_never_changes_what_a_step_holds(layout):
    plain = loader()
    for step in (0, 3, 6, 9):
        ranks = layout.get("ranks", 1)
        batches = [loader(**layout, rank=rank).step(step) for rank in range(ranks)]
        assert sorted(rows_of(chain(*batches))) == sorted(plain.rows(step).tolist())
        assert len({len(b) for b in batches}) == 1


def test_a_step_can_be_asked_for_in_any_order():
    one, other = loader(), loader()
    forwards = [one.rows(s).tolist() for s in range(20)]
    assert [other.rows(s).tolist() for s in reversed(range(20))] == forwards[::-1]


def test_epochs_and_seeds_differ_and_repeat():
    orders = {
        (seed, epoch): tuple(r for s in range(5) for r in loader(seed=seed, batch_size=10).rows(epoch * 5 + s))
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert tuple(r for s in range(5) for r in loader(seed=2, batch_size=10).rows(5 + s)) == orders[2, 1]


def test_unshuffled_is_the_file_s_order():
    one = loader(shuffle=False)
    assert np.concatenate([one.rows(s) for s in range(25)]).tolist() == list(range(50)) * 4


@pytest.mark.parametrize("padded", [False, True])
def test_batches_hold_the_rows_they_name(padded):
    for batch in loader(padded=padded, multiple=4).step(2):
        rows = batch.input_ids if padded else batch.input_ids[0].tensor_split(batch.cu_seqlens[1:-1])
        for row, n, ids in zip(batch.rows, batch.lengths, rows, strict=False):
            assert ids[:n].tolist() == ROWS.rows[row].tolist()


@pytest.mark.parametrize("padded", [False, True])
def test_positions_are_what_a_forward_computes(padded):
    one = loader(
        padded=padded, multiple=8, batch_size=3, ranks=4
    )  # fewer rows than ranks: one of them computes nothing real
    for batch in one.step(0) + loader(padded=padded, multiple=8, batch_size=3, ranks=4, rank=3).step(0):
        assert one.positions(list(batch.rows)) == batch.input_ids.numel()


def test_layout_is_what_each_rank_computes():
    loaders = [loader(ranks=2, rank=rank) for rank in range(2)]
    for rank, one in enumerate(loaders):
        assert [list(batch.rows) for batch in one.step(1)] == loaders[0].layout(1)[rank]


def test_place_moves_every_batch():
    assert all(batch.rows == (-1,) for batch in loader(place=lambda batch: replace(batch, rows=(-1,))).step(0))
