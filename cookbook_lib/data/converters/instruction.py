"""Instructions with one answer: Alpaca and its many cousins, by any of these names.

    instruction | prompt | query | question      what is asked
    input | context                              what it is asked about, appended after an empty line
    output | response | answer | completion      the answer
    system, history: [[question, answer], ...]   as LLaMA-Factory has them
    instances: [{input, output}, ...]            as self-instruct's seed tasks have them: one conversation each

The first name that a row has is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cookbook_lib.data.converters.fields import checked_text, optional_text, text_field
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.records import Conversation, group_of

QUESTION = ("instruction", "prompt", "query", "question")
CONTEXT = ("input", "context")
ANSWER = ("output", "response", "answer", "completion")


@register_converter("alpaca", about="instruction, input, output | response; optional system, history, instances")
def from_instruction(row: dict[str, Any], options: Options) -> Iterator[Conversation]:
    """One instruction -> a conversation for each of its answers."""
    instruction = text_field(row, *QUESTION)
    for answered in row.get("instances") or [row]:
        context, answer = optional_text(answered, *CONTEXT), text_field(answered, *ANSWER)
        prompt = f"{instruction}\n\n{context}" if context.strip() else instruction
        messages = [*_system(row), *_history(row), _user(prompt), _assistant(answer)]
        yield Conversation(tuple(messages), group=group_of(prompt), source="alpaca")


def _system(row: dict[str, Any]) -> list[Message]:
    system = optional_text(row, "system")
    return [{"role": "system", "content": system}] if system else []


def _history(row: dict[str, Any]) -> Iterator[Message]:
    history = row.get("history") or ()
    if not isinstance(history, list | tuple):
        refuse("history", history, "past turns are a list of pairs [question, answer]", "correct the row")
    for index, turn in enumerate(history):
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            refuse(f"history[{index}]", turn, "a past turn is a pair [question, answer]", "correct the row")
        yield _user(checked_text(f"history[{index}][0]", turn[0]))
        yield _assistant(checked_text(f"history[{index}][1]", turn[1]))


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
