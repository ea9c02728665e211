"""Quality filters: each looks at one conversation and returns why it should go, or None to keep it.

    not_empty         a message without text, unless it calls a tool
    length(most, least)   characters of all contents together
    turns(most, least)    user messages
    Duplicates()      the same messages and tools were seen before; remembers 16 bytes for each, and where it was

`trim_ends` is a repair and not a filter: it cuts what nothing can be learned from, and says so.
A filter of yours is a function of the same shape; near duplicates and balance will be others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from cookbook_lib.data.messages import Message
from cookbook_lib.data.records import Conversation

Record = TypeVar("Record")
Filter = Callable[[Conversation], str | None]


def not_empty(conversation: Conversation) -> str | None:
    """Empty messages teach a model to say nothing; a tool may return nothing."""
    for message in conversation.messages:
        silent = not (message.get("content") or "").strip() and not message.get("tool_calls")
        if silent and message["role"] != "tool":
            return f"empty {message['role']} message"
    return None


def length(most: int | None = None, least: int = 0) -> Filter:
    """Characters of all contents together must lie in [least, most]."""

    def check(conversation: Conversation) -> str | None:
        characters = characters_of(conversation)
        if characters < least:
            return f"shorter than {least} characters"
        return f"longer than {most} characters" if most is not None and characters > most else None

    return check


def turns(most: int | None = None, least: int = 1) -> Filter:
    """User messages must number between least and most."""

    def check(conversation: Conversation) -> str | None:
        asked = sum(message["role"] == "user" for message in conversation.messages)
        if asked < least:
            return f"fewer than {least} user turns"
        return f"more than {most} user turns" if most is not None and asked > most else None

    return check


class Duplicates(Generic[Record]):
    """Drops every record whose digest (of a conversation: its messages and tools) was seen before; `first_place` tells where."""

    def __init__(self, digest: Callable[[Record], bytes] | None = None) -> None:
        self._digest: Callable[[Any], bytes] = digest or digest_of
        self._files: dict[str, int] = {}
        self._seen: dict[bytes, int] = {}
        self.found = 0

    def __call__(self, record: Record) -> str | None:
        digest = self._digest(record)
        if digest in self._seen:
            self.found += 1
            return "exact duplicate"
        self._seen[digest] = self._place(record)
        return None

    def __contains__(self, record: Record) -> bool:
        return self._digest(record) in self._seen

    def first_place(self, record: Record) -> str:
        """Where the first of these identical records stands."""
        place = self._seen[self._digest(record)]
        return f"{list(self._files)[place >> 40]} row {place & (1 << 40) - 1}"

    def _place(self, record: Any) -> int:
        """File number and row in one integer: a tuple would cost three times the memory."""
        file, row = record.origin or ("", 0)
        return self._files.setdefault(file, len(self._files)) << 40 | row


def digest_of(conversation: Conversation) -> bytes:
    """16 bytes that two conversations share only when their messages and tools are the same."""
    hasher = hashlib.blake2b(digest_size=16)
    for message in conversation.messages:
        content = message.get("content")
        if len(message) == 2 and content is not None:
            hasher.update(f"{message['role']}:{len(content)}:{content}".encode())
        else:
            hasher.update(json.dumps(message, sort_keys=True).encode())
    if conversation.tools:
        hasher.update(json.dumps(conversation.tools, sort_keys=True).encode())
    return hasher.digest()


def characters_of(conversation: Conversation) -> int:
    """Characters of all contents together."""
    return sum(len(message.get("content") or "") for message in conversation.messages)


def trim_ends(conversation: Conversation) -> tuple[Conversation, str | None]:
    """Cut answers without a question at the start, and questions without an answer at the end."""
    kept = _without_trailing(_without_leading(list(conversation.messages)))
    if len(kept) == len(conversation.messages) or not kept:
        return conversation, None
    return replace(
        conversation, messages=tuple(kept)
    ), "without the question or answer that had no counterpart at an end"


def _without_trailing(messages: list[Message]) -> list[Message]:
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return messages


def _without_leading(messages: list[Message]) -> list[Message]:
    head = [message for message in messages[:1] if message["role"] == "system"]
    body = messages[len(head) :]
    while body and body[0]["role"] in ("assistant", "tool"):
        body.pop(0)
    return head + body
