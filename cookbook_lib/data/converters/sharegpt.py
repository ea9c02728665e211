"""ShareGPT: `conversations: [{from, value}]`, with every role that published sets use.

    human user prompter              -> user
    gpt assistant chatgpt bing bard  -> assistant
    system                           -> system, also as a column `system`
    function_call tool_call          -> assistant with tool_calls (one call or a list of them, as JSON)
    observation tool tool_response   -> tool

An unknown role is an error that names it: guessed as "user", tool output would become something the user said.
"""

from __future__ import annotations

from typing import Any

from cookbook_lib.data import spellings
from cookbook_lib.data.converters.fields import optional_text
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.records import Conversation, opening_group

ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    "system": "system",
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function_response"), "tool"),
}


@register_converter("sharegpt", about="conversations: [{from, value}], optional system and tools columns")
def from_sharegpt(row: dict[str, Any], options: Options) -> Conversation:
    """One ShareGPT row -> one conversation."""
    turns = row.get("conversations", MISSING)
    if not isinstance(turns, list | tuple) or not turns:
        refuse("conversations", turns, "it must be a list of {from, value}", "use the source that fits the file")
    system = optional_text(row, "system")
    head: list[Message] = [{"role": "system", "content": system}] if system else []
    messages = tuple(head + [_message(f"conversations[{index}]", turn) for index, turn in enumerate(turns)])
    tools = spellings.normalise_tools(row.get("tools"))
    return Conversation(messages, tools, group=opening_group(messages), source="sharegpt")


def _message(field: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        refuse(field, turn, "a turn is an object with from and value", "correct the row")
    speaker, value = turn.get("from", MISSING), turn.get("value", MISSING)
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        refuse(f"{field}.from", speaker, f"a published role is one of {', '.join(ROLES)}", "rename it to one of them")
    if not isinstance(value, str):
        refuse(f"{field}.value", value, "it must be a string", "write it as text")
    if role == "call":
        return {"role": "assistant", "content": "", "tool_calls": _calls(f"{field}.value", value)}
    return {"role": role, "content": value}


def _calls(field: str, value: str) -> list[dict[str, Any]]:
    parsed = spellings.parsed(field, value)
    calls = parsed if isinstance(parsed, list) else [parsed]
    return [spellings.tool_call(field, call) for call in calls]
