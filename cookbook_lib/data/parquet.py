"""Conversations in parquet: plain for everybody, exact for us.

    messages       list<struct<role, content>>     what pandas and other trainers read
    messages_json  string, or null                 the messages as JSON, where {role, content} is not all
    tools          string, or null                 JSON: parquet would merge the schemas of all tools, and add nulls
    group, source, answer, origin                  strings (records.py says what they are)

Parquet has one schema per column: two tool calls with different arguments would each come back with the other's keys,
set to null. JSON has no such trouble, so whatever is more than {role, content} is kept as JSON, and reading prefers it.
A file appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import RowError

if TYPE_CHECKING:
    from cookbook_lib.data.records import Conversation

Record = TypeVar("Record")
Finish = Callable[[pa.Table], pa.Table]

FORMAT_KEY, FORMAT = b"cookbook.conversations", b"1"
ROWS_PER_GROUP = 4096
SCHEMA = pa.schema(
    [
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("messages_json", pa.string()),
        ("tools", pa.string()),
        ("group", pa.string()),
        ("source", pa.string()),
        ("answer", pa.string()),
        ("origin", pa.string()),
    ],
    metadata={FORMAT_KEY: FORMAT},
)


class Stored(NamedTuple):
    """What a row holds beyond plain messages; all None where somebody else wrote the file."""

    messages: tuple[dict[str, Any], ...] | None
    tools: tuple[dict[str, Any], ...] | None
    group: str | None
    source: str | None
    answer: str | None


def row_of(conversation: Conversation) -> dict[str, Any]:
    """A conversation as one row of SCHEMA; raises RowError for numbers that JSON does not have (NaN, infinity)."""
    return {
        "messages": conversation.messages,
        "messages_json": None if _is_plain(conversation) else _dumped("messages", conversation.messages),
        "tools": _dumped("tools", conversation.tools) if conversation.tools else None,
        "group": conversation.group,
        "source": conversation.source,
        "answer": conversation.answer,
        "origin": str(conversation.origin) if conversation.origin else None,
    }


def stored_columns(row: dict[str, Any], messages_key: str = "messages") -> Stored:
    """The exact messages and tools of a row that `row_of` made."""
    if f"{messages_key}_json" not in row:
        return Stored(None, None, None, None, _text(row.get("answer")))
    exact, tools = row[f"{messages_key}_json"], row.get("tools")
    messages = tuple(json.loads(exact)) if exact else tuple(row[messages_key])
    return Stored(messages, tuple(json.loads(tools)) if tools else None, row["group"], row["source"], row["answer"])


class RecordWriter(Generic[Record]):
    """Appends records to one parquet file in bounded memory; its `with` publishes the file, or removes it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.rows, self.schema = path, 0, schema
        self._partial = path.with_name(path.name + ".partial")
        self._waiting: list[dict[str, Any]] = []
        self._writer = open_writer(self._partial, schema)

    def row_of(self, record: Record) -> dict[str, Any]:
        """The record as one row of the schema; raises RowError if it cannot be stored."""
        raise NotImplementedError

    def finished(self, table: pa.Table) -> pa.Table:
        """Rows as they are published, once all have been written: here, as they were written."""
        return table

    def write(self, record: Record) -> None:
        """Add one row; it reaches the disk with its row group. Raises RowError if it cannot be stored."""
        self._waiting.append(self.row_of(record))
        self.rows += 1
        if len(self._waiting) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self.schema))
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()
        if kind is None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


class ConversationWriter(RecordWriter["Conversation"]):
    """Writes conversations."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    def row_of(self, record: Conversation) -> dict[str, Any]:
        return row_of(record)


def as_written(table: pa.Table) -> pa.Table:
    """The rows of a spool, unchanged."""
    return table


def publish_split(spool: Path, folder: Path, test_groups: set[str], finished: Finish = as_written) -> dict[str, Any]:
    """Copy a spool into folder/train.parquet and folder/test.parquet by group; without test groups there is no test file.

    Returns {"train": {"file", "rows"}, "test": ...}. Columns are copied, through `finished`; no row becomes a Python
    object. The files of an earlier run are replaced only when both parts are whole, and left alone where there is
    nothing to train on.
    """
    targets = {name: folder / f"{name}.parquet" for name in ("train", "test")}
    partial = {name: path.with_name(path.name + ".partial") for name, path in targets.items()}
    try:
        rows = _divide(spool, partial, pa.array(sorted(test_groups), pa.string()), finished)
        if rows["train"]:
            for name, target in targets.items():
                _publish(partial[name], target, rows[name])
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return {name: {"file": str(targets[name]) if count else None, "rows": count} for name, count in rows.items()}


def _divide(spool: Path, files: dict[str, Path], test_groups: pa.Array, finished: Finish) -> dict[str, int]:
    """Write each row of the spool to files["test"] if its group is among these, else to files["train"]; count them."""
    rows, source = dict.fromkeys(files, 0), pq.ParquetFile(spool)
    schema = finished(source.schema_arrow.empty_table()).schema
    with ExitStack() as stack:
        writers = {name: stack.enter_context(open_writer(path, schema)) for name, path in files.items()}
        for batch in source.iter_batches(batch_size=ROWS_PER_GROUP):
            is_test = pc.is_in(batch["group"], value_set=test_groups)
            for name, mask in (("test", is_test), ("train", pc.invert(is_test))):
                part = batch.filter(mask)
                rows[name] += part.num_rows
                if part.num_rows:
                    writers[name].write_table(finished(pa.Table.from_batches([part])))
    return rows


def _publish(partial: Path, target: Path, rows: int) -> None:
    """Give a whole file its name; a part without rows removes the file of an earlier run, which would mislead."""
    if rows:
        os.replace(partial, target)
    else:
        target.unlink(missing_ok=True)


def open_writer(path: Path, schema: pa.Schema = SCHEMA) -> pq.ParquetWriter:
    """A parquet writer (zstd), or a CookbookError in a sentence where the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return pq.ParquetWriter(path, schema, compression="zstd")
    except OSError as error:
        raise CookbookError(f"cannot write {path} ({error.strerror or error}); choose another output folder") from None


def _is_plain(conversation: Conversation) -> bool:
    return all(len(message) == 2 and "content" in message for message in conversation.messages)


def _dumped(field: str, value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, TypeError) as error:
        raise RowError("", 0, field, value, f"it must be JSON ({error})", "leave it out") from None
    return text


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
