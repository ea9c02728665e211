"""From the conversations of one optimizer step to the tensors of each forward, without padding.

    lengths of the step's conversations
       | balance: heaviest first, each into the lightest forward that has room (LPT, Graham 1969)
       v
    dp ranks x forwards  ->  one row each:  [ conversation | conversation | ... ]   labels shifted inside each

Which conversations make a step is decided elsewhere (loader.py), by the seed alone; here only where each of them is
computed. Cost of a conversation of length L: L + quadratic * L^2 (everything linear in tokens, and attention); of answers
behind a shared beginning of P tokens, whose L_i do not see each other: P + sum L_i + quadratic * (P^2 + sum (L_i^2 + 2 L_i P)).

Shapes: B rows, T tokens. A packed batch has B = 1; the padded form has one conversation a row.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import Example

IGNORE_INDEX = -100


@dataclass(frozen=True)
class Batch:
    """One forward of one data-parallel rank."""

    input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64: the next token of the same document, or IGNORE_INDEX
    weights: torch.Tensor  # (B, T) fp32: loss weight of the label, 0 where there is none
    position_ids: torch.Tensor  # (B, T) int64: from 0 in every document
    cu_seqlens: tuple[int, ...] | None  # document boundaries of the whole packed row; None: one document a row
    rows: tuple[int, ...]  # which rows of the data, in order
    lengths: tuple[int, ...]  # their tokens, padding and tail left out; whole, also in a sequence-parallel slice
    continues = None  # each is a document of its own; answers may continue a prompt (reward/packing.py)

    def to(self, device: torch.device) -> "Batch":
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("input_ids", "labels", "weights", "position_ids")
        }
        return replace(self, **moved)


def balance(
    lengths: Sequence[int], ranks: int, *, max_tokens: int, max_rows: int | None = None, quadratic: float = 0.0,
    squares: Sequence[int] | None = None,
) -> list[list[list[int]]]:  # fmt: skip
    """Divide conversations over ranks and forwards: [rank][forward] -> positions in `lengths`, ascending.

    Every rank gets the same number of forwards, the fewest in which each holds at most max_tokens tokens (and max_rows
    conversations); costs are as equal as the heaviest-first rule makes them. A forward may be empty when conversations are
    fewer than ranks. squares: what stands for L^2 in each one's cost, where it is not a document of its own.
    """
    if max(lengths) > max_tokens:
        raise CookbookError(
            f"a conversation of {max(lengths)} tokens does not fit into one forward of {max_tokens} tokens "
            "(data.micro_batch_size x data.max_length): raise one of them."
        )
    squared = [n * n for n in lengths] if squares is None else squares
    costs = [n + quadratic * square for n, square in zip(lengths, squared, strict=True)]
    fewest = max(-(-sum(lengths) // (max_tokens * ranks)), -(-len(lengths) // (max_rows * ranks)) if max_rows else 1)
    for forwards in range(fewest, len(lengths) + 1):
        bins = _fill(lengths, costs, ranks * forwards, max_tokens, max_rows)
        if bins is not None:
            return _deal(bins, costs, ranks)
    raise AssertionError("one conversation a forward always fits")


def _fill(
    lengths: Sequence[int], costs: Sequence[float], count: int, max_tokens: int, max_rows: int | None
) -> list[list[int]] | None:
    bins: list[list[int]] = [[] for _ in range(count)]
    tokens = [0] * count
    heap = [(0.0, b) for b in range(count)]
    for i in sorted(range(len(lengths)), key=lambda i: (-costs[i], i)):
        full = []
        while heap:
            cost, b = heapq.heappop(heap)
            if tokens[b] + lengths[i] <= max_tokens and (max_rows is None or len(bins[b]) < max_rows):
                break
            full.append((cost, b))
        else:
            return None
        bins[b].append(i)
        tokens[b] += lengths[i]
        heapq.heappush(heap, (cost + costs[i], b))
        for item in full:
            heapq.heappush(heap, item)
    return [sorted(b) for b in bins]


def _deal(bins: list[list[int]], costs: Sequence[float], ranks: int) -> list[list[list[int]]]:
    """Forwards that run at the same time on different ranks get neighbours in cost, so that nobody waits long."""
    ordered = sorted(bins, key=lambda b: -sum(costs[i] for i in b))
    return [ordered[rank::ranks] for rank in range(ranks)]


def pack(examples: Sequence[Example], rows: Sequence[int], *, pad_id: int = 0, multiple: int = 1) -> Batch:
    """One row (1, T) of whole documents. T is rounded up to `multiple` (the sequence-parallel size) by a last document of
    pad_id that nothing learns from and nothing sees; an empty forward is such a document alone."""
    documents = [(np.asarray(e.input_ids), np.asarray(e.weights)) for e in examples]
    total = sum(len(ids) for ids, _ in documents)
    tail = multiple if not documents else -total % multiple
    if tail:
        documents.append((np.full(tail, pad_id), np.zeros(tail, np.float32)))
    ids = np.concatenate([ids for ids, _ in documents]).astype(np.int64)
    labels, weights = zip(*(shift(*document) for document in documents), strict=True)
    lengths = [len(ids) for ids, _ in documents]
    return Batch(
        input_ids=torch.from_numpy(ids)[None],
        labels=torch.from_numpy(np.concatenate(labels))[None],
        weights=torch.from_numpy(np.concatenate(weights))[None],
        position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))[None],
        cu_seqlens=tuple(int(n) for n in np.cumsum([0, *lengths])),
        rows=tuple(rows),
        lengths=tuple(lengths[: len(examples)]),
    )


def pad(examples: Sequence[Example], rows: Sequence[int], *, pad_id: int = 0, multiple: int = 1) -> Batch:
    """The padded form, to compare with: (B, T), one document a row, filled on the right to the longest."""
    singles = [pack([e], [r], pad_id=pad_id) for e, r in zip(examples, rows, strict=True)] or [pack([], [])]
    longest = max(b.input_ids.shape[1] for b in singles)
    width = -(-longest // multiple) * multiple

    def column(name: str, fill: float) -> torch.Tensor:
        tensors = [getattr(b, name) for b in singles]
        return torch.cat([torch.nn.functional.pad(t, (0, width - t.shape[1]), value=fill) for t in tensors])

    positions = torch.arange(width).expand(len(singles), width).contiguous()
    return Batch(
        input_ids=column("input_ids", pad_id),
        labels=column("labels", IGNORE_INDEX),
        weights=column("weights", 0.0),
        position_ids=positions,
        cu_seqlens=None,
        rows=tuple(rows),
        lengths=tuple(len(e.input_ids) for e in examples),
    )


def shift(ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets of one document: position t learns token t + 1 with that token's weight; the last position learns nothing."""
    labels = np.full(len(ids), IGNORE_INDEX, np.int64)
    moved = np.zeros(len(ids), np.float32)
    moved[:-1] = weights[1:]
    learned = moved > 0
    labels[:-1][learned[:-1]] = ids[1:][learned[:-1]]
    return labels, moved
