"""A prompt and its answers, however a row spells them: text, messages, or the JSON of messages.

    prompt            chosen                             who writes it so
    "Hi"              "Hello"                            we, when every prompt is one question
    [user]            "Hello" or [assistant]             we; TRL with an explicit prompt
    "Hi" or nothing   [user, ..., assistant]             TRL with an implicit prompt; ultrafeedback_binarized
    nothing           '[{"role": "user", ...}, ...]'     OpenJudge

Answers that bring their own context must bring the same one: a pair whose contexts differ compares two conversations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.reward.registry import user_turn
from cookbook_lib.data.spellings import normalise

Prompt = tuple[Message, ...]
KEYS = {1: ("response_key",), 2: ("chosen_key", "rejected_key")}  # options that name the columns of so many answers


def prompt_and_answers(row: Mapping[str, Any], prompt_key: str, *answer_keys: str) -> tuple[Prompt, list[str]]:
    """The prompt of a row, and its answers in the order of `answer_keys`.

    Raises RowError for columns that are missing, contexts that differ, and a prompt that the answers do not continue.
    """
    asked = prompt_in(prompt_key, row[prompt_key]) if row.get(prompt_key) is not None else None
    replies = [_reply(key, row, option) for key, option in zip(answer_keys, KEYS[len(answer_keys)], strict=True)]
    contexts = [(key, context) for key, (context, _) in zip(answer_keys, replies, strict=True) if context]
    for key, context in contexts[1:]:
        same_context(contexts[0][1], context, key)
    if contexts and asked and contexts[0][1][-len(asked) :] != asked:
        rule = f"{contexts[0][0]} must continue it, and begins with another conversation"
        refuse(prompt_key, asked[-1].get("content"), rule, f"correct the row, or leave {prompt_key} out")
    prompt = contexts[0][1] if contexts else asked
    if prompt is None:
        rule = f"answers that are text need a prompt (columns here: {_columns(row)})"
        refuse(prompt_key, MISSING, rule, "name the column, or prepare the file with scripts/prepare_reward_data.py")
    return prompt, [text for _, text in replies]


def same_context(first: Prompt, second: Prompt, field: str) -> None:
    """Raise RowError where two answers do not continue the same conversation."""
    if first == second:
        return
    turn = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    differ = f"turn {turn + 1}" if turn is not None else f"{len(first)} and {len(second)} turns before the answer"
    refuse(f"context of {field}", differ, "both answers must continue the same conversation", "drop the pair")


def prompt_in(field: str, value: Any) -> Prompt:
    """A prompt as messages: text is one question of the user's."""
    value = messages_in(value)
    if isinstance(value, str):
        return user_turn(value)
    if not isinstance(value, list | tuple):
        refuse(field, value, "a prompt is text or a list of {role, content}", "name the right column")
    return normalise(value)


def messages_in(value: Any) -> Any:
    """The list in a JSON string of messages; every other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except json.JSONDecodeError:
            return value
        if isinstance(found, list) and found and all(isinstance(item, dict) and "role" in item for item in found):
            return found
    return value


def _reply(key: str, row: Mapping[str, Any], option: str) -> tuple[Prompt, str]:
    """What stands before an answer, if it brings that along, and its text."""
    if key not in row:
        refuse(key, MISSING, f"the row must have it (columns here: {_columns(row)})", f"name the column in {option}")
    if row[key] is None:
        refuse(key, None, "an answer is text or a list of {role, content}", "drop the row")
    value = messages_in(row[key])
    if isinstance(value, str):
        return (), value
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        refuse(key, value, "an answer is text or a list of {role, content}", "name the right column")
    *context, last = normalise(value)
    if last["role"] != "assistant":
        refuse(f"{key}[{len(context)}].role", last["role"], "the last message is the answer", "drop the row")
    if not isinstance(last["content"], str) or last.get("tool_calls"):
        refuse(f"{key}[{len(context)}]", last, "an answer is text, and no tool call", "drop the row")
    return tuple(context), last["content"]


def _columns(row: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, row))) or "none"
