"""Encoded conversations as plain rows, one a token, for looking at: what `display.tokens` draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.masking import Example
from cookbook_lib.data.speakers import FRAME, ROLES


def token_rows(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Rows {text, id, role, template, weight, document, position} of conversations packed one after another.

    template: the chat template wrote the token, around what the role says. A token that is only part of a character is
    shown as the tokenizer spells it: ⟨âĢ⟩.
    """
    rows: list[dict[str, Any]] = []
    for document, example in enumerate(examples):
        spoken = np.zeros(len(example.input_ids), np.uint8) if example.roles is None else example.roles
        columns = zip(example.input_ids.tolist(), example.weights.tolist(), spoken.tolist(), strict=True)
        for position, (token, weight, speaker) in enumerate(columns):
            who = {"role": ROLES[speaker % FRAME], "template": speaker >= FRAME}
            what = {"text": shown_token(token, tokenizer), "id": token, "weight": weight}
            rows.append({**what, **who, "document": document, "position": position})
    return rows


def shown_token(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    return text if text and "\N{REPLACEMENT CHARACTER}" not in text else f"⟨{tokenizer.convert_ids_to_tokens(token)}⟩"
