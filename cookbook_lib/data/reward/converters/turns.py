"""Turns of {from, value} as messages, and what reward records cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.converters.registry import Options
from cookbook_lib.data.converters.sharegpt import from_sharegpt
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import refuse


def from_turns(row: Mapping[str, Any], *turns: Any) -> list[Message]:
    """ShareGPT turns -> messages, after the row's `system` if it has one; raises RowError for a role nobody publishes."""
    return list(from_sharegpt({"conversations": turns, "system": row.get("system")}, Options()).messages)


def refuse_tools(row: Mapping[str, Any]) -> None:
    """Raise RowError for a row with tools: a reward model would judge calls without knowing what could be called."""
    if row.get("tools") not in (None, "", "[]", []):
        fix = "write the tools into the system message, or drop the row"
        refuse("tools", row["tools"], "reward data hold no descriptions of tools", fix)
