"""Candidates as plain rows, one a token, for looking at: what `display.token_view` draws.

Document 0 is the beginning that the answers share, computed once; each answer is a document of its own, with all its turns
where nothing is shared. The token of weight 1 is the one whose hidden state the head reads.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.token_rows import shown_token


def candidate_rows(examples: Sequence[Candidates], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Rows {text, id, role, template, weight, document, position} of candidates packed one after another."""
    rows: list[dict[str, Any]] = []
    document = 0
    for example in examples:
        before = len(example.shared)
        parts = [("user", example.shared, 0)] if before else []
        own = "assistant" if before else "all turns"
        for role, ids, first in [*parts, *((own, rest, before) for rest in example.rests)]:
            last = len(ids) - 1 if role == own else -1
            rows += [
                {
                    "text": shown_token(int(token), tokenizer),
                    "id": int(token),
                    "role": role,
                    "template": False,
                    "weight": float(place == last),
                    "document": document,
                    "position": first + place,
                }
                for place, token in enumerate(ids)
            ]
            document += 1
    return rows
