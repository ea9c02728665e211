"""Open Assistant (OpenAssistant/oasst1, oasst2): trees of messages, in which people ranked the replies to a message.

    prompter: How do I ...?           ── rank 0 ──▶ better than 1 and 2, with the path from the root as its prompt
      ├─ assistant rank 0 ─ prompter: And then?  ─┬─ assistant rank 0
      ├─ assistant rank 1                         └─ assistant rank 1
      └─ assistant rank 2

The margin of a pair is the distance of its ranks. Replies without a rank, deleted, or rejected in review make no pairs.
The file is the one of whole trees (`*_ready.trees.jsonl.gz`); all of a tree is one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cookbook_lib.data.converters.fields import whole_number
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowSkipped, refuse
from cookbook_lib.data.reward.ranking import ranked_pairs
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter

ROLES = {"prompter": "user", "assistant": "assistant"}
MOST_REPLIES = 1000
TREES_FILE = "take the file of whole trees, *_ready.trees.jsonl.gz, and not that of single messages"

Node = Mapping[str, Any]


@register_reward_converter(
    "oasst", about="Open Assistant trees: replies with a rank, 0 the best", kinds=("pairs",), uses=("language",)
)
def from_tree(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    """One tree -> every pair of ranked replies to the same message, or RowSkipped where there is none."""
    root = row.get("prompt", MISSING)
    if not isinstance(root, Mapping):
        refuse("prompt", root, "a row is a tree that begins with its prompt", TREES_FILE)
    if options.language and root.get("lang") != options.language:
        raise RowSkipped(f"not in language {options.language}")
    rankings = list(_rankings("prompt", root, ()))
    if not rankings:
        raise RowSkipped("no two replies of the tree are ranked")
    for prompt, replies in rankings:
        merits = [(reply["text"], -float(reply["rank"])) for reply in replies]
        yield from ranked_pairs(prompt, merits, source="oasst")


def _rankings(field: str, node: Node, above: tuple[Message, ...]) -> Iterator[tuple[tuple[Message, ...], list[Node]]]:
    """Each path from the root that was answered twice or more, with its ranked answers; depth first."""
    path = (*above, _message(field, node))
    replies = list(enumerate(_replies(field, node)))
    ranked = [reply for index, reply in replies if _is_ranked(f"{field}.replies[{index}]", reply)]
    if path[-1]["role"] == "user" and len(ranked) > 1:
        yield path, ranked
    for index, reply in replies:
        yield from _rankings(f"{field}.replies[{index}]", reply, path)


def _message(field: str, node: Node) -> Message:
    role, text = node.get("role", MISSING), node.get("text", MISSING)
    if not isinstance(role, str) or role not in ROLES:
        refuse(f"{field}.role", role, f"a role is one of {', '.join(ROLES)}", "leave the tree out")
    if not isinstance(text, str):
        refuse(f"{field}.text", text, "it must be a string", "leave the tree out")
    return {"role": ROLES[role], "content": text}


def _replies(field: str, node: Node) -> list[Node]:
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, Mapping) for reply in replies):
        refuse(f"{field}.replies", replies, "replies are a list of messages", TREES_FILE)
    return replies


def _is_ranked(field: str, reply: Node) -> bool:
    if reply.get("rank") is None or reply.get("deleted") or reply.get("review_result") is False:
        return False
    whole_number({f"{field}.rank": reply["rank"]}, f"{field}.rank", 0, MOST_REPLIES)
    return reply.get("role") == "assistant"
