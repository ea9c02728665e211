r"""From rendered text to token ids and the characters that each stands for.

    text      user\nHi<|im_end|>      the call is `tokenizer(text, add_special_tokens=False)`, the one that
    ids       872 198 13048 151645    `apply_chat_template(tokenize=True)` makes, so the ids are the same
    starts      0   4     5      7

Stand-ins for control tokens in user text (rendering.py) are tokenised by a copy of the tokenizer that knows them as
tokens of their own; then each is replaced by the ids of its letters. What surrounds them is as around any token.
"""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Protection


@dataclass(frozen=True)
class TextTokens:
    """Tokens of one text: ids int32 (T,); starts and ends int64 (T,), in characters, without gaps."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def within(self, start: int, end: int) -> slice:
        """The tokens that begin in [start, end). One that begins before and reaches in belongs to what comes before."""
        return slice(int(np.searchsorted(self.starts, start)), int(np.searchsorted(self.starts, end)))


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer that says where its tokens are. Raises CookbookError for a slow tokenizer, which cannot."""

    tokenizer: PreTrainedTokenizerBase
    protection: Protection

    def __post_init__(self) -> None:
        if not self.tokenizer.is_fast:
            raise CookbookError(
                f"{type(self.tokenizer).__name__} is a slow tokenizer, which does not say where its tokens are in the text; "
                "load the model's fast tokenizer (AutoTokenizer with use_fast=True)."
            )

    def __call__(self, text: str, protected: bool) -> TextTokens:
        """Tokens of `text`; protected: it may contain stand-ins."""
        if protected:
            return self._expanded(self._with_stand_ins.encode(text, add_special_tokens=False))
        encodings = self.tokenizer(text, add_special_tokens=False, verbose=False).encodings
        return _tokens(encodings[0])

    @cached_property
    def _with_stand_ins(self) -> Tokenizer:
        copy = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        copy.encode_special_tokens = False
        copy.add_special_tokens([AddedToken(c, normalized=False) for c in self.protection.stand_ins.values()])
        return copy

    @cached_property
    def _letters(self) -> Tokenizer:
        """A copy without any added token, for which control tokens are letters."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        state |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        return Tokenizer.from_str(json.dumps(state))

    def _expanded(self, encoding: Encoding) -> TextTokens:
        tokens = _tokens(encoding)
        spelled = {self._with_stand_ins.token_to_id(c): token for token, c in self.protection.stand_ins.items()}
        pieces = [self._spell(spelled[i]) if i in spelled else [i] for i in tokens.ids.tolist()]
        counts = [len(piece) for piece in pieces]
        ids = np.array([i for piece in pieces for i in piece], dtype=np.int32)
        return TextTokens(ids, np.repeat(tokens.starts, counts), np.repeat(tokens.ends, counts))

    def _spell(self, token: str) -> list[int]:
        """The ids of a control token's letters. A line break before it keeps SentencePiece from adding its space."""
        newline, ids = (self._letters.encode(text, add_special_tokens=False).ids for text in ("\n", "\n" + token))
        ids = ids[len(newline) :] if ids[: len(newline)] == newline else self._letters.encode(token).ids
        if self.tokenizer.convert_tokens_to_ids(token) in ids:
            found = f"the text contains {token}, which this tokenizer cannot spell in letters"
            raise RowRefused("control_token", found, "remove it from the text")
        return ids


def _tokens(encoding: Encoding) -> TextTokens:
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    ends = np.maximum.accumulate(offsets[:, 1])
    starts = np.minimum(offsets[:, 0], np.concatenate([[0], ends[:-1]])[: len(ends)])  # byte-level BPE trims spaces off
    return TextTokens(np.array(encoding.ids, dtype=np.int32), starts, ends)
