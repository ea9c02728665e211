"""OpenAI messages: `messages: [{role, content}]`, with tool calls, content parts and per-message weights.

Also read: `developer` (a system message), content parts of type text, reasoning and tool_call, `loss_weight`,
`tools` as a list or as its JSON string.
"""

from __future__ import annotations

from typing import Any

from cookbook_lib.data import spellings
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.origin import MISSING
from cookbook_lib.data.records import Conversation, opening_group


@register_converter("openai", about="messages: [{role, content, tool_calls, ...}], optional tools column")
def from_openai(row: dict[str, Any], options: Options) -> Conversation:
    """One row of messages -> one conversation."""
    messages = spellings.normalise(row.get("messages", MISSING))
    tools = spellings.normalise_tools(row.get("tools"))
    return Conversation(messages, tools, group=opening_group(messages), source="openai")
