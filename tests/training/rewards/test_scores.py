"""Rewards of scores: hand-worked numbers, and tasks that they cannot judge."""

import math

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.data.judge.prompts import score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.origin import Origin
from cookbook_lib.training.rewards import open_reward
from cookbook_lib.training.rewards.scores import distance, exact, exponential
from tests.training.rewards.samples import answer, preference, score


def paid(name, texts, truths, **scale):
    samples = [score(text, truth) for text, truth in zip(texts, truths, strict=True)]
    return open_reward(RewardConfig(functions=[name]), max_new_tokens=8, **scale)(samples).total.tolist()


def test_the_formulas_by_hand():
    p, g = np.array([3.0, 3.0, 0.0, np.nan]), np.array([3.0, 4.0, 4.0, 4.0])
    np.testing.assert_array_equal(exact(p, g, 4), [1, 0, 0, np.nan])
    np.testing.assert_array_equal(distance(p, g, 4), [1, 0.75, 0, np.nan])
    np.testing.assert_allclose(exponential(p, g, 4), [1, math.exp(-0.5), math.exp(-2), np.nan], rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("exact", [1, 0, 0, 0, 0]),
        ("distance", [1, 0.75, 0.5, 0.25, 0]),
        ("exponential", [1, math.exp(-0.5), math.exp(-1), math.exp(-1.5), math.exp(-2)]),
    ],
)
def test_each_distance_from_the_truth(name, values):
    texts = [f"Reasons.\nScore: {p}" for p in range(5)]
    assert paid(name, texts, [0] * 5) == pytest.approx(values, rel=1e-6)


def test_another_scale():
    assert paid("distance", ["Score: 10", "Score: 1", "Score: 0"], [7, 10, 1], lowest=1, highest=10) == pytest.approx(
        [1 - 3 / 9, 0, 0], rel=1e-6
    )


def test_a_truth_off_the_scale_is_found_before_the_first_step():
    reward = open_reward(RewardConfig(functions=["distance"]), max_new_tokens=8)
    reward.check([score("", 4).task])
    with pytest.raises(CookbookError, match="scores.jsonl row 17: truth is 7, but scores go from judge.lowest=0"):
        reward.check([score("", 4).task, score("", 7, row=17).task])


@pytest.mark.parametrize("name", ["distance", "format"])
def test_a_prompt_that_asks_for_another_scale_is_found_before_the_first_step(name):
    """All truths lie on both scales, and yet "Score: 4" of 4 would be paid as 4 of 10."""
    asked = score_prompt([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Score: 9"}])
    task = JudgeTask(asked, "score", 3, "test", origin=Origin("scores.jsonl", 5))
    open_reward(RewardConfig(functions=[name]), max_new_tokens=8).check([task])
    with pytest.raises(
        CookbookError, match=r"row 5: the scale in the prompt is \(0, 4\), but scores are read and paid from"
    ):
        open_reward(RewardConfig(functions=[name]), highest=10, max_new_tokens=8).check([task])


@pytest.mark.parametrize("name", ["exact", "distance", "exponential"])
@pytest.mark.parametrize("sample", [preference("Preference: A", "A"), answer("#### 3", "3")])
def test_a_task_of_another_kind(name, sample):
    reward = open_reward(RewardConfig(functions=[name]), max_new_tokens=8)
    for judge in (lambda: reward([sample]), lambda: reward.check([sample.task])):
        with pytest.raises(CookbookError, match=r"row 1: kind is '\w+', but this reward is for scores; set"):
            judge()
