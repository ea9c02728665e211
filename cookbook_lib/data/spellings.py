"""Published spellings of messages and tools -> ours (messages.py), as OpenAI, LLaMA-Factory and others write them.

    content: [{type: text | reasoning | tool_call, ...}]   -> content, reasoning_content, tool_calls
    tool_calls: flat or nested, arguments an object or its JSON  -> nested, arguments an object, as chat templates want
    tools: a list or its JSON, flat or nested              -> nested under `function`
    weight | loss_weight                                   -> weight, left out where it says what the role says
    developer                                              -> system

Null keys other than content are dropped: parquet writers that unify structs put them everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowError, refuse

TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


def normalise(raw: Any) -> tuple[Message, ...]:
    """Messages as published -> messages as ours; raises RowError where a spelling is unknown."""
    if not isinstance(raw, list | tuple) or not raw:
        refuse("messages", raw, "it must be a list of at least one {role, content}", "name the right column")
    return tuple(_normalise_message(f"messages[{index}]", message) for index, message in enumerate(raw))


def normalise_tools(raw: Any) -> tuple[dict[str, Any], ...] | None:
    """A list of tools, or the JSON string of one, flat or nested under `function` -> nested; nothing -> None."""
    tools = parsed("tools", raw) if isinstance(raw, str) and raw.strip() else raw
    if not tools:
        return None
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, list | tuple):
        refuse("tools", raw, "tools are a list of function descriptions, or the JSON of one", "correct the column")
    return tuple(_normalise_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools))


def tool_call(field: str, raw: Any) -> dict[str, Any]:
    """One call as published: nested or flat, a dict or its JSON; arguments become an object, as chat templates want."""
    call = parsed(field, raw) if isinstance(raw, str) else raw
    inner = call.get("function") or call if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        refuse(field, raw, "a tool call needs a function name", 'write {"name": ..., "arguments": {...}}')
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed(f"{field}.arguments", arguments or "{}")
    if not isinstance(arguments, Mapping | None):
        refuse(f"{field}.arguments", arguments, "arguments are a JSON object", "wrap them in {...}")
    identity = {"id": call["id"]} if call.get("id") else {}
    return {**identity, "type": "function", "function": {"name": inner["name"], "arguments": dict(arguments or {})}}


def text_of(field: str, content: Any) -> str | None:
    """Content that must be text: a string, None, or a list of text parts, which are joined."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        refuse(field, content, "content is a string or a list of parts", "write the text as a string")
    return "".join(_text_of_part(f"{field}[{index}]", part) for index, part in enumerate(content))


def _normalise_message(field: str, raw: Any) -> Message:
    if not isinstance(raw, Mapping):
        refuse(field, raw, "a message is an object with role and content", "correct the row")
    if "role" not in raw:
        fix = "use --source sharegpt for from/value" if "from" in raw else "add the role"
        refuse(f"{field}.role", MISSING, "a message names its speaker", fix)
    message: Message = {"role": "system" if raw["role"] == "developer" else raw["role"], "content": None}
    message |= _content(f"{field}.content", raw.get("content"), raw["role"])
    if raw.get("tool_calls"):
        calls = enumerate(raw["tool_calls"])
        message["tool_calls"] = [tool_call(f"{field}.tool_calls[{index}]", call) for index, call in calls]
    if message["content"] is None and message["role"] == "tool":
        message["content"] = ""
    kept = {key: raw[key] for key in ("tool_call_id", "name", "reasoning_content", "train") if raw.get(key) is not None}
    return message | kept | _weight(raw, message["role"])


def _content(field: str, content: Any, role: Any) -> Message:
    """Content in parts -> content, reasoning_content and tool_calls, each in the order in which it stands."""
    if not isinstance(content, list | tuple) or role != "assistant":
        return {"content": text_of(field, content)}
    texts: list[str] = []
    found: dict[str, list[Any]] = {"reasoning": [], "tool_call": []}
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind in found:
            found[kind].append(_value_of_part(f"{field}[{index}]", part))
        else:
            texts.append(_text_of_part(f"{field}[{index}]", part))
    message: Message = {"content": "".join(texts)}
    if found["reasoning"]:
        message["reasoning_content"] = "\n\n".join(found["reasoning"])
    if found["tool_call"]:
        message["tool_calls"] = [tool_call(f"{field}.tool_call", call) for call in found["tool_call"]]
    return message


def _value_of_part(field: str, part: Mapping[str, Any]) -> Any:
    value = part.get("value", part.get("text"))
    if part["type"] == "reasoning" and not isinstance(value, str):
        refuse(f"{field}.value", value, "reasoning is text", "write it as a string")
    return value


def _text_of_part(field: str, part: Any) -> str:
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    key = TEXT_PARTS.get(kind) if isinstance(kind, str) else None
    text = part.get(key, part.get("value")) if key else None
    if not isinstance(text, str):
        refuse(field, part, "only text can be learned here", "leave out images and audio, or describe them in words")
    return text


def _weight(raw: Mapping[str, Any], role: str) -> Message:
    """`weight` (OpenAI) or `loss_weight` (LLaMA-Factory), left out where it says 1 of an assistant, which is meant anyway.

    A user's explicit 0 is kept: under train_on=all it silences that message.
    """
    weight = raw.get("weight", raw.get("loss_weight"))
    return {} if weight is None or (role == "assistant" and weight == 1) else {"weight": weight}


def _normalise_tool(field: str, raw: Any) -> dict[str, Any]:
    if isinstance(raw, Mapping) and isinstance(raw.get("function"), Mapping):
        return dict(raw)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        refuse(field, raw, "a tool needs a name", 'write {"type": "function", "function": {"name": ...}}')
    return {"type": "function", "function": {key: value for key, value in raw.items() if key != "type"}}


def parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError("", 0, field, text, f"it must be JSON ({error.msg})", "correct the JSON") from None
