"""Which of several answers a name means, in the tags and the choices of a labelling interface.

    answer1_rating   tag of the first answer, aspect "rating"      answer_2   choice of the second
    rating_2         tag of the second                             left       choice of the first of two
    best_answer      tag of no answer                              maths      choice about something else

The names that a task's data use for its answers come before numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SIDES = {"left": 0, "right": 1, "a": 0, "b": 1}
NUMBERED = re.compile(r"(?:answer|response|output|completion|option|text)?[\s_-]*(\d+)", re.IGNORECASE)
APART = r"(?<![^\W_])(?:%s)(?![^\W_])"  # neither a letter nor a digit goes on before or after
TAGGED = re.compile(APART % NUMBERED.pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Answers:
    """How many answers a task has, and what its data calls them."""

    count: int
    names: tuple[str, ...] = ()

    def named_in(self, text: str) -> tuple[int, str] | None:
        """The answer that a tag such as `answer1_rating` or `rating_2` is about, and the rest of its name; or None."""
        for place, name in enumerate(self.names):
            if name and (found := re.search(APART % re.escape(name), text)):
                return place, _without(text, found)
        found = TAGGED.search(text)
        if found is None or not 1 <= int(found[1]) <= self.count:
            return (0, text) if self.count == 1 else None
        return int(found[1]) - 1, _without(text, found)

    def chosen_in(self, text: str) -> int | None:
        """The answer that a choice names: by its field, its number, its side; None for a choice about something else."""
        text = text.strip()
        if text in self.names:
            return self.names.index(text)
        if self.count == 2 and text.lower() in SIDES:
            return SIDES[text.lower()]
        found = NUMBERED.fullmatch(text)
        return int(found[1]) - 1 if found and 1 <= int(found[1]) <= self.count else None


def _without(text: str, found: re.Match[str]) -> str:
    return (text[: found.start()] + text[found.end() :]).strip(" _-")
