"""Leaving out what a benchmark will ask: training data that hold its prompts make its result worthless.

    Contamination.of({"rewardbench2": "rewardbench2.parquet", "llmbar": "LLMBar_Natural.json"})
        same prompt     the user's turns begin with all user turns of the benchmark's prompt, word for word
        shared words    8-grams in common cover half of the words of the benchmark's user turns, or more
        shared answer   the same of a benchmark's answer and a training answer; only with answers=True

Only what the user says is compared: assistants greet everybody in the same words, and system messages are shared. Case,
punctuation and spaces make no difference. Eight words and one half are Tülu 3's choice (Lambert et al. 2024,
https://arxiv.org/abs/2411.15124, section 3.2). GPT-3's 13-grams (https://arxiv.org/abs/2005.14165, appendix C) need
prompts of 13 words, and a third of the prompts of LLMBar and RM-Bench's chat have fewer; and GPT-3's rule that one
n-gram is enough would take a template for its content. Prompts of fewer than eight words are found when they are the same.

Memory is that of the benchmarks, however long the training data are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cookbook_lib.config import CookbookError
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.reward.benchmark_texts import BenchmarkText, benchmark_texts
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord
from cookbook_lib.data.reward.word_overlap import TURN, WordOverlap, words_of

WORDS, SHARE = 8, 0.5
Files = str | Path | Sequence[str | Path]


class Place(NamedTuple):
    """A benchmark, and a row of it."""

    benchmark: str
    origin: Origin


class Match(NamedTuple):
    """What a record has in common with which row of which benchmark, and with what share of its words."""

    benchmark: str
    origin: Origin
    how: str
    share: float


class Contamination:
    """A quality filter: the reason why a record would spoil a benchmark, or None. `match` says which row."""

    def __init__(self, rows: Iterable[BenchmarkText], *, answers: bool, words: int, share: float) -> None:
        _check(words, share)
        self.share = share
        self._counts: dict[str, Counter[str]] = {}
        self._found: dict[str, set[Place]] = {}
        self._same: dict[str, Place] = {}
        self._answers: WordOverlap | None = None
        prompts: dict[tuple[str, ...], Place] = {}
        replies: dict[tuple[str, ...], Place] = {}
        for row in rows:
            place = Place(row.benchmark, row.origin)
            self._counts.setdefault(row.benchmark, Counter())["rows"] += 1
            for opening in _openings(row.prompt)[-1:]:
                self._same.setdefault(opening, place)
            prompts.setdefault(tuple(words_of(*_asked(row.prompt))), place)
            for answer in row.answers if answers else ():
                replies.setdefault(tuple(words_of(answer)), place)
        self._prompt_places, self._prompts = list(prompts.values()), WordOverlap(prompts, words)
        self._answer_places = list(replies.values())
        if answers:
            self._answers = WordOverlap(replies, words)

    @classmethod
    def of(
        cls, benchmarks: Mapping[str, Files], *, answers: bool = False, words: int = WORDS, share: float = SHARE
    ) -> Contamination:
        """Read the benchmarks' files, by name; raises CookbookError for files that hold none.

        answers: compare answers too. words: the n of the n-grams. share: of a benchmark text's words, in (0, 1].
        """
        if not benchmarks:
            raise CookbookError("no benchmark is named, so nothing can be found; give one as name=file")
        rows = (row for name, files in benchmarks.items() for row in benchmark_texts(name, files))
        return cls(rows, answers=answers, words=words, share=share)

    def __call__(self, record: RewardRecord) -> str | None:
        found = self.match(record)
        if found is None:
            return None
        self._counts[found.benchmark]["records"] += 1
        self._found.setdefault(found.benchmark, set()).add(Place(found.benchmark, found.origin))
        return f"in benchmark {found.benchmark} ({found.how})"

    def match(self, record: RewardRecord) -> Match | None:
        """The row of a benchmark that this record shares its prompt with, or an answer; the first rule that applies."""
        for opening in _openings(record.prompt):
            if opening in self._same:
                return Match(*self._same[opening], "same prompt", 1.0)
        asked = words_of(*_asked(record.prompt))
        found = self._over(self._prompts, self._prompt_places, asked, "shared words")
        if found or self._answers is None:
            return found
        answers = (record.chosen, record.rejected) if isinstance(record, PreferencePair) else (record.response,)
        matches = (self._over(self._answers, self._answer_places, words_of(text), "shared answer") for text in answers)
        return next(filter(None, matches), None)

    def place(self, record: RewardRecord) -> str:
        """Where in the benchmarks the text stands that this record shares; for a record that has been found."""
        match = self.match(record)
        return f"{match.origin} ({match.share:.0%} of its words)" if match else ""

    def summary(self) -> dict[str, dict[str, Any]]:
        """For each benchmark: its rows, how many of them were met, and the records that were left out for it."""
        return {
            name: {"rows": counts["rows"], "met": len(self._found.get(name, ())), "records": counts["records"]}
            for name, counts in self._counts.items()
        }

    def _over(self, index: WordOverlap, places: list[Place], words: list[str], how: str) -> Match | None:
        best = index.best(words)
        return Match(*places[best[0]], how, best[1]) if best and best[1] >= self.share else None


def _asked(prompt: tuple[Message, ...]) -> list[str]:
    """What the user says, turn by turn."""
    return [message["content"] for message in prompt if message["role"] == "user"]


def _openings(prompt: tuple[Message, ...]) -> list[str]:
    """The user's first turn, the first two, and so on, each as one comparable text."""
    turns = [" ".join(words_of(turn)) for turn in _asked(prompt)]
    return [TURN.join(turns[:end]) for end in range(1, len(turns) + 1) if turns[end - 1]]


def _check(words: int, share: float) -> None:
    if words < 2:
        raise CookbookError(f"words is {words}, but an n-gram has two words or more; 8 is usual")
    if not 0 < share <= 1:
        raise CookbookError(f"share is {share}, but it is a part of a text, in (0, 1]; 0.5 is usual")
