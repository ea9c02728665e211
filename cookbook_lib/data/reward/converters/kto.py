"""Answers that somebody marked as good or bad, each by itself: KTO's data (https://arxiv.org/abs/2402.01306).

    messages, label                 the last message is the answer        LLaMA-Factory
    conversations, label            {from, value}, likewise
    prompt, completion, label       text or messages                      TRL

`label` is true or false, and the score 1 or 0.
"""

from __future__ import annotations

from typing import Any

from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.reward.converters.turns import from_turns, refuse_tools
from cookbook_lib.data.reward.dialogue import prompt_and_answers
from cookbook_lib.data.reward.records import ScoredResponse
from cookbook_lib.data.reward.registry import Kind, RewardOptions, register_reward_converter


@register_reward_converter(
    "kto",
    about="messages | conversations | prompt and completion, with label true or false",
    kinds=("scores",),
    scale=(0, 1),
)
def from_label(row: dict[str, Any], kind: Kind, options: RewardOptions) -> ScoredResponse:
    """One marked answer -> a response of score 1 or 0."""
    refuse_tools(row)
    if "conversations" in row:
        row = row | {"messages": from_turns(row)}
    answer_key = "messages" if "messages" in row else "completion"
    prompt, (response,) = prompt_and_answers(row, "prompt", answer_key)
    return ScoredResponse(prompt, response, {"score": _score(row.get("label", MISSING))}, source="kto")


def _score(label: Any) -> float:
    if label not in (True, False):
        refuse("label", label, "a label is true or false", "write true for a good answer, false for a bad one")
    return float(label)
