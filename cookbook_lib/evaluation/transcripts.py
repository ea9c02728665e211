"""Every text that a judge wrote: a row each, to read, to browse, to compare two checkpoints by.

kind · prompt (messages) · order ("ab", "ba" or "") · vote (0, 1, ...) · text · parsed ("3", "A", ... or null)
fault (why nothing was parsed, or null) · finished (false: cut at max_new_tokens)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cookbook_lib.config import CookbookError
from cookbook_lib.data.parquet import open_writer
from cookbook_lib.evaluation.judges import key_of
from cookbook_lib.evaluation.votes import Vote

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("order", pa.string()),
        ("vote", pa.int64()),
        ("text", pa.string()),
        ("parsed", pa.string()),
        ("fault", pa.string()),
        ("finished", pa.bool_()),
    ],
    metadata={b"cookbook.transcript": b"1"},
)


@dataclass(frozen=True)
class Statement:
    """One text, and the verdict that was read in it; or None, and why."""

    kind: str
    prompt: tuple[dict[str, Any], ...]
    order: str
    vote: int
    text: str
    parsed: Vote
    fault: str | None
    finished: bool

    @property
    def asked(self) -> tuple[Any, ...]:
        """What two texts have in common that answer the same prompt."""
        return self.kind, key_of(self.prompt), self.vote


def write_transcript(statements: Sequence[Statement], path: str | Path) -> Path:
    """A parquet file, whole or not at all. Raises CookbookError where it cannot be written."""
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    with open_writer(partial, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist([_row(one) for one in statements], schema=SCHEMA))
    os.replace(partial, target)
    return target


def read_transcript(path: str | Path) -> list[Statement]:
    """What `write_transcript` wrote. Raises CookbookError for a file that is not there, or is no transcript."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CookbookError(f"{path} cannot be read ({error}); give a transcript.parquet of a judge.") from None
    if absent := [name for name in SCHEMA.names if name not in table.column_names]:
        raise CookbookError(f"{path} has no column {absent[0]!r}: give a transcript.parquet of a judge.")
    return [_statement(row) for row in table.select(SCHEMA.names).to_pylist()]


def _row(one: Statement) -> dict[str, Any]:
    prompt = [{"role": message["role"], "content": _encodable(message.get("content") or "")} for message in one.prompt]
    parsed = None if one.parsed is None else str(one.parsed)
    return {**vars(one), "prompt": prompt, "parsed": parsed, "text": _encodable(one.text)}


def _encodable(text: str) -> str:
    """Half a surrogate pair is no character."""
    return text.encode("utf-8", "replace").decode()


def _statement(row: dict[str, Any]) -> Statement:
    said = row["parsed"]
    parsed = said if said is None or row["kind"] == "preference" else int(said)
    return Statement(**{**row, "prompt": tuple(row["prompt"]), "parsed": parsed})
