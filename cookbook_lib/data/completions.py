"""From the completions of one forward to its tensors: side by side, behind the prompt that they share.

    packed     | prompt q r | a b c | d e |        one row, the prompt once, no padding
    column       0      1 2   3 4 5   6 7
    continues   -1            0       0
    targets                   a b c   d e          N of them
    sources                   2 3 4   2 6          whose hidden state predicts each: the prompt's last one, for every first
    completion                0 0 0   1 1

    padded     | prompt q r a b c |  one row a completion, to compare with
               | prompt q r d e . |

Everything that reinforcement learning adds is a number a token (COLUMNS) or a number a completion (stats): what either means
is settled before, so that a forward may hold any groups, or parts of them.

Shapes: B rows, T tokens, C completions, N tokens of completions, P tokens of a prompt, L of a completion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward.packing import Layout

NEEDED = ("advantages", "old_logps")
COLUMNS = (*NEEDED, "ref_logps", "rollout_logps", "returns", "old_values")  # of a group; numbers for each token
ROUND = "round_"  # begins the name of a number of the whole round, of all its completions, also those left out
ROUND_WEIGHT = "round_weight"  # completions that the round asked for, for each that is learned from
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """One prompt and what was answered to it."""

    row: int  # of the prompts
    prompt: NDArray[np.int32]  # (P,)
    completions: tuple[NDArray[np.int32], ...]  # (L,) each, ending in the stop token where finished
    finished: tuple[bool, ...]
    number: int = 0  # of the group in its round
    columns: Mapping[str, tuple[Numbers, ...]] = field(default_factory=dict)  # COLUMNS -> (L,) for each completion
    stats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # name -> one number for each completion

    def __post_init__(self) -> None:
        if not len(self.prompt) or not self.lengths or not min(self.lengths):
            raise CookbookError(f"{self._name}: a prompt and each of at least one completions have at least one token.")
        counts = {"finished": len(self.finished)} | {name: len(numbers) for name, numbers in self.stats.items()}
        if wrong := {name: count for name, count in counts.items() if count != len(self.completions)}:
            raise CookbookError(f"{self._name}: {len(self.completions)} completions, and numbers for others: {wrong}.")
        for name, column in self.columns.items():
            if name not in COLUMNS or tuple(map(len, column)) != self.lengths:
                raise CookbookError(
                    f"{self._name}: column {name!r} has {tuple(map(len, column))} numbers for completions of {self.lengths} tokens; "
                    f"columns are {', '.join(COLUMNS)}, with one number a token."
                )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each completion."""
        return tuple(len(ids) for ids in self.completions)

    @property
    def tokens(self) -> int:
        """Of the packed form: the prompt once."""
        return len(self.prompt) + sum(self.lengths)

    @property
    def squares(self) -> int:
        """Pairs of tokens that see each other, both ways: what stands for L^2 in the cost of a packed group."""
        prompt = len(self.prompt)
        return prompt * prompt + sum(n * (n + 2 * prompt) for n in self.lengths)

    def take(self, numbers: Sequence[int]) -> "Group":
        """The same group with these of its completions."""
        return replace(
            self,
            completions=tuple(self.completions[i] for i in numbers),
            finished=tuple(self.finished[i] for i in numbers),
            columns={name: tuple(column[i] for i in numbers) for name, column in self.columns.items()},
            stats={name: tuple(of[i] for i in numbers) for name, of in self.stats.items()},
        )

    @property
    def _name(self) -> str:
        return f"group {self.number} (prompt {self.row})"


@dataclass(frozen=True)
class CompletionBatch:
    """One forward of one data-parallel rank. All but (B, T) stays on the CPU, and tells of the whole row."""

    input_ids: torch.Tensor  # (B, T) int64
    position_ids: torch.Tensor  # (B, T) int64: from 0 in every conversation, also behind a shared prompt
    cu_seqlens: tuple[int, ...] | None  # boundaries of the whole packed row; None: one conversation a row
    continues: tuple[int, ...] | None  # the segment that each one continues, -1 for none
    sources: torch.Tensor  # (N,) int64: row * T + column, in the whole batch, whose hidden state predicts the target
    targets: torch.Tensor  # (N,) int64
    completion: torch.Tensor  # (N,) int64: which of this batch's completions, ascending from 0
    advantages: torch.Tensor  # (N,) fp32; NaN until a round has them, and likewise old_logps
    old_logps: torch.Tensor  # (N,) fp32: of the policy that answered, by the training's own forward
    ref_logps: torch.Tensor | None  # (N,) fp32: of the reference
    rollout_logps: torch.Tensor | None  # (N,) fp32: as the generator had them when it drew
    returns: torch.Tensor | None  # (N,) fp32: what the critic learns
    old_values: torch.Tensor | None  # (N,) fp32: what it said when the round was made
    group: torch.Tensor  # (C,) int64: number in the round
    stats: dict[str, torch.Tensor]  # (C,) fp32 each: reward, parsed, length, finished, ...
    rows: tuple[int, ...]  # which prompts, in order
    lengths: tuple[int, ...]  # tokens of the segments, padding and tail left out

    def to(self, device: torch.device) -> "CompletionBatch":
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("input_ids", "position_ids")}
        return replace(self, **moved)


