"""Who says which answer is better: one protocol for reward models, rules and models that write their verdict.

    score(conversations)       one number per conversation, whose last message is the answer; None: none could be read
    compare(prompts, a, b)     "A", "B" or "tie" per comparison; None: no verdict could be read

A ScoreJudge scores each answer by itself and compares by score: strictly greater wins, equal is a tie, the order in which
two answers are shown changes nothing. Any other judge may depend on the order, and benchmarks then ask as their rules say.
Both methods take many at once, so that a judge can pack; results come in the order of the requests.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from cookbook_lib.config import CookbookError

Messages = Sequence[Mapping[str, Any]]
Verdict = Literal["A", "B", "tie"] | None
Key = tuple[tuple[str, str], ...]
Refused = tuple[bytes, str]  # what could not be asked (an `identity`), and why


class Mark(NamedTuple):
    """How much a judge had said at some time; what it says later can be told apart by it."""

    judgements: int = 0
    swaps: int = 0
    transcript: int = 0
    refused: int = 0


class Judge(Protocol):
    """Whatever can be asked for scores and for verdicts. Raises CookbookError when it cannot do one of the two."""

    @property
    def name(self) -> str: ...
    def score(self, conversations: Sequence[Messages]) -> list[float | None]: ...
    def compare(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Verdict]: ...


class ScoreJudge:
    """Mixin: `compare` by `score`. To be one is a promise: a score depends on its conversation alone."""

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        raise NotImplementedError

    def compare(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Verdict]:
        """Verdicts from scores, all asked for at once; None where one of the two is missing."""
        shown = [answered(prompt, text) for texts in (a, b) for prompt, text in zip(prompts, texts, strict=True)]
        scores = self.score(shown)
        return [verdict_of(*pair) for pair in zip(scores[: len(prompts)], scores[len(prompts) :], strict=True)]


def verdict_of(a: float | None, b: float | None) -> Verdict:
    """Strictly greater wins."""
    if a is None or b is None:
        return None
    return "tie" if a == b else "A" if a > b else "B"


def answered(prompt: Messages, answer: str) -> list[dict[str, Any]]:
    """The conversation that ends with this answer."""
    return [*map(dict, prompt), {"role": "assistant", "content": answer}]


def key_of(conversation: Messages) -> Key:
    """What makes two conversations the same to a judge: who said what, in which order."""
    return tuple((str(message["role"]), message.get("content") or "") for message in conversation)


def identity(asked: object) -> bytes:
    """What tells it from others, in a few bytes."""
    return hashlib.blake2b(repr(asked).encode("utf-8", "replace"), digest_size=16).digest()


def reasons(refused: Sequence[Refused]) -> list[str]:
    """Why, once for each that could not be asked, however often it came up."""
    return list(dict(refused).values())


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, numbered where they come again: `qwen`, `qwen (2)`."""
    found: list[str] = []
    for name in names:
        others = (f"{name} ({n})" for n in range(2, len(names) + 1))
        found.append(next(one for one in (name, *others) if one not in found))
    return found


# ----------------------------------------------------------------------------------------- judges that need no model


@dataclass(frozen=True)
class LengthJudge(ScoreJudge):
    """The longer answer wins (characters): what every judge must beat."""

    name: str = "longer wins"

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        return [float(len(conversation[-1]["content"])) for conversation in conversations]


@dataclass(frozen=True)
class RandomJudge(ScoreJudge):
    """A coin for every conversation, uniform in [0, 1): the same seed and words give the same score, in any order."""

    seed: int = 0
    name: str = "random"

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        return [chance(self.seed, *map("\0".join, key_of(conversation))) for conversation in conversations]


@dataclass(frozen=True)
class StoredScores(ScoreJudge):
    """Scores that somebody has already given (`key_of` a conversation -> score): to measure them again."""

    scores: Mapping[Key, float | None]
    name: str = "stored scores"

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        """Raises CookbookError for a conversation that is not among them."""
        return [self._known(conversation) for conversation in conversations]

    def _known(self, conversation: Messages) -> float | None:
        key = key_of(conversation)
        if key not in self.scores:
            answer = str(conversation[-1]["content"])[:60]
            raise CookbookError(
                f"{self.name} has no score for the answer {answer!r}; give the scores of these very data."
            )
        return self.scores[key]


def chance(*words: object) -> float:
    """A number in [0, 1) that depends on these words alone: no state, no order, the same on every machine."""
    digest = hashlib.blake2b("\1".join(map(str, words)).encode("utf-8", "replace"), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
