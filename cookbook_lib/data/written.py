"""What a reader sees of the tokens that a model generated.

    ids     [THINK]  Score  :  3  [/THINK]  It  lacks ...  </s>        tags that are special tokens, as some vocabularies have them
    text    [THINK]Score: 3[/THINK]It lacks ...                        every other special token is left out, an answer's tags stay

Without its tags, reasoning would be read as the answer, and a verdict that stands in it as the verdict; a call of a tool would be
none.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from cookbook_lib.data.judge.verdicts import REASONING
from cookbook_lib.data.scaffold import ANSWER_TOKENS


def texts_of(tokenizer: Any, written: Iterable[Sequence[int]]) -> list[str]:
    """The text of each of several completions (token ids), without blanks around it."""
    tags = _tags(tokenizer)
    return [_text(tokenizer, ids, tags).strip() for ids in written]


def _text(tokenizer: Any, ids: Sequence[int], tags: dict[int, str]) -> str:
    """Decoded part by part between the tags: within a part, tokens decide together how they are spelled."""
    parts = groupby(map(int, ids), lambda token: tags.get(token, ""))
    return "".join(
        tag * len(part) if tag else str(tokenizer.decode(part, skip_special_tokens=True))
        for tag, part in ((tag, list(part)) for tag, part in parts)
    )


def _tags(tokenizer: Any) -> dict[int, str]:
    """The tags of reasoning and of tool calls among the special tokens, by id; ordinary tokens are decoded as they are."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {id: token.content for id, token in added.items() if token.special and _is_tag(token.content)}


def _is_tag(token: str) -> bool:
    return token in ANSWER_TOKENS or REASONING.fullmatch(token) is not None
