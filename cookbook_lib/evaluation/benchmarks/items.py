"""What every benchmark's row becomes: a prompt, the answers that should win, the answers that should lose.

    RewardBench, JudgeBench, LLMBar, RMB pairs    1 chosen    1 rejected
    RewardBench 2, RMB best-of-n                  1 chosen    2 or more rejected       (RewardBench 2 Ties: several chosen)
    RM-Bench                                      3 chosen    3 rejected               concise, plain, markdown

The readers below take a field out of a row, and refuse it in one sentence when it is not what the format promises.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from cookbook_lib.data.messages import Message, check
from cookbook_lib.data.origin import MISSING, Origin, RowError, refuse
from cookbook_lib.data.records import group_of

Slot = Literal["A", "B"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One row. `id` is unique in its benchmark; rows of one `group` are drawn together by the bootstrap."""

    id: str
    part: str  # the subset, domain or category that the row counts in
    prompt: tuple[Message, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    group: str
    origin: Origin
    chosen_is: Slot | None = None  # where the published order shows the chosen answer; None: there is no such order
    facts: Mapping[str, Any] = field(default_factory=dict)  # what a table of rows should say besides


def user_prompt(row: Row, name: str) -> tuple[Message, ...]:
    """A prompt that is published as text: one user turn."""
    return ({"role": "user", "content": text(row, name)},)


def prompt_messages(row: Row, name: str) -> tuple[Message, ...]:
    """A prompt that is published as {role, content, ...} messages; what else they hold is left out."""
    value = row[name]
    if not isinstance(value, list | tuple) or not all(isinstance(message, Mapping) for message in value):
        refuse(name, value, "it is a list of {role, content}", "take the published file")
    messages = tuple({"role": m.get("role"), "content": m.get("content")} for m in value)
    try:
        check(messages)
    except RowError as error:
        refuse(f"{name}: {error.field}", error.found, error.rule, error.fix)
    if messages[-1]["role"] != "user":
        refuse(
            f"{name}[{len(messages) - 1}].role",
            messages[-1]["role"],
            "a prompt ends with the user's turn",
            "drop the row",
        )
    return messages


def prompt_group(prompt: tuple[Message, ...]) -> str:
    """The same for all rows that ask the same."""
    return group_of("\n".join(message["content"] for message in prompt))


def text(row: Row, name: str) -> str:
    """A field that is text, perhaps empty (some published answers are)."""
    if not isinstance(row[name], str):
        refuse(name, row[name], "it is text", "take the published file")
    return str(row[name])


def texts(row: Row, name: str) -> tuple[str, ...]:
    """A field that is a list of at least one text."""
    value = row[name]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) for item in value):
        refuse(name, value, "it is a list of at least one text", "take the published file")
    return tuple(value)


def answer(row: Row, name: str) -> str:
    """A field that is {llm_name, answer}: its answer."""
    value = row[name]
    if not isinstance(value, Mapping) or not isinstance(value.get("answer"), str):
        refuse(name, value, "it is an object with an `answer` that is text", "take the published file")
    return str(value["answer"])


def choice(row: Row, name: str, allowed: Mapping[Any, Any]) -> Any:
    """What a field with few values stands for."""
    value = row[name]
    if isinstance(value, list | dict) or value not in allowed:
        refuse(name, value, f"it is one of {', '.join(map(repr, allowed))}", "take the published file")
    return allowed[value]


def named_in(file: str, names: Mapping[str, str], *, folders: int = 0) -> str | None:
    """What the file's name, a hub split's, or that of its nearest `folders` stands for. names: in lower case -> meaning.

    Further up nothing is looked at: a folder `code` of somebody's home says nothing about a benchmark.
    """
    parts = PurePath(re.sub("[:#]", "/", file.lower())).parts[::-1]
    for part in parts[: folders + 1]:
        for name in sorted(names, key=len, reverse=True):
            if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", part):
                return names[name]
    return None


def require(row: Row, *columns: str) -> None:
    """Refuse a row that lacks one of these columns."""
    for name in columns:
        if name not in row:
            here = ", ".join(map(str, row)) or "none"
            refuse(name, MISSING, f"the row must have it (columns here: {here})", "take the published file")
