"""Which conversations make step s: a function of the seed and of s, and of nothing else.

    epoch e   order = permutation(seed, e)         (the rows as they are when shuffle is off)
    step s    order[s * batch_size : ...]          the last step of an epoch may hold fewer: no row is dropped

The loader keeps no state: resuming at step s, on any number of ranks, is asking for step s. How a step is divided over ranks
and forwards (packing.balance) never changes what it holds, so neither layout nor micro-batch size changes what is learned.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import Batch, balance, pack, pad


class Examples(Protocol):
    """Tokenised rows (data.tokenized.TokenSet)."""

    @property
    def lengths(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Example: ...


class Loader:
    """Batches for one data-parallel rank. `place` moves a batch to where it is computed (device, sequence shard)."""

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        max_tokens: int,
        max_rows: int | None = None,
        ranks: int = 1,
        rank: int = 0,
        multiple: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        padded: bool = False,
        pad_id: int = 0,
        quadratic: float = 0.0,
        place: Callable[[Batch], Batch] = lambda batch: batch,
    ) -> None:
        self.examples, self.batch_size, self.seed, self.shuffle = examples, batch_size, seed, shuffle
        self.max_tokens, self.max_rows, self.ranks, self.rank = max_tokens, max_rows, ranks, rank
        self.multiple, self.pad_id, self.quadratic, self.place = multiple, pad_id, quadratic, place
        self.collate = pad if padded else pack
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of step `step` (from 0), the whole world's."""
        epoch, s = divmod(step, self.steps_per_epoch)
        return self._epoch_order(epoch)[s * self.batch_size : (s + 1) * self.batch_size]

    def layout(self, step: int) -> list[list[list[int]]]:
        """[rank][forward] -> row numbers: how the step is divided over the world (for a picture, and for `step`)."""
        rows = self.rows(step)
        lengths = [int(n) for n in self.examples.lengths[rows]]
        parts = balance(
            lengths, self.ranks, max_tokens=self.max_tokens, max_rows=self.max_rows, quadratic=self.quadratic
        )
        return [[[int(rows[i]) for i in forward] for forward in rank] for rank in parts]

    def forwards(self, step: int) -> list[tuple[int, int, list[int]]]:
        """(rank, forward, tokens of each conversation) of the whole world's step, for a picture."""
        lengths = self.examples.lengths
        return [
            (rank, number, [int(lengths[row]) for row in rows])
            for rank, part in enumerate(self.layout(step))
            for number, rows in enumerate(part)
        ]

    def positions(self, lengths: list[int]) -> int:
        """Positions that a forward over documents of these lengths computes."""
        width, count = (
            (max(lengths, default=1), max(len(lengths), 1)) if self.collate is pad else (max(sum(lengths), 1), 1)
        )
        return -(-width // self.multiple) * self.multiple * count

    def step(self, step: int) -> list[Batch]:
        """This rank's forwards of one optimizer step; every rank gets the same number."""
        return [self._batch(rows) for rows in self.layout(step)[self.rank]]

    def epoch(self) -> Iterator[Batch]:
        """Every row once, in forwards of equal number on every rank: validation."""
        for step in range(self.steps_per_epoch):
            yield from self.step(step)

    def _batch(self, rows: list[int]) -> Batch:
        examples = [self.examples[row] for row in rows]
        return self.place(self.collate(examples, rows, pad_id=self.pad_id, multiple=self.multiple))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            n = len(self.examples)
            order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
            self._order = (epoch, order)
        return self._order[1]