def pack_completions(
    groups: Sequence[Group], *, pad_id: int = 0, multiple: int = 1, like: Group | None = None
) -> CompletionBatch:
    """One row (1, T), T rounded up to `multiple` by a last document of pad_id that nothing sees; alone if there is no other.

    like: any group of the round: an empty forward has its columns and stats, without entries.
    """
    layout, sources, place = Layout([], [], [], []), [], 0
    for group in groups:
        last = place + len(group.prompt) - 1
        place = last + 1
        for ids in group.completions:
            sources.append(np.concatenate([[last], np.arange(place, place + len(ids) - 1)]))
            place += len(ids)
        _lay(group, layout)
    lengths = layout.lengths
    if tail := multiple if not lengths else -place % multiple:
        layout.add(np.full(tail, pad_id, np.int32), 0, -1)
    return CompletionBatch(
        input_ids=layout.input_ids,
        position_ids=layout.position_ids,
        cu_seqlens=layout.cu_seqlens,
        continues=tuple(layout.continues) if max(layout.continues) >= 0 else None,
        lengths=lengths,
        **_numbers(groups, sources, like),
    )


def _lay(group: Group, layout: Layout) -> None:
    first, after = len(layout.segments), len(group.prompt)
    if len(group.completions) == 1:  # a plain document: there is nothing to share
        layout.add(np.concatenate([group.prompt, group.completions[0]]), 0, -1)
        return
    layout.add(group.prompt, 0, -1)
    for ids in group.completions:
        layout.add(ids, after, first)


def pad_completions(
    groups: Sequence[Group], *, pad_id: int = 0, multiple: int = 1, like: Group | None = None
) -> CompletionBatch:
    """The padded form, to compare with: (B, T), one completion a row behind its prompt, filled on the right to the longest."""
    documents = [(group.prompt, ids) for group in groups for ids in group.completions]
    lengths = tuple(len(prompt) + len(ids) for prompt, ids in documents)
    width = -(-max(lengths, default=1) // multiple) * multiple
    rows = np.full((max(len(documents), 1), width), pad_id, np.int64)
    for number, document in enumerate(documents):
        rows[number, : lengths[number]] = np.concatenate(document)
    before = [number * width + len(prompt) - 1 for number, (prompt, _) in enumerate(documents)]
    sources = [start + np.arange(len(ids)) for start, (_, ids) in zip(before, documents, strict=True)]
    return CompletionBatch(
        input_ids=torch.from_numpy(rows),
        position_ids=torch.arange(width).expand(len(rows), width).contiguous(),
        cu_seqlens=None,
        continues=None,
        lengths=lengths,
        **_numbers(groups, sources, like),
    )


def _numbers(groups: Sequence[Group], sources: Sequence[NDArray[np.int64]], like: Group | None) -> dict[str, Any]:
    """The fields that are the same in both forms but for where the sources are."""
    completions = [ids for group in groups for ids in group.completions]
    like = groups[0] if groups else like
    names = sorted(like.stats) if like else []
    return {
        "sources": _joined(sources, np.int64),
        "targets": _joined(completions, np.int64),
        "completion": _joined([np.full(len(ids), i) for i, ids in enumerate(completions)], np.int64),
        "group": _joined([np.full(len(group.completions), group.number) for group in groups], np.int64),
        "stats": {name: _joined([np.asarray(group.stats[name]) for group in groups], np.float32) for name in names},
        "rows": tuple(group.row for group in groups),
    } | {name: _column(groups, name, like) for name in COLUMNS}


def _column(groups: Sequence[Group], name: str, like: Group | None) -> torch.Tensor | None:
    if like is None or name not in like.columns:
        tokens = sum(sum(group.lengths) for group in groups)
        return torch.full((tokens,), torch.nan) if name in NEEDED else None
    return _joined([numbers for group in groups for numbers in group.columns[name]], np.float32)


def _joined(parts: Sequence[NDArray[Any]], dtype: type) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype))
