"""Scores from a trained reward model: a folder of ours, or any sequence classifier of Hugging Face.

    conversations ─▶ tokens ─▶ families (equal beginnings once) ─▶ forwards of at most max_tokens ─▶ the head's scores

A score depends on its conversation alone: not on who shares the forward or the beginning (but for rounding, about 1e-6).
Nothing is ever cut: a conversation that is too long is an error of its own, and the others are scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward.documents import DocumentReader
from cookbook_lib.evaluation.checkpoints import open_checkpoint
from cookbook_lib.evaluation.inference import choose_place
from cookbook_lib.evaluation.scorers import open_scorer
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.models.score_head import ScoreHead

Messages = Sequence[dict[str, Any]]
Conversation = Messages | str | Sequence[int]  # messages; a text rendered already; its token ids
Progress = Callable[[int], object]
MOST_TOKENS = 16384  # of one forward


@dataclass(frozen=True)
class Scored:
    """What the model says of one conversation."""

    scores: dict[str, float]  # attribute -> value, on the scale of the training data
    raw: tuple[float, ...]  # the head's outputs, in the order of ScoreHead.labels
    tokens: int


class ScoringModel:
    """Scores whole conversations, the answer included as the last message, the assistant's.

    max_tokens: of one forward, and so of one conversation; lower it where memory is short. attribute: what `score` returns
    where the model has several; by default the one called score, else their mean. device, dtype: as in inference.choose_place.
    `notes` says what is out of the ordinary about this model. Not for several threads at once.
    Raises CookbookError when the folder holds no reward model, or not a whole one.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_tokens: int = MOST_TOKENS,
        attribute: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.folder, self.max_tokens = open_checkpoint(path).folder, max_tokens
        place, kind = choose_place(device, dtype)
        tokenizer = load_tokenizer(self.folder, trust_remote_code=trust_remote_code)
        self.tokenizer, self._read = tokenizer, DocumentReader(tokenizer)
        self._scorer = open_scorer(self.folder, tokenizer, place, kind, trust_remote_code)
        self.attribute = _chosen(self.head, attribute, self.folder)
        self.notes = [note for note in (self._scorer.note, self._read.note, self._told()) if note]

    @property
    def head(self) -> ScoreHead:
        """What the outputs mean."""
        return self._scorer.head

    @property
    def problem_type(self) -> str | None:
        """What config.json says that the outputs are for: "regression", "single_label_classification", ..."""
        found: str | None = getattr(self._scorer.config, "problem_type", None)
        return found

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation that can be scored."""
        positions = getattr(self._scorer.config.get_text_config(), "max_position_embeddings", None)
        return min(self.max_tokens, positions or self.max_tokens)

    def score(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> list[float]:
        """One number for each conversation, `attribute`'s. Raises CookbookError, which names the first that has none."""
        return [self.single(found) for found in self._all(conversations, progress)]

    def scores(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> list[dict[str, float]]:
        """Every attribute of each conversation. Raises as `score`."""
        return [found.scores for found in self._all(conversations, progress)]

    def single(self, found: Scored) -> float:
        """The one number of `score`."""
        return found.scores[self.attribute] if self.attribute else float(np.mean(list(found.scores.values())))

    def attempt(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> list[Scored | CookbookError]:
        """For each conversation what was found, or why nothing was. progress: gets the number of those just finished."""
        found: dict[int, Scored | CookbookError] = {}
        asking: dict[bytes, list[int]] = {}  # equal documents are computed once: their scores are equal to the bit
        for i, conversation in enumerate(conversations):
            try:
                asking.setdefault(self._document(conversation).tobytes(), []).append(i)
            except CookbookError as error:
                found[i] = error
        if progress and found:
            progress(len(found))
        documents, asked = [np.frombuffer(key, np.int32) for key in asking], list(asking.values())
        for chosen, raw in self._scorer.outputs(documents, self.max_tokens):
            for n, own, values in zip(chosen, raw, self.head.scores(raw).tolist(), strict=True):
                found |= dict.fromkeys(asked[n], self._scored(len(documents[n]), own, values))
            if progress:
                progress(sum(len(asked[n]) for n in chosen))
        return [found[i] for i in range(len(conversations))]

    def _all(self, conversations: Sequence[Conversation], progress: Progress | None) -> list[Scored]:
        found = []
        for i, one in enumerate(self.attempt(conversations, progress)):
            if isinstance(one, CookbookError):
                raise CookbookError(f"conversation {i}: {one}") from one
            found.append(one)
        return found

    def _document(self, conversation: Conversation) -> NDArray[np.int32]:
        """Raises CookbookError for what cannot be read, or is too long."""
        if isinstance(conversation, str):
            ids = self._read.text(conversation)
        elif len(conversation) and all(type(token) is int for token in conversation):
            ids = self._known(conversation)
        else:
            ids = self._read(conversation)
        if not 0 < len(ids) <= self.longest:
            fix = "shorten it" if self.longest < self.max_tokens else "shorten it, or raise max_tokens"
            raise CookbookError(f"it has {len(ids):,} tokens, and 1 to {self.longest:,} can be scored; {fix}.")
        return ids

    def _known(self, tokens: Sequence[Any]) -> NDArray[np.int32]:
        vocabulary = self._scorer.config.get_text_config().vocab_size
        strange = [token for token in tokens if not 0 <= token < vocabulary]
        if strange:
            raise CookbookError(
                f"it has token {strange[0]}, and the model knows 0 to {vocabulary - 1}; use its own tokenizer."
            )
        return np.array(tokens, np.int32)

    def _scored(self, tokens: int, raw: torch.Tensor, values: list[float]) -> Scored | CookbookError:
        if not np.isfinite(values).all():
            return CookbookError(f"its score is {values}: the model's weights or its dtype overflow; try dtype=fp32.")
        return Scored(dict(zip(self.head.attributes, values, strict=True)), tuple(raw.tolist()), tokens)

    def _told(self) -> str | None:
        if len(self.head.attributes) == 1:
            return None
        return f"score is {self.attribute or 'the mean'} of {', '.join(self.head.attributes)}"


def _chosen(head: ScoreHead, attribute: str | None, folder: Path) -> str | None:
    """The attribute that `score` returns; None is the mean of all."""
    names = head.attributes
    if attribute is not None and attribute not in names:
        raise CookbookError(f"{folder} has no attribute {attribute!r}: choose one of {', '.join(names)}.")
    if attribute is not None or len(names) == 1:
        return attribute or names[0]
    return "score" if "score" in names else None
