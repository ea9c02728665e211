"""Encoded conversations as plain rows, one a token, for looking at: what `display.tokens` draws."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.masking import ROLES, Example


def token_rows(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Rows {text, id, role, weight, document, position} of conversations packed one after another.

    A token that is only part of a character is shown as the tokenizer spells it: ⟨âĢ⟩.
    """
    return [
        {
            "text": _shown(int(token), tokenizer),
            "id": int(token),
            "role": "template" if example.roles is None else ROLES[example.roles[position]],
            "weight": float(example.weights[position]),
            "document": document,
            "position": position,
        }
        for document, example in enumerate(examples)
        for position, token in enumerate(example.input_ids)
    ]


def _shown(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    return text if text and "\N{REPLACEMENT CHARACTER}" not in text else f"⟨{tokenizer.convert_ids_to_tokens(token)}⟩"
