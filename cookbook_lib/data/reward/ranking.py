"""Answers in order of merit -> pairs: K answers of different merit give K (K - 1) / 2 of them.

    merit   3 ─ 1 ─ 1      (3, 1) margin 2   (3, 1) margin 2   (1, 1) a tie

InstructGPT learns from all pairs of a ranking (https://arxiv.org/abs/2203.02155, section 3.5), and so do we; they share
their prompt, hence its group and the side of the split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import RowError
from cookbook_lib.data.records import opening_group
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.data.reward.registry import Made

Merits = Iterable[tuple[str, float]]  # answers, each with a number that is higher the better it is


def ranked_pairs(prompt: tuple[Message, ...], answers: Merits, source: str) -> Iterator[Made]:
    """All pairs of these answers, the better one chosen, by the difference of their merits; equal ones tie.

    A pair that cannot be one (the same text twice, an empty answer) is yielded as its RowError.
    """
    ordered = sorted(answers, key=lambda answer: -answer[1])
    for (better, high), (worse, low) in combinations(ordered, 2):
        margin = high - low
        yield made_pair(prompt, better, worse, margin or None, tie=not margin, source=source)


def made_pair(
    prompt: tuple[Message, ...], chosen: str, rejected: str, margin: float | None = None, *, tie: bool, source: str
) -> Made:
    """The pair, or the RowError that says why it is none: other pairs of its row may be sound."""
    try:
        return PreferencePair(prompt, chosen, rejected, margin, tie, group=opening_group(prompt), source=source)
    except RowError as error:
        return error


def made_scored(prompt: tuple[Message, ...], response: str, scores: Mapping[str, float], *, source: str) -> Made:
    """The scored response, or the RowError that says why it is none."""
    try:
        return ScoredResponse(prompt, response, scores, group=opening_group(prompt), source=source)
    except RowError as error:
        return error
