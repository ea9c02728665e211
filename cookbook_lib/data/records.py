"""What a conversation is, and the way to read files of them.

    file ──▶ rows (sources) ──▶ Conversation(messages, tools, origin, group, source, answer)

    group    conversations of one group never straddle train and test: the digest of the prompt
    source   a label such as "sharegpt" or "judge/B"; splits are stratified by it
    answer   what a right answer must state, where the data knows it ("72", "teal"); evaluation checks against it

A Conversation checks itself when it is made; reading streams, whatever the size of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cookbook_lib.data.messages import Message, check, require_answer
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.origin import Origin as Origin
from cookbook_lib.data.origin import RowError as RowError
from cookbook_lib.data.parquet import stored_columns
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import read_rows
from cookbook_lib.data.spellings import normalise, normalise_tools


@dataclass(frozen=True)
class Conversation:
    """One conversation. Raises RowError (with the origin, if any) where messages or tools break their schema."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    origin: Origin | None = None
    group: str | None = None
    source: str | None = None
    answer: str | None = None

    def __post_init__(self) -> None:
        try:
            check(self.messages)
        except RowError as error:
            raise error.at(self.origin) from None

    def labelled(self, origin: Origin | None, group: str | None) -> Conversation:
        """The same conversation under this origin and group; its messages were checked, so they are not again."""
        labelled = object.__new__(Conversation)
        labelled.__dict__.update(self.__dict__, origin=origin, group=group)
        return labelled


def group_of(prompt: str) -> str:
    """The group of everything that answers this prompt: 16 hex digits that depend on its words alone."""
    words = " ".join(prompt.split()).casefold()
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest()


def opening_group(messages: tuple[Message, ...]) -> str:
    """The group of a conversation without a declared prompt: that of its first user message."""
    first = next((message["content"] for message in messages if message["role"] == "user"), None)
    return group_of(first or "")


def chat(prompt: str, response: str, *, system: str | None = None, **fields: Any) -> Conversation:
    """One question, one answer, and a system message if there is one; further fields are Conversation's."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    head = [{"role": "system", "content": system}] if system else []
    return Conversation(tuple(head + turns), **fields)


def read_conversations(
    files: str | Path | list[str],
    *,
    messages_key: str = "messages",
    tools_key: str | None = None,
    limit: int = -1,
    report: Report | None = None,
) -> Iterator[Conversation]:
    """Stream the conversations of parquet or JSON Lines files, at most `limit` (-1: all).

    tools_key: the column of tools, a list or its JSON; None takes a column named `tools` if there is one.
    report: rows that cannot be used are written there and left out; without one, the first of them raises RowError.
    Raises CookbookError for a file that is missing, empty or not what its name says.
    """
    report = Report.strict() if report is None else report
    found = _conversations(files, messages_key, tools_key, report)
    return found if limit < 0 else islice(found, limit)


def _conversations(
    files: str | Path | list[str], messages_key: str, tools_key: str | None, report: Report
) -> Iterator[Conversation]:
    for origin, row in read_rows(files, report):
        try:
            conversation = conversation_from(row, origin, messages_key, tools_key)
            require_answer(conversation.messages)
        except RowError as error:
            report.refuse(error.at(origin))
            continue
        report.keep(origin)
        yield conversation


def conversation_from(row: dict[str, Any], origin: Origin, messages_key: str, tools_key: str | None) -> Conversation:
    """The conversation in a row, exact where we wrote the row, normalised where somebody else did."""
    if messages_key not in row:
        columns = ", ".join(sorted(row)) or "none"
        refuse(messages_key, MISSING, f"it holds the messages (columns here: {columns})", "set messages_key")
    if tools_key is not None and tools_key not in row:
        refuse(tools_key, MISSING, "this column was named as the tools", "correct tools_key, or leave it null")
    stored = stored_columns(row, messages_key)
    messages = stored.messages or normalise(row[messages_key])
    tools = stored.tools or normalise_tools(row.get(tools_key or "tools"))
    group = stored.group or opening_group(messages)
    return Conversation(messages, tools, origin, group, stored.source, stored.answer)
