"""How long conversations are: tokens where a tokenizer is given, else characters. Four bytes each.

Tokens are those of the contents; what the chat template adds (some five a message) is not counted here.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.quality import characters_of
from cookbook_lib.data.records import Conversation

BATCH = 512


class Lengths:
    """Collects one length for each conversation."""

    def __init__(self, tokenizer: str | None = None) -> None:
        self._lengths = array("I")
        self._waiting: list[str] = []
        self._tokenizer = tokenizer_at(tokenizer) if tokenizer else None
        self.unit = "tokens of the contents" if tokenizer else "characters"

    def add(self, conversation: Conversation) -> None:
        """Count one conversation."""
        if self._tokenizer is None:
            self._lengths.append(characters_of(conversation))
            return
        self._waiting.append("\n".join(message.get("content") or "" for message in conversation.messages))
        if len(self._waiting) == BATCH:
            self._count_tokens()

    def summary(self) -> dict[str, Any]:
        """Unit, number, total and quantiles; no quantiles of nothing."""
        self._count_tokens()
        lengths = np.frombuffer(self._lengths, dtype=np.uint32)
        if not len(lengths):
            return {"unit": self.unit, "count": 0}
        median, p95 = (int(np.quantile(lengths, q, method="lower")) for q in (0.5, 0.95))
        ends = {"min": int(lengths.min()), "median": median, "p95": p95, "max": int(lengths.max())}
        return {"unit": self.unit, "count": len(lengths), "total": int(lengths.sum(dtype=np.uint64)), **ends}

    def _count_tokens(self) -> None:
        if self._waiting and self._tokenizer is not None:
            encoded = self._tokenizer(self._waiting, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            self._lengths.extend(map(len, encoded))
            self._waiting.clear()


def tokenizer_at(path: str) -> Any:
    """The tokenizer in a folder; raises CookbookError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CookbookError(f"no tokenizer at {path} ({reason}); give a folder with tokenizer.json") from None
    tokenizer.model_max_length = 1 << 60  # lengths are what is asked for here, so no warning about long ones
    return tokenizer
