"""The messages of a conversation, as plain dicts, and what is allowed in them.

    {"role": "system" | "user" | "assistant" | "tool",
     "content": str | None,                 None only beside tool_calls
     "tool_calls": [{"id"?, "type": "function", "function": {"name": str, "arguments": dict | JSON str}}],
     "tool_call_id": str, "name": str, "reasoning_content": str,
     "train": bool, "weight": float}        what the loss takes from this message; absent means as its role says

`check` judges messages and never changes them; spellings.py turns what others publish into this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from cookbook_lib.data.origin import MISSING, refuse

Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
NO_ANSWER = "a conversation needs an assistant message with content or a tool call"


def check(messages: Iterable[Any]) -> None:
    """Raise RowError where messages break the schema above."""
    messages = tuple(messages)
    if not messages:
        refuse("messages", [], "a conversation has at least one message", "drop the row, or name the right column")
    calls: set[str | int] = set()
    for index, message in enumerate(messages):
        if not _is_plain(message):
            _check_message(f"messages[{index}]", message, calls)


def require_answer(messages: Iterable[Message]) -> None:
    """Raise RowError unless there is something to learn: an assistant message that says or calls something."""
    roles = []
    for message in messages:
        roles.append(message["role"])
        if message["role"] == "assistant" and (message.get("content") or message.get("tool_calls")):
            return
    refuse("messages", roles, NO_ANSWER, "drop the row, or check which roles mean the assistant")


def _is_plain(message: Any) -> bool:
    """Sound, and nothing but a role and ASCII content: most messages, which is why they are told at a glance."""
    if type(message) is not dict or len(message) != 2 or message.get("role") not in ROLES:
        return False
    content = message.get("content")
    return type(content) is str and content.isascii()


def _check_message(field: str, message: Any, calls: set[str | int]) -> None:
    if not isinstance(message, dict):
        refuse(field, message, "a message is an object with role and content", "correct the row")
    role = message.get("role", MISSING)
    if role not in ROLES:
        refuse(f"{field}.role", role, f"a role is one of {', '.join(ROLES)}", "rename it, or name its format")
    _check_text(f"{field}.content", message.get("content"), nullable="tool_calls" in message)
    _check_text(f"{field}.reasoning_content", message.get("reasoning_content"), nullable=True)
    for index, call in enumerate(message.get("tool_calls") or ()):
        _check_call(f"{field}.tool_calls[{index}]", call, calls)
    _check_reply(field, message, calls)
    _check_weight(field, message)


def _check_text(field: str, text: Any, nullable: bool) -> None:
    if text is None and nullable:
        return
    if not isinstance(text, str):
        refuse(field, text, "it must be a string", "write the text as a string (null only beside tool_calls)")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = text[error.start : error.end]
            refuse(field, found, "half a surrogate pair is no character", "mend the text's encoding")


def _check_call(field: str, call: Any, calls: set[str | int]) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        refuse(field, call, "a tool call needs function.name", 'write {"type": "function", "function": {"name": ...}}')
    if not isinstance(function.get("arguments"), dict | str):
        refuse(f"{field}.function.arguments", function.get("arguments"), "it is an object or its JSON", "add {}")
    identity = call.get("id")
    if not isinstance(identity, str | int | None):
        refuse(f"{field}.id", identity, "an id is text or a number", "correct it, or leave it out")
    if identity is not None:
        calls.add(identity)


def _check_reply(field: str, message: Message, calls: set[str | int]) -> None:
    identity = message.get("tool_call_id")
    if identity is not None and (not isinstance(identity, str | int) or identity not in calls):
        refuse(f"{field}.tool_call_id", identity, "a tool answers an earlier call", "keep the call with its answer")


def _check_weight(field: str, message: Message) -> None:
    weight, train = message.get("weight"), message.get("train")
    if weight is not None and not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
        refuse(f"{field}.weight", weight, "a loss weight is a finite number, 0 or more", "correct it, or leave it out")
    if train is not None and not isinstance(train, bool):
        refuse(f"{field}.train", train, "train is true or false", "correct it, or leave it out")
