"""Which conversations make step s: a function of the seed and of s, and of nothing else.

    stream    permutation(seed, 0), permutation(seed, 1), ...       (the rows in their own order when shuffle is off)
    step s    stream[s * batch_size : (s + 1) * batch_size]

Every step holds batch_size conversations, across the seams between epochs: a short last step would give each of its few
conversations many times the say of any other. No row is dropped, and none is met an (n + 1)th time before all were n times.

The loader keeps no state: resuming at step s, on any number of ranks, is asking for step s. How a step is divided over ranks
and forwards (packing.balance) never changes what it holds, so neither layout nor micro-batch size changes what is learned.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cookbook_lib.data.packing import balance, pack, pad

Collate = Callable[..., Any]  # (examples, rows, *, pad_id, multiple) -> a batch


class Examples(Protocol):
    """Tokenised rows: data.token_set.TokenSet, data.reward.candidates.CandidateSet."""

    @property
    def lengths(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Any: ...


def squares(examples: Examples) -> np.ndarray:
    """What stands for L^2 in the cost of each row, (n,): its own figure where it is not a document of its own."""
    found: np.ndarray | None = getattr(examples, "squares", None)
    return examples.lengths**2 if found is None else found


@dataclass(frozen=True)
class Load:
    """What one forward has to do."""

    tokens: int
    positions: int  # computed: tokens and padding
    cost: float


class Batches(Protocol):
    """What a run asks of whoever makes its batches: a Loader, or answers made on the way (training/rollouts)."""

    batch_size: int  # rows of a step
    pieces: int  # into which a step can be divided over ranks: its rows, or the completions of its prompts
    max_tokens: int  # of a forward
    max_rows: int | None
    quadratic: float

    @property
    def examples(self) -> Any: ...
    def steps(self, epochs: float) -> int: ...
    def rows(self, step: int) -> np.ndarray: ...
    def loads(self, step: int) -> list[list[Load]]: ...
    def step(self, step: int) -> list[Any]: ...
    def epoch(self, done: int = 0) -> Iterator[Any]: ...
    def facts(self) -> dict[str, Any]: ...
    def recall(self, facts: dict[str, Any]) -> None: ...


class Loader:
    """Batches for one data-parallel rank. `place` moves a batch to where it is computed (device, sequence shard).

    collate: makes the tensors of one forward, (packed, padded); by default those of conversations.
    """

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
        collate: tuple[Collate, Collate] = (pack, pad),
        pad_id: int = 0,
        quadratic: float = 0.0,
        place: Callable[[Any], Any] = lambda batch: batch,
    ) -> None:
        self.examples, self.seed, self.shuffle = examples, seed, shuffle
        self.batch_size = self.pieces = min(batch_size, len(examples))  # a step never holds a row twice within an epoch
        self.max_tokens, self.max_rows, self.ranks, self.rank = max_tokens, max_rows, ranks, rank
        self.multiple, self.pad_id, self.quadratic, self.place = multiple, pad_id, quadratic, place
        self.padded, self.collate = padded, collate[padded]
        self._orders: dict[int, np.ndarray] = {}  # of the epochs that the last steps touched

    def steps(self, epochs: float) -> int:
        """Steps in which every row is met `epochs` times, at least."""
        return math.ceil(epochs * len(self.examples) / self.batch_size)

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of step `step` (from 0), the whole world's."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, len(self.examples))
        parts = [self._epoch_order(int(epoch))[within[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def layout(self, step: int) -> list[list[list[int]]]:
        """[rank][forward] -> row numbers: how the step is divided over the world (for a picture, and for `step`)."""
        return self._divide(self.rows(step))

    def _divide(self, rows: np.ndarray) -> list[list[list[int]]]:
        parts = balance(
            self.examples.lengths[rows].tolist(), self.ranks, max_tokens=self.max_tokens, max_rows=self.max_rows,
            quadratic=self.quadratic, squares=squares(self.examples)[rows].tolist(),
        )  # fmt: skip
        return [[[int(rows[i]) for i in forward] for forward in rank] for rank in parts]

    def forwards(self, step: int) -> list[tuple[int, int, list[int]]]:
        """(rank, forward, tokens of each conversation) of the whole world's step, for a picture."""
        lengths = self.examples.lengths
        return [
            (rank, number, [int(lengths[row]) for row in rows])
            for rank, part in enumerate(self.layout(step))
            for number, rows in enumerate(part)
        ]

    def loads(self, step: int) -> list[list[Load]]:
        """[rank][forward] of the whole world's step."""
        lengths = self.examples.lengths
        costs = lengths + self.quadratic * squares(self.examples)
        return [
            [Load(int(lengths[rows].sum()), self.positions(rows), float(costs[rows].sum())) for rows in rank]
            for rank in self.layout(step)
        ]

    def positions(self, rows: list[int]) -> int:
        """Positions that a forward over these rows computes."""
        if self.padded:
            documents = np.atleast_1d(getattr(self.examples, "document_lengths", self.examples.lengths)[rows])
            width, count = int(documents.max(initial=1)), max(documents.size, 1)
        else:
            width, count = max(int(self.examples.lengths[rows].sum()), 1), 1
        return -(-width // self.multiple) * self.multiple * count

    def step(self, step: int) -> list[Any]:
        """This rank's forwards of one optimizer step; every rank gets the same number."""
        return [self._batch(rows) for rows in self.layout(step)[self.rank]]

    def epoch(self, done: int = 0) -> Iterator[Any]:
        """Every row once, in the file's order, in forwards of equal number on every rank: validation. done: optimizer steps
        that the model has had, for whoever keeps what it made (training/rollouts); the same here."""
        for start in range(0, len(self.examples), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.examples)))
            yield from map(self._batch, self._divide(rows)[self.rank])

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: nothing, the rows of a step are a function of the step and the seed."""
        return {}

    def recall(self, facts: dict[str, Any]) -> None:
        """Take up the facts that a checkpoint kept."""

    def _batch(self, rows: list[int]) -> Any:
        examples = [self.examples[row] for row in rows]
        return self.place(self.collate(examples, rows, pad_id=self.pad_id, multiple=self.multiple))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            n = len(self.examples)
            order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1} | {epoch: order}
        return self._orders[epoch]
