"""What a reward is made of: the sample that earns it, the function that pays it, and its part in the whole.

    Sample(text, task, ...) ──▶ RewardFunction ──▶ float, or None: no verdict can be read

A function is asked for many samples at once, a round or a part of one, so a reward over several of them (both orders of
a pair) is a function like the others. None is not a number of the function's choosing: combine.py makes of it the
lowest that can be earned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.verdicts import begun_by as begun_by
from cookbook_lib.data.origin import RowError

REWARD_VERSION = 2  # a new one when a completion earns something else, also by another reading of its verdict


@dataclass(frozen=True)
class Sample:
    """One completion, with the task that it answers.

    text: the completion as its readers see it, special tokens left out; tokens: its length, with the token that ends it.
    finished: it ended by itself; what was cut at the longest length has said nothing yet (`said`).
    group: completions of one prompt share it; rewards are normalised and compared within groups.
    begun: the reasoning tag that the prompt opened and the completion goes on from (`begun_by`).
    """

    text: str
    task: JudgeTask
    finished: bool = True
    tokens: int = 0
    group: int = 0
    begun: str = ""


RewardFunction = Callable[[Sequence[Sample]], Sequence[float | None]]
TaskCheck = Callable[[Sequence[JudgeTask]], None]


@dataclass(frozen=True)
class Part:
    """One function among those that make the reward.

    lowest: nothing it pays is less (infinity is no answer). check: raises RowError or CookbookError for tasks that it
    cannot judge. place: where the user's function is written, for sentences about it; empty for ours. source: sha256 of that
    file as it was run, so that a run knows the rewards of an earlier text of it from its own.
    """

    name: str
    function: RewardFunction
    lowest: float = 0.0
    weight: float = 1.0
    check: TaskCheck | None = None
    place: str = ""
    source: str = ""


@dataclass(frozen=True)
class RewardResult:
    """What C samples earned, float32 (C,) each.

    total: what advantages are made of. plain: the weighted sum before any normalising, which curves and validation show
    (the same as total where combine is sum). parts: name -> what that function paid alone, unweighted.
    parsed: bool (C,), False where a verdict could not be read: total and plain are then the lowest there is.
    """

    total: np.ndarray
    plain: np.ndarray
    parts: dict[str, np.ndarray]
    parsed: np.ndarray


def said(sample: Sample) -> str:
    """What counts of a completion: its text, after the tag that the prompt opened, if it is finished; else nothing.

    The end of a text that was cut is the length's, not the model's: `Score: 3` may have become `Score: 3.5`.
    """
    return sample.begun + sample.text if sample.finished else ""


def refuse_task(task: JudgeTask, field: str, found: Any, rule: str, fix: str) -> NoReturn:
    """Raise the RowError of a task that a reward cannot judge, with the place where the task was read."""
    origin = task.origin
    raise RowError(origin.file if origin else "", origin.row if origin else 0, field, found, rule, fix)
