"""Turns of {from, value} as messages, and what reward records cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.converters.registry import Options
from cookbook_lib.data.converters.sharegpt import from_sharegpt
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse


def from_turns(row: Mapping[str, Any], *answer: Any) -> list[Message]:
    """A row's `system` and `conversations`, and an answer if it stands elsewhere -> messages.

    Raises RowError for turns that are none, and for a role that nobody publishes.
    """
    turns = row.get("conversations", MISSING)
    if isinstance(turns, list | tuple):
        turns = [*turns, *answer]
    return list(from_sharegpt({"conversations": turns, "system": row.get("system")}, Options()).messages)


def refuse_tools(row: Mapping[str, Any]) -> None:
    """Raise RowError for a row with tools: a reward model would judge calls without knowing what could be called."""
    if row.get("tools") not in (None, "", "[]", []):
        fix = "write the tools into the system message, or drop the row"
        refuse("tools", row["tools"], "reward data hold no descriptions of tools", fix)
