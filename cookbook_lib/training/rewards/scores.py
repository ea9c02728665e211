"""Rewards of a score, p the one that the judge gave and g the true one, on a scale from lowest to highest.

    exact          1 if p = g else 0
    distance       1 - |p - g| / (highest - lowest)
    exponential    e^(-2 |p - g| / (highest - lowest))          being near pays little, being right much

distance and exponential are those of OpenJudge's and RM-Gallery's pointwise trainings. There, text without a score
counts as the score 0, so it earns 1 where the truth is 0; here it is no score, and earns the lowest there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from cookbook_lib.data.judge.prompts import scale_asked
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.verdicts import read_score
from cookbook_lib.training.rewards.base import RewardFunction, Sample, TaskCheck, refuse_task, said

Formula = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
STEEPNESS = 2.0


def exact(p: np.ndarray, g: np.ndarray, span: float) -> np.ndarray:
    """1 where the score is the true one. p, g (C,); p NaN: not read. Returns (C,), NaN where p is."""
    return np.where(np.isnan(p), np.nan, p == g)


def distance(p: np.ndarray, g: np.ndarray, span: float) -> np.ndarray:
    """1 - |p - g| / span, span = highest - lowest."""
    return 1 - np.abs(p - g) / span


def exponential(p: np.ndarray, g: np.ndarray, span: float) -> np.ndarray:
    """e^(-2 |p - g| / span), span = highest - lowest."""
    return np.exp(-STEEPNESS * np.abs(p - g) / span)


def paid_by(formula: Formula, lowest: int, highest: int) -> RewardFunction:
    """The reward function of a formula, for scores from lowest to highest."""

    def function(samples: Sequence[Sample]) -> list[float | None]:
        scores = [read_score(said(sample), lowest, highest) for sample in samples]
        p = np.array([math.nan if score is None else score for score in scores], dtype=np.float64)
        g = np.array([true_score(sample.task, lowest, highest) for sample in samples], dtype=np.float64)
        return [None if math.isnan(value) else value for value in formula(p, g, highest - lowest).tolist()]

    return function


def true_score(task: JudgeTask, lowest: int, highest: int) -> float:
    """The score that a task knows to be right. Raises RowError for another kind of task, or a score off the scale."""
    if task.kind != "score":
        refuse_task(task, "kind", task.kind, "this reward is for scores", "set reward.functions to what the tasks ask")
    if not lowest <= task.truth <= highest:
        rule = f"scores go from judge.lowest={lowest} to judge.highest={highest}"
        refuse_task(task, "truth", task.truth, rule, "set them to the scale of the data, or correct the row")
    return float(task.truth)


def checks(lowest: int, highest: int) -> TaskCheck:
    """Raises RowError for a task that these rewards cannot judge, and for one that asks for scores of another scale."""

    def check(tasks: Sequence[JudgeTask]) -> None:
        for task in tasks:
            true_score(task, lowest, highest)
            check_scale(task, lowest, highest)

    return check


def scales(lowest: int, highest: int) -> TaskCheck:
    """Raises RowError for a task that asks for scores of another scale; tasks may be of any kind."""

    def check(tasks: Sequence[JudgeTask]) -> None:
        for task in tasks:
            check_scale(task, lowest, highest)

    return check


def check_scale(task: JudgeTask, lowest: int, highest: int) -> None:
    """Raises RowError where the prompt asks for scores of another scale than is paid for: right ones would not be read, or be
    paid as if they were near. A prompt of other words than ours does not say (`scale_asked`)."""
    asked = scale_asked(task.prompt)
    if asked not in (None, (lowest, highest)):
        rule = f"scores are read and paid from judge.lowest={lowest} to judge.highest={highest}"
        refuse_task(
            task, "the scale in the prompt", asked, rule, "set them to it, or prepare the prompts by another rubric"
        )
