"""Several rewards as one: r = sum over k of w_k r_k, and what has no verdict gets the least of every one of them.

    sum         total = sum_k w_k r_k
    normalise   total = sum_k w_k z_k,   z_k = (r_k - mean of its group) / (std of its group + 1e-6)       GDPO

    no verdict (any part says None)      r_k = lowest_k for every k

So no text without a verdict earns more than one with a wrong verdict, whatever the other parts would have paid it for
(being short, say): the sum is never less than that of the lowest, and within a group neither is z_k.

Normalised separately, a part with a wide spread does not drown one with a narrow one. With the estimator
reinforce_plus_plus_baseline, whose whitening over the round follows, it is GDPO, https://arxiv.org/abs/2601.05242.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.training.rewards.asking import ask
from cookbook_lib.training.rewards.base import REWARD_VERSION, Part, RewardResult, Sample
from cookbook_lib.training.rewards.catalog import part_named
from cookbook_lib.training.rewards.custom import custom_part
from cookbook_lib.training.rewards.length import shaped

EPSILON = 1e-6


@dataclass(frozen=True)
class Reward:
    """The parts, and how they become one number a sample. Call it with samples for a RewardResult."""

    parts: tuple[Part, ...]
    combine: Literal["sum", "normalise"] = "sum"

    @property
    def lowest(self) -> float:
        """What a sample without a verdict gets, before any normalising."""
        return sum(part.weight * part.lowest for part in self.parts)

    @property
    def version(self) -> str:
        """Another one where the same completions may earn something else, though the config is the same."""
        return " ".join([f"rewards {REWARD_VERSION}", *filter(None, (part.source for part in self.parts))])

    def check(self, tasks: Sequence[JudgeTask]) -> None:
        """Raises RowError or CookbookError for tasks that some part cannot judge: before the first step, not in it."""
        for part in self.parts:
            if part.check is not None:
                part.check(tasks)

    def __call__(self, samples: Sequence[Sample]) -> RewardResult:
        """What the samples earned. Raises CookbookError where a function does not answer as it must."""
        asked = np.stack([ask(part, samples) for part in self.parts])  # (K, C), NaN: no verdict
        lowest = np.array([[part.lowest] for part in self.parts])  # (K, 1)
        weights = np.array([[part.weight] for part in self.parts])
        alone = np.where(np.isnan(asked), lowest, asked)
        parsed = ~np.isnan(asked).any(axis=0)
        earned = np.where(parsed, alone, lowest)
        plain = (weights * earned).sum(axis=0)
        groups = np.array([sample.group for sample in samples], dtype=np.int64)
        total = plain if self.combine == "sum" else (weights * normalised(earned, groups)).sum(axis=0)
        names = [part.name for part in self.parts]
        return RewardResult(_single(total), _single(plain), dict(zip(names, _single(alone), strict=True)), parsed)


def normalised(rewards: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """z = (r - mean) / (std + 1e-6) within groups; the deviation is over n - 1, and a group without spread gets zeros.

    rewards (K, C), each row on its own; groups int64 (C,). A group of one keeps its rewards (mean 0, std 1), as in verl.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order, starts, n = np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes, sizes[group]

    def over_group(reduce: np.ufunc, values: np.ndarray) -> np.ndarray:
        return reduce.reduceat(values[:, order], starts, axis=1)[:, group]

    off = rewards - over_group(np.add, rewards) / n
    std = np.sqrt(over_group(np.add, off**2) / np.maximum(n - 1, 1))
    flat = over_group(np.maximum, rewards) == over_group(np.minimum, rewards)  # whatever the mean's rounding
    return np.where(n == 1, rewards, np.where(flat, 0.0, off / (std + EPSILON)))


def open_reward(config: RewardConfig, *, lowest: int = 0, highest: int = 4, max_new_tokens: int) -> Reward:
    """The reward that a config asks for, for scores from lowest to highest and completions of up to max_new_tokens.

    Raises CookbookError for unknown names (with the nearest), weights that do not match, and custom functions that fail.
    """
    names: list[str] = [*config.functions]
    _check_names(config, names)
    if not lowest < highest:
        raise CookbookError(
            f"judge.lowest is {lowest} and judge.highest {highest}, but a scale has two scores or more."
        )
    parts = [
        custom_part(str(config.custom), weight) if name == "custom" else part_named(name, weight, lowest, highest)
        for name, weight in zip(names, _weights(config), strict=True)
    ]
    return Reward((*parts, *_overlong(config, max_new_tokens)), config.combine)


def _weights(config: RewardConfig) -> list[float]:
    weights = [float(weight) for weight in config.weights] or [1.0] * len(config.functions)
    if len(weights) != len(config.functions):
        found = f"reward.weights has {len(weights)} numbers and reward.functions {len(config.functions)} names"
        raise CookbookError(f"{found} ({', '.join(config.functions)}), but each has one weight; empty = 1 each.")
    for name, weight in zip(config.functions, weights, strict=True):
        if not 0 < weight < math.inf:
            rule = "a weight is above 0 and finite; leave a function out that shall not count"
            raise CookbookError(f"reward.weights gives {name} {weight:g}, but {rule}.")
    return weights


def _check_names(config: RewardConfig, names: list[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise CookbookError(f"reward.functions is {names}, but it names at least one reward, and each of them once.")
    if ("custom" in names) != (config.custom is not None):
        found = f"reward.functions is {names} and reward.custom {config.custom}"
        raise CookbookError(f"{found}, but custom is listed where a function of yours is named; set both or neither.")


def _overlong(config: RewardConfig, max_new_tokens: int) -> list[Part]:
    buffer, penalty = config.overlong_buffer, config.overlong_penalty
    if buffer == 0:
        return []
    if not 0 < buffer <= max_new_tokens or not 0 < penalty < math.inf:
        found = f"reward.overlong_buffer is {buffer} and reward.overlong_penalty {penalty:g}"
        rule = f"the buffer is 0 to rollout.max_new_tokens={max_new_tokens} tokens and the penalty above 0"
        raise CookbookError(f"{found}, but {rule}.")
    return [Part("overlong", shaped(max_new_tokens, buffer), lowest=-1.0, weight=penalty)]


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
