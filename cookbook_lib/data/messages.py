"""The messages of a conversation, as plain dicts: what is allowed in them, and how published spellings become ours.

    {"role": "system" | "user" | "assistant" | "tool",
     "content": str | None,                 None only beside tool_calls
     "tool_calls": [{"id"?, "type": "function", "function": {"name": str, "arguments": dict | JSON str}}],
     "tool_call_id": str, "name": str, "reasoning_content": str,
     "train": bool, "weight": float}        what the loss takes from this message; absent means as its role says

`check` judges messages and never changes them. `normalise` reads the OpenAI spelling and its cousins: content in parts
(text, reasoning, tool_call), `loss_weight`, the role `developer`. Null keys other than content are dropped by
`normalise`: parquet writers that unify structs put them everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from cookbook_lib.data.origin import MISSING, RowError, refuse

Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
DEFAULT_WEIGHT = {"assistant": 1.0}
NO_ANSWER = "a conversation needs an assistant message with content or a tool call"


def check(messages: Iterable[Any]) -> None:
    """Raise RowError where messages break the schema above."""
    messages = tuple(messages)
    if not messages:
        refuse("messages", [], "a conversation has at least one message", "drop the row, or name the right column")
    calls: set[str] = set()
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


# ---------------------------------------------------------------------------------------------------------- checking


def _is_plain(message: Any) -> bool:
    """Sound, and nothing but a role and ASCII content: most messages, which is why they are told at a glance."""
    if type(message) is not dict or len(message) != 2 or message.get("role") not in ROLES:
        return False
    content = message.get("content")
    return type(content) is str and content.isascii()


def _check_message(field: str, message: Any, calls: set[str]) -> None:
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


def _check_call(field: str, call: Any, calls: set[str]) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        refuse(field, call, "a tool call needs function.name", 'write {"type": "function", "function": {"name": ...}}')
    if not isinstance(function.get("arguments"), dict | str):
        refuse(f"{field}.function.arguments", function.get("arguments"), "it is an object or its JSON", "add {}")
    if call.get("id") is not None:
        calls.add(call["id"])


def _check_reply(field: str, message: Message, calls: set[str]) -> None:
    identity = message.get("tool_call_id")
    if identity is not None and identity not in calls:
        refuse(f"{field}.tool_call_id", identity, "a tool answers an earlier call", "keep the call with its answer")


def _check_weight(field: str, message: Message) -> None:
    weight, train = message.get("weight"), message.get("train")
    if weight is not None and not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
        refuse(f"{field}.weight", weight, "a loss weight is a finite number, 0 or more", "correct it, or leave it out")
    if train is not None and not isinstance(train, bool):
        refuse(f"{field}.train", train, "train is true or false", "correct it, or leave it out")


# -------------------------------------------------------------------------------------------------------- normalising


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
        if kind in found:
            found[kind].append(part.get("value", part.get("text")))
        else:
            texts.append(_text_of_part(f"{field}[{index}]", part))
    message: Message = {"content": "".join(texts)}
    if found["reasoning"]:
        message["reasoning_content"] = "\n\n".join(found["reasoning"])
    if found["tool_call"]:
        message["tool_calls"] = [tool_call(f"{field}.tool_call", call) for call in found["tool_call"]]
    return message


def _text_of_part(field: str, part: Any) -> str:
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    text = part.get(TEXT_PARTS[kind], part.get("value")) if isinstance(part, Mapping) and kind in TEXT_PARTS else None
    if not isinstance(text, str):
        refuse(field, part, "only text can be learned here", "leave out images and audio, or describe them in words")
    return text


def _weight(raw: Mapping[str, Any], role: str) -> Message:
    """`weight` (OpenAI) or `loss_weight` (LLaMA-Factory), left out where it only says what the role says."""
    weight = raw.get("weight", raw.get("loss_weight"))
    return {} if weight is None or weight == DEFAULT_WEIGHT.get(role, 0.0) else {"weight": weight}


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
