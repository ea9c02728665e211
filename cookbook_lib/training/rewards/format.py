"""The reward of saying it in the asked form: 1 where a verdict can be read, None where it cannot.

    score        "Score: 3"          data/judge/verdicts.py
    preference   "Preference: A"
    answer       "#### 72", "Answer: teal", "\\boxed{3}", or tool calls            answers.py, tool_calls.py

An answer is in the asked form where any of the rewards for answers reads one: beside such a reward, it takes nothing away.
Unread text earns the lowest there is with or without it. What it adds is a difference, in a group where every verdict is
wrong, between those that are verdicts and those that are none.
"""

from __future__ import annotations

from collections.abc import Sequence

from cookbook_lib.data.judge.verdicts import read_preference, read_score
from cookbook_lib.training.rewards.answers import states_answer
from cookbook_lib.training.rewards.base import RewardFunction, Sample, said
from cookbook_lib.training.rewards.tool_calls import read_calls


def well_formed(lowest: int, highest: int) -> RewardFunction:
    """The reward function for scores from lowest to highest, preferences and answers alike."""

    def function(samples: Sequence[Sample]) -> list[float | None]:
        return [1.0 if has_verdict(sample, lowest, highest) else None for sample in samples]

    return function


def has_verdict(sample: Sample, lowest: int, highest: int) -> bool:
    """Whether the text gives what its task asks for, right or wrong."""
    text = said(sample)
    if sample.task.kind == "score":
        return read_score(text, lowest, highest) is not None
    if sample.task.kind == "preference":
        return read_preference(text) is not None
    return states_answer(text) or read_calls(text) is not None
