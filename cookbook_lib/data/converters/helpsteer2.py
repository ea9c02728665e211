"""HelpSteer2 (nvidia/HelpSteer2): prompt, response and five scores from 0 to 4. For SFT, keep what is correct.

    "What is a bond?<extra_id_1>Assistant\\nA loan.<extra_id_1>User\\nAnd a coupon?"      a prompt of several turns
     └─ user ──────┘                       └ asst┘                  └─ user ──────┘

Both responses to a prompt share its group, so they never straddle train and test. Two columns that the embedded source
adds are kept where they are: `kind`, a label for stratifying, and `expected_answer`, what a right response must state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cookbook_lib.data.converters.fields import text_field, whole_number
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import RowSkipped, refuse
from cookbook_lib.data.records import Conversation, group_of

SCORES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HIGHEST = 4
MARK = re.compile(r"<extra_id_1>(Assistant|User)\n")
ROLE = {"Assistant": "assistant", "User": "user"}


@register_converter(
    "helpsteer2", about="prompt, response and five scores 0-4; keeps correctness >= 4", uses=("min_correctness",)
)
def from_helpsteer2(row: dict[str, Any], options: Options) -> Conversation:
    """One scored response -> one conversation, or RowSkipped where it is not correct enough."""
    prompt, response = text_field(row, "prompt"), text_field(row, "response")
    if whole_number(row, "correctness", 0, HIGHEST) < options.min_correctness:
        raise RowSkipped(f"correctness below {options.min_correctness}")
    messages = (*prompt_turns(prompt), {"role": "assistant", "content": response})
    source = f"helpsteer2/{row['kind']}" if row.get("kind") else "helpsteer2"
    return Conversation(messages, group=group_of(prompt), source=source, answer=row.get("expected_answer"))


def prompt_turns(prompt: str) -> tuple[Message, ...]:
    """A prompt with turn marks -> its messages, which alternate and end with the user's."""
    first, *rest = MARK.split(prompt)
    roles = ["user", *(ROLE[name] for name in rest[0::2])]
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(roles)) or roles[-1] != "user":
        refuse("prompt", roles, "turns alternate and the last is the user's", "correct the <extra_id_1> marks")
    texts = [first, *rest[1::2]]
    return tuple({"role": role, "content": text.rstrip("\n")} for role, text in zip(roles, texts, strict=True))


def marked_prompt(turns: Iterable[str]) -> str:
    """Texts of alternating turns, the user's first and last -> one prompt; the inverse of `prompt_turns`."""
    first, *rest = turns
    return first + "".join(f"<extra_id_1>{'User' if n % 2 else 'Assistant'}\n{text}" for n, text in enumerate(rest))
