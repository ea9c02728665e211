"""Candidates as plain rows, one a token, for looking at: what `display.token_view` draws.

Document 0 is the beginning that the answers share, computed once; each answer is a document of its own, with all its turns
where nothing is shared. Tokens of weight 1 are those that the loss looks at:

    read="ends"        the one whose hidden state the head reads
    read="answers"     all in which the answers differ, from the first one that is not the same in all of them: DPO's
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.token_rows import shown_token

Read = Literal["ends", "answers"]


def candidate_rows(
    examples: Sequence[Candidates], tokenizer: PreTrainedTokenizerBase, read: Read = "ends"
) -> list[dict[str, Any]]:
    """Rows {text, id, role, template, weight, document, position} of candidates packed one after another."""
    rows: list[dict[str, Any]] = []
    document = 0
    for example in examples:
        before = len(example.shared)
        parts = [("user", example.shared, 0)] if before else []
        own = "assistant" if before else "all turns"
        alike = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*example.rests, strict=False)))
        for role, ids, first in [*parts, *((own, rest, before) for rest in example.rests)]:
            begin = alike if read == "answers" else len(ids) - 1
            rows += [
                {
                    "text": shown_token(int(token), tokenizer),
                    "id": int(token),
                    "role": role,
                    "template": False,
                    "weight": float(role == own and place >= begin),
                    "document": document,
                    "position": first + place,
                }
                for place, token in enumerate(ids)
            ]
            document += 1
    return rows
