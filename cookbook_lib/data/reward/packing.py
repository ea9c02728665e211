"""From the candidates of one forward to its tensors: answers side by side, behind the beginning that they share.

    packed    | prompt | chosen | rejected | prompt | chosen | rejected |          one row, nothing twice, no padding
    continues   -1       0        0          -1       3        3
    ends                        ^          ^                 ^          ^          where each answer's score is read

    padded    | prompt chosen   . . |     one row an answer, to compare with
              | prompt rejected     |

Shapes: B rows, T tokens, U units (pairs or responses), k answers each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.data.reward.candidates import Candidates


@dataclass(frozen=True)
class CandidateBatch:
    """One forward of one data-parallel rank."""

    input_ids: torch.Tensor  # (B, T) int64
    position_ids: torch.Tensor  # (B, T) int64: from 0 in every conversation, also behind a shared beginning
    cu_seqlens: tuple[int, ...] | None  # boundaries of the whole packed row; None: one conversation a row
    continues: tuple[int, ...] | None  # the segment that each one continues, -1 for none
    ends: NDArray[np.int64]  # (U, k, 2): row and column of each answer's last token, in the whole batch
    targets: NDArray[np.float32]  # (U, A): Candidates.targets
    rows: tuple[int, ...]  # which rows of the data, in order
    lengths: tuple[int, ...]  # tokens of the segments, padding and tail left out

    def to(self, device: torch.device) -> "CandidateBatch":
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("input_ids", "position_ids")}
        return replace(self, **moved)


@dataclass(frozen=True)
class Layout:
    """Segments of one packed row, side by side."""

    segments: list[NDArray[np.int32]]
    positions: list[NDArray[np.int64]]
    continues: list[int]
    ends: list[list[int]]  # for each example: the column of each answer's last token

    @classmethod
    def of(cls, examples: Sequence[Candidates]) -> "Layout":
        """The examples in order, each answer behind what it shares; they may have different numbers of answers."""
        made, place = cls([], [], [], []), 0
        for example in examples:
            first, after = len(made.segments), len(example.shared)
            if after:
                made.add(example.shared, 0, -1)
            for rest in example.rests:
                made.add(rest, after, first if after else -1)
            lasts = np.cumsum([place + after, *map(len, example.rests)])[1:] - 1
            made.ends.append(lasts.tolist())
            place += after + sum(map(len, example.rests))
        return made

    def add(self, segment: NDArray[np.int32], position: int, continues: int) -> None:
        """One segment more, whose first token is at `position` of its conversation."""
        self.segments.append(segment)
        self.positions.append(np.arange(position, position + len(segment)))
        self.continues.append(continues)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(len(segment) for segment in self.segments)

    @property
    def cu_seqlens(self) -> tuple[int, ...]:
        return tuple(int(n) for n in np.cumsum([0, *self.lengths]))

    @property
    def input_ids(self) -> torch.Tensor:
        """(1, T) int64"""
        return torch.from_numpy(np.concatenate(self.segments).astype(np.int64))[None]

    @property
    def position_ids(self) -> torch.Tensor:
        """(1, T) int64"""
        return torch.from_numpy(np.concatenate(self.positions))[None]


def pack_candidates(
    examples: Sequence[Candidates], rows: Sequence[int], *, pad_id: int = 0, multiple: int = 1
) -> CandidateBatch:
    """One row (1, T), T rounded up to `multiple` by a last document of pad_id that nothing sees; alone if there is no other."""
    layout = Layout.of(examples)
    lengths = layout.lengths
    if tail := multiple if not lengths else -sum(lengths) % multiple:
        layout.add(np.full(tail, pad_id, np.int32), 0, -1)
    return CandidateBatch(
        input_ids=layout.input_ids,
        position_ids=layout.position_ids,
        cu_seqlens=layout.cu_seqlens,
        continues=tuple(layout.continues) if max(layout.continues) >= 0 else None,
        ends=_ends([[(0, last) for last in lasts] for lasts in layout.ends]),
        targets=_targets(examples),
        rows=tuple(rows),
        lengths=lengths,
    )


def pad_candidates(
    examples: Sequence[Candidates], rows: Sequence[int], *, pad_id: int = 0, multiple: int = 1
) -> CandidateBatch:
    """The padded form, to compare with: (B, T), one conversation a row, filled on the right to the longest."""
    whole = [[np.concatenate([e.shared, rest]) for rest in e.rests] for e in examples]
    documents = [document for answers in whole for document in answers]
    longest = max(map(len, documents), default=1)
    width = -(-longest // multiple) * multiple
    ids = np.full((max(len(documents), 1), width), pad_id, np.int64)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = document
    numbers = iter(range(len(documents)))
    return CandidateBatch(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.arange(width).expand(len(ids), width).contiguous(),
        cu_seqlens=None,
        continues=None,
        ends=_ends([[(next(numbers), len(document) - 1) for document in answers] for answers in whole]),
        targets=_targets(examples),
        rows=tuple(rows),
        lengths=tuple(map(len, documents)),
    )


def _ends(places: list[list[tuple[int, int]]]) -> NDArray[np.int64]:
    return np.array(places, np.int64) if places else np.zeros((0, 0, 2), np.int64)


def _targets(examples: Sequence[Candidates]) -> NDArray[np.float32]:
    return np.stack([e.targets for e in examples]) if examples else np.zeros((0, 0), np.float32)
