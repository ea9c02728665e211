"""Conversations as people read them: who speaks, in order; and several answers to one prompt side by side.

    conversation(messages)      one conversation, a line per turn
    side_by_side(samples)       {"prompt": ..., "base": ..., "tuned": ...} each; an `expected` text is the yardstick

Messages are plain dicts ({role, content} and, where present, tool_calls, reasoning_content). Text is shown as it is.
"""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cookbook_lib.display.style import AMBER, BLUE, GREEN, GREY, HAIRLINE, SANS, TEAL, tint
from cookbook_lib.display.views import Html

ROLES = {"system": GREY, "user": AMBER, "assistant": BLUE, "tool": TEAL}
TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;min-width:0"


def conversation(messages: Sequence[Mapping[str, Any]], caption: str = "") -> Html:
    """One conversation; tool calls and reasoning are shown under the turn that they belong to."""
    turns = "".join(_turn_html(message) for message in messages)
    text = "\n".join(f"{message.get('role', '?'):>9}  {_indented(_said(message))}" for message in messages)
    page = f'<div style="font:13px/1.5 {SANS};max-width:820px;margin:6px 0">{_heading(caption)}{turns}</div>'
    return Html(page, f"{caption}\n{text}" if caption else text)


def side_by_side(samples: Sequence[Mapping[str, str]], caption: str = "", *, expected: str = "expected") -> Html:
    """Answers to the same prompts, a column each.

    samples: {"prompt": ..., name: answer, ...}. Where a sample has an `expected` text, an answer that equals it (spaces
    at the ends aside) is marked.
    """
    names = [name for name in dict.fromkeys(name for sample in samples for name in sample) if name != "prompt"]
    cards = "".join(_card(sample, names, expected) for sample in samples)
    texts = [_sample_text(sample, names, expected) for sample in samples]
    page = f'<div style="font:13px/1.5 {SANS};margin:6px 0">{_heading(caption)}{cards}</div>'
    return Html(page, "\n\n".join([caption, *texts] if caption else texts))


def _heading(caption: str) -> str:
    return f'<div style="font-weight:600;margin-bottom:4px">{html.escape(caption)}</div>' if caption else ""


def _turn_html(message: Mapping[str, Any]) -> str:
    role = str(message.get("role", "?"))
    colour = ROLES.get(role, GREY)
    box = f"display:flex;border-left:3px solid {colour};background:{tint(colour, 0.07)};margin:3px 0;padding:5px 10px"
    return (
        f'<div style="{box}"><span style="flex:0 0 82px;color:{colour};font-weight:600">{html.escape(role)}</span>'
        f'<span style="{TEXT}">{html.escape(_said(message))}</span></div>'
    )


def _said(message: Mapping[str, Any]) -> str:
    parts = [f"[thinks] {message['reasoning_content']}"] if message.get("reasoning_content") else []
    if message.get("content") is not None:
        parts.append(str(message["content"]))
    parts += [f"[calls] {_call(call)}" for call in message.get("tool_calls") or []]
    return "\n".join(parts)


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function", call)
    arguments = function.get("arguments", "")
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"{function.get('name', '?')}({shown})"


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 11)


def _card(sample: Mapping[str, str], names: Sequence[str], expected: str) -> str:
    columns = "".join(_answer(sample, name, expected) for name in names if name in sample)
    prompt = html.escape(sample.get("prompt", ""))
    return (
        f'<div style="border:{HAIRLINE};border-radius:6px;margin:6px 0;overflow:hidden">'
        f'<div style="padding:6px 12px;background:{tint(GREY, 0.1)};{TEXT}">{prompt}</div>'
        f'<div style="display:flex">{columns}</div></div>'
    )


def _answer(sample: Mapping[str, str], name: str, expected: str) -> str:
    right = _is_right(sample, name, expected)
    mark = f' <span style="color:{GREEN}">✓</span>' if right else ""
    shade = f"background:{tint(GREEN, 0.1)};" if right else ""
    return (
        f'<div style="flex:1 1 0;min-width:0;padding:6px 12px;border-right:{HAIRLINE};{shade}">'
        f'<div style="font-weight:600;opacity:.6;font-size:12px">{html.escape(name)}{mark}</div>'
        f'<div style="{TEXT}">{html.escape(sample[name])}</div></div>'
    )


def _is_right(sample: Mapping[str, str], name: str, expected: str) -> bool:
    return name != expected and expected in sample and sample[name].strip() == sample[expected].strip()


def _sample_text(sample: Mapping[str, str], names: Sequence[str], expected: str) -> str:
    shown = [name for name in names if name in sample]
    width = max(map(len, ["prompt", *shown]))
    marks = {name: " ✓" if _is_right(sample, name, expected) else "" for name in shown}
    lines = [f"{'prompt':>{width}}  {sample.get('prompt', '')}"]
    lines += [f"{name:>{width}}  {sample[name]}{marks[name]}" for name in shown]
    return "\n".join(line.replace("\n", "\n" + " " * (width + 2)) for line in lines)
