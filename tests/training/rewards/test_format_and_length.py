"""Rewards of the asked form, and of not filling all the room there is."""

import numpy as np
import pytest

from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.training.rewards import open_reward
from cookbook_lib.training.rewards.length import overlong
from tests.training.rewards.samples import answer, preference, score

FORMAT = open_reward(RewardConfig(functions=["format"]), max_new_tokens=8)


@pytest.mark.parametrize(
    "sample",
    [
        score("Score: 0", 4),
        preference("Preference: tie", "A"),
        answer("#### 7", "8"),
        answer("A: 7", "8"),
        answer("Reasons.\nAnswer: teal", "8"),
        answer("\\boxed{7}", "8"),
        answer('<tool_call>{"name": "f", "arguments": {}}</tool_call>\nDone.', "8"),
    ],
)
def test_any_verdict_in_the_asked_form(sample):
    assert FORMAT([sample]).total.tolist() == [1.0]


@pytest.mark.parametrize(
    "sample",
    [
        score("Preference: A", 4),
        score("Score: 9", 4),
        score("Score: 4", 4, finished=False),
        preference("Score: 4", "A"),
        answer("It is seven,\nI think.", "7"),
        answer("Answer: 7\nAnswer: 7", "7"),
    ],
)
def test_no_verdict_in_it(sample):
    result = FORMAT([sample])
    assert (result.total.tolist(), result.parsed.tolist()) == ([0.0], [False])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gsm8k", "So \\boxed{72}.\n#### 72"),
        ("gsm8k", "#### Step 1\n48 + 24\n#### 72"),
        ("gsm8k", "Answer: 48 first\n#### 72"),
        ("gsm8k", "A: 72"),
        ("char_count", "Answer: \\boxed{72}"),
        ("char_count", "#### Counted\n\\boxed{72}"),
        ("exact_match", "72"),
    ],
)
def test_it_takes_nothing_from_an_answer_that_another_reward_reads(name, text):
    both = open_reward(RewardConfig(functions=[name, "format"]), max_new_tokens=8)
    assert both([answer(text, "72")]).total.tolist() == [2.0]


def test_dapo_by_hand():
    """Longest 20,480, buffer 4,096: free up to 16,384, then linear, -1 at the end."""
    lengths = np.array([1, 16_384, 16_385, 18_432, 20_480, 30_000])
    np.testing.assert_array_equal(overlong(lengths, 20_480, 4_096), [0, 0, -1 / 4096, -0.5, -1, -1])


def test_the_penalty_as_verl_takes_it():
    """min(-(L - (L_max - L_buf)) / L_buf * f, 0) with f = 0.5, L_max = 10, L_buf = 4, beside a right verdict."""
    config = RewardConfig(functions=["exact"], overlong_buffer=4, overlong_penalty=0.5)
    reward = open_reward(config, max_new_tokens=10)
    result = reward([score("Score: 3", 3, tokens=length) for length in range(1, 11)])
    expected = [1 + min(-(length - (10 - 4)) / 4 * 0.5, 0) for length in range(1, 11)]
    np.testing.assert_allclose(result.total, expected, rtol=1e-6)
    np.testing.assert_allclose(result.parts["overlong"], (np.array(expected) - 1) / 0.5, rtol=1e-6)
    assert reward.lowest == -0.5


def test_a_buffer_of_the_whole_length():
    assert overlong(np.array([1, 4]), 4, 4).tolist() == [-0.25, -1.0]
