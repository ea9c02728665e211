r"""hh-rlhf (Anthropic/hh-rlhf): two whole dialogues, each one flat text, of which people preferred the first.

    "\n\nHuman: Hi\n\nAssistant: Hello. What is it?\n\nHuman: A pen\n\nAssistant: It writes."
      └─ user ───┘   └─ assistant ────────────────┘   └─ user ─────┘   └─ the answer ────┘

Both dialogues share their context and differ in the last answer. Those that do not, or in which one speaks twice in a
row, or whose last answer is empty, are refused with the reason: TRL and others train on them as they stand.
"""

from __future__ import annotations

import re
from typing import Any

from cookbook_lib.data.converters.fields import text_field
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.reward.dialogue import same_context
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import Kind, RewardOptions, register_reward_converter

SPEAKER = re.compile(r"\n\n(Human|Assistant):")
ROLE = {"Human": "user", "Assistant": "assistant"}


@register_reward_converter("hh", about="chosen, rejected: flat dialogues of Human and Assistant")
def from_hh(row: dict[str, Any], kind: Kind, options: RewardOptions) -> PreferencePair:
    """Two dialogues -> one pair."""
    (*context, chosen), (*other, rejected) = (dialogue_turns(row, name) for name in ("chosen", "rejected"))
    same_context(tuple(context), tuple(other), "rejected")
    return PreferencePair(tuple(context), chosen["content"], rejected["content"], source="hh")


def dialogue_turns(row: dict[str, Any], name: str) -> list[Message]:
    """The turns of a flat dialogue, which alternate, begin with the user's and end with an answer."""
    before, *parts = SPEAKER.split(text_field(row, name))
    if before.strip() or len(parts) < 4:
        rule = "a dialogue begins with a blank line and 'Human:' and has an answer"
        refuse(name, row[name], rule, "name the source that fits the file")
    roles = [ROLE[speaker] for speaker in parts[0::2]]
    for turn, role in enumerate(roles):
        if role != ("user", "assistant")[turn % 2]:
            refuse(
                f"turn of {name}", f"{turn + 1} by the {role}", "speakers alternate, the user first", "drop the pair"
            )
    if roles[-1] != "assistant":
        refuse(f"last turn of {name}", "the user's", "a dialogue ends with an answer", "drop the pair")
    return [{"role": role, "content": text.strip()} for role, text in zip(roles, parts[1::2], strict=True)]
