"""Tokenised conversations on disk, opened in microseconds by as many processes as like, and never loaded whole.

    <cache>/<fingerprint>/  ids.i32  weights.f32  roles.u8     all tokens of all rows, end to end
                            offsets.npy                        row i is tokens offsets[i] .. offsets[i + 1]
                            meta.json                          options, counts, and what was dropped and why

A folder is written under a temporary name and renamed when it is complete, so that whoever sees it sees all of it. When
two processes build the same one, the first rename wins and the other opens that: the fingerprint says they are equal.
"""

import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import Example

COLUMNS: dict[str, type] = {"ids.i32": np.int32, "weights.f32": np.float32, "roles.u8": np.uint8}
SHOWN_PER_REASON = 3


@dataclass(frozen=True)
class Block:
    """Some rows encoded, in order: their tokens end to end, and what became of the rows that are not among them."""

    columns: tuple[NDArray[Any], ...]  # as in COLUMNS: token ids first
    lengths: list[int]
    dropped: list[tuple[str, str]]  # reason, sentence
    learned: int  # tokens of which something is learned

    @staticmethod
    def of(
        rows: Sequence[tuple[Any, ...]], columns: Mapping[str, type], learned: int, dropped: list[tuple[str, str]]
    ) -> "Block":
        """`rows`: for each row its arrays, one for each column."""
        arrays = zip(*rows, strict=True) if rows else [[np.array([], dtype)] for dtype in columns.values()]
        return Block(
            tuple(np.concatenate(column) for column in arrays), [len(row[0]) for row in rows], dropped, learned
        )

    @property
    def rows(self) -> int:
        return len(self.lengths) + len(self.dropped)


@dataclass(frozen=True)
class TokenSet:
    """Examples in the order of their rows; `lengths` and `dropped` without reading them."""

    folder: Path
    meta: dict[str, Any]
    offsets: NDArray[np.int64]
    columns: tuple[NDArray[Any], ...] = field(repr=False)

    @staticmethod
    def open(folder: Path, columns: Mapping[str, type] = COLUMNS) -> "TokenSet":
        """Open a finished folder. Raises CookbookError when its files do not fit together."""
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            offsets = np.load(folder / "offsets.npy")
            arrays = tuple(np.memmap(folder / name, dtype, mode="r") for name, dtype in columns.items())
        except (OSError, ValueError) as error:
            raise CookbookError(f"the token cache {folder} cannot be read ({error}); delete that folder.") from None
        tokens, rows = int(offsets[-1]), len(offsets) - 1
        if len(arrays[0]) != tokens or any(len(a) != tokens and (columns is COLUMNS or len(a) % rows) for a in arrays):
            raise CookbookError(f"the token cache {folder} is damaged (files of unequal length); delete that folder.")
        return TokenSet(folder, meta, offsets, arrays)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Example:
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        start, end = self.offsets[i % len(self)], self.offsets[i % len(self) + 1]
        return Example(*(np.array(column[start:end]) for column in self.columns))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, (n,)."""
        return np.diff(self.offsets)

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return {reason: entry["count"] for reason, entry in self.meta["dropped"].items()}

    @property
    def largest_id(self) -> int:
        """The largest token id of all rows: a model needs more embeddings than that."""
        return int(self.meta["largest"])

    @property
    def fingerprint(self) -> str:
        """Equal for equal rows, tokenizer, template and options: the name of its folder."""
        return str(self.meta["fingerprint"])

    def report(self) -> str:
        """What was kept, what was dropped, why, and where the first of each kind are."""
        meta, tokens = self.meta, int(self.offsets[-1])
        lines = [
            f"{len(self):,} rows, {tokens:,} tokens, {meta['learned']:,} of them learned ({meta['learned'] / tokens:.1%})"
        ]
        for reason, entry in meta["dropped"].items():
            lines += [f"{entry['count']:,} dropped: {reason}"] + [f"    {sentence}" for sentence in entry["first"]]
        return "\n".join(lines)


class TokenWriter:
    """Writes blocks to a folder that appears, whole, at `finish`; as a context it leaves nothing behind when that fails."""

    def __init__(self, cache_dir: Path, columns: Mapping[str, type] = COLUMNS):
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            self.scratch = Path(tempfile.mkdtemp(dir=cache_dir, prefix=".tokens-"))
        except OSError as error:
            raise CookbookError(
                f"the token cache {cache_dir} cannot be written ({error.strerror}); set data.cache_dir."
            ) from None
        self.files = [(self.scratch / name).open("wb") for name in columns]
        self.lengths: list[int] = []
        self.learned = self.largest = 0
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = defaultdict(list)

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            file.close()
        shutil.rmtree(self.scratch, ignore_errors=True)  # gone already when all went well

    def write(self, block: Block) -> None:
        """Append the rows of a block."""
        for file, column in zip(self.files, block.columns, strict=True):
            file.write(column.tobytes())
        self.lengths += block.lengths
        self.learned += block.learned
        self.largest = max(self.largest, int(block.columns[0].max(initial=0)))
        for reason, sentence in block.dropped:
            self.drop(reason, 1, [sentence])

    def drop(self, reason: str, count: int, sentences: Iterable[str]) -> None:
        """Rows that were left out."""
        self.counts[reason] += count
        self.first[reason] = [*self.first[reason], *sentences][:SHOWN_PER_REASON]

    def finish(self, folder: Path, **meta: Any) -> None:
        """Make the folder appear, unless it is there by now."""
        for file in self.files:
            file.close()
        np.save(self.scratch / "offsets.npy", np.cumsum([0, *self.lengths], dtype=np.int64))
        dropped = {reason: {"count": n, "first": self.first[reason]} for reason, n in self.counts.most_common()}
        text = json.dumps(
            {**meta, "learned": self.learned, "largest": self.largest, "dropped": dropped}, indent=1, ensure_ascii=False
        )
        (self.scratch / "meta.json").write_text(text, encoding="utf-8")
        try:
            os.rename(self.scratch, folder)
        except OSError:
            if not folder.is_dir():
                raise
