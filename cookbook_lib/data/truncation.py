"""What becomes of a conversation longer than max_length: always whole messages, rendered anew.

    policy   what goes                                       what is never cut             refused when
    right    messages from the end, back to the last         answers, questions            no learned answer fits
             learned answer that fits
    left     text from the front: whole old turns, then      system, headers, answers,     the last question's end
             the beginning of the oldest question left       the ends of questions         and answer do not fit
    turns    whole old turns                                 system, turns                 the last turn does not fit
    drop     the row                                         anything                      always
    error    nothing                                         anything                      always, and the run stops

A turn is a question and everything up to the next one. A shorter conversation goes through the template again, so a row
is always what the template makes of some conversation: with its first token, headers, tools and end-of-turn tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from cookbook_lib.config import CookbookError

Truncation = Literal["right", "left", "turns", "error", "drop"]


@dataclass(frozen=True)
class Measured:
    """A conversation that is too long: how many tokens it has, and for each message its role, weight and tokens."""

    total: int
    roles: tuple[str, ...]
    weights: tuple[float, ...]  # of each message in the loss
    begins: tuple[int, ...]  # first token of its text
    ends: tuple[int, ...]  # after its last token, the end-of-turn token of an answer included

    @property
    def questions(self) -> list[int]:
        """Where turns begin."""
        return [m for m, role in enumerate(self.roles) if role == "user"]


@dataclass(frozen=True)
class Cut:
    """What to try: the messages to keep, and tokens to take off the front of the first question that is kept."""

    keep: tuple[int, ...]
    trim: int = 0


def cuts(measured: Measured, max_length: int, policy: Truncation) -> Iterator[Cut]:
    """Ways to shorten, the one that keeps most first, by estimated lengths: another rendering may differ a little."""
    if policy not in get_args(Truncation):
        raise CookbookError(f"data.truncation is {policy!r}; it must be one of {', '.join(get_args(Truncation))}.")
    ways = {"right": _right, "left": _left, "turns": _turns}
    return ways[policy](measured, max_length) if policy in ways else iter(())


def _right(measured: Measured, max_length: int) -> Iterator[Cut]:
    for m in reversed(range(len(measured.roles))):
        if measured.weights[m] and measured.ends[m] <= max_length:
            yield Cut(tuple(range(m + 1)))


def _turns(measured: Measured, max_length: int) -> Iterator[Cut]:
    return (cut for cut in _from_questions(measured, max_length) if not cut.trim)


def _left(measured: Measured, max_length: int) -> Iterator[Cut]:
    for cut in _from_questions(measured, max_length):
        question = next(m for m in cut.keep if measured.roles[m] == "user")
        room = measured.ends[question] - measured.begins[question]
        if cut.trim < room and not (cut.trim and measured.weights[question]):
            yield cut


def _from_questions(measured: Measured, max_length: int) -> Iterator[Cut]:
    """The conversation from each question on, with what comes before the first one, oldest question first."""
    first = next(iter(measured.questions), 0)
    for question in measured.questions:
        total = measured.total - (measured.begins[question] - measured.begins[first])
        keep = (*range(first), *range(question, len(measured.roles)))
        if any(measured.weights[m] for m in keep):
            yield Cut(keep, max(0, total - max_length))
