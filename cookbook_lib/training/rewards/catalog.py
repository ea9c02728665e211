"""The rewards by name, as reward.functions lists them.

    scores         exact  distance  exponential          answers     gsm8k  exact_match  tool_call  char_count
    preferences    correct  swap_consistent              any task    format  custom

A part that judges other tasks than it is given, or truths that it cannot meet, says so in its check.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import get_args

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardName
from cookbook_lib.training.rewards import answers, preferences, scores
from cookbook_lib.training.rewards.base import Part
from cookbook_lib.training.rewards.format import well_formed
from cookbook_lib.training.rewards.tool_calls import tool_call, true_calls

NAMES: tuple[str, ...] = get_args(RewardName)


def part_named(name: str, weight: float, lowest: int, highest: int) -> Part:
    """One of our rewards, for scores from lowest to highest. Raises CookbookError, with the nearest, for a name that is none."""
    if name not in PARTS:
        near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]
        raise CookbookError(f"reward.functions: {name!r} is none; did you mean {near!r}? There are {', '.join(NAMES)}.")
    part = PARTS[name](lowest, highest)
    return Part(name, part.function, part.lowest, weight, part.check)


def _score(formula: scores.Formula) -> Callable[[int, int], Part]:
    def make(lowest: int, highest: int) -> Part:
        function = scores.paid_by(formula, lowest, highest)
        return Part(formula.__name__, function, check=scores.checks(lowest, highest))

    return make


def _fixed(part: Part) -> Callable[[int, int], Part]:
    return lambda lowest, highest: part


PARTS: dict[str, Callable[[int, int], Part]] = {
    "exact": _score(scores.exact),
    "distance": _score(scores.distance),
    "exponential": _score(scores.exponential),
    "correct": _fixed(Part("correct", preferences.correct, check=preferences.check_preferences)),
    "swap_consistent": _fixed(Part("swap_consistent", preferences.swap_consistent, check=preferences.check_pairs)),
    "format": lambda lowest, highest: Part(
        "format", well_formed(lowest, highest), check=scores.scales(lowest, highest)
    ),
    "gsm8k": _fixed(Part("gsm8k", answers.gsm8k, check=answers.checks(answers.true_number))),
    "exact_match": _fixed(Part("exact_match", answers.exact_match, check=answers.checks(answers.true_text))),
    "tool_call": _fixed(Part("tool_call", tool_call, check=answers.checks(true_calls))),
    "char_count": _fixed(Part("char_count", answers.char_count, check=answers.checks(answers.true_number))),
}
