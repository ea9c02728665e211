"""Text, samples, rewards, and what a group knows of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.rewards.base import RewardResult
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.rollouts.judging import judge, with_stats
from tests.training.rollout_run import STOP, Numbers, Prompts, evens

MADE = [
    Generated(
        (np.array([4, 5, STOP], np.int32), np.array([6, 8], np.int32)),
        (True, False),
        (np.array([-1, -2, -3], np.float32), np.array([-4, -5], np.float32)),
    ),
    Generated((np.array([STOP], np.int32), np.array([7], np.int32)), (True, False), (np.zeros(1, np.float32),) * 2),
]


class Tagged(Numbers):
    """4 opens reasoning, and is a special token: decoding leaves it out."""

    def __init__(self):
        self.added_tokens_decoder = {4: SimpleNamespace(content="[THINK]", special=True)}

    def decode(self, ids, skip_special_tokens=False):
        return super().decode([i for i in ids if not (skip_special_tokens and i == 4)])


def judged(reward=evens, first=0, tokenizer=None):
    prompts, mesh = Prompts.of(), make_mesh(device="cpu")
    return judge(mesh, tokenizer or Numbers(), [5, 2], [prompts[5], prompts[2]], MADE, reward, first=first)


def test_reasoning_that_is_not_closed_is_seen_as_such():
    seen = []
    judged(lambda samples: seen.extend(s.text for s in samples) or evens_but_tags(samples), tokenizer=Tagged())
    assert seen == ["[THINK]5", "6 8", "", "7"]


def evens_but_tags(samples):
    return evens([replace(s, text=s.text.replace("[THINK]", "")) for s in samples])


def test_what_the_reward_sees():
    seen = []

    def reward(samples):
        seen.extend(samples)
        return evens(samples)

    judged(reward, first=7)
    assert [(s.text, s.finished, s.tokens, s.group) for s in seen] == [
        ("4 5", True, 3, 7), ("6 8", False, 2, 7), ("", True, 1, 8), ("7", False, 1, 8),
    ]  # fmt: skip
    assert [s.task.prompt[0]["content"] for s in seen] == ["5", "5", "2", "2"]


def test_what_a_group_knows():
    one, other = judged(first=3)
    assert (one.group.row, one.group.number, other.group.row, other.group.number) == (5, 3, 2, 4)
    assert one.group.completions[0].tolist() == [4, 5, STOP] and one.group.finished == (True, False)
    assert [x.tolist() for x in one.group.columns["rollout_logps"]] == [[-1, -2, -3], [-4, -5]]
    assert one.group.stats["reward"] == one.totals == (0.5, 1.0)
    assert other.group.stats["parsed"] == (0.0, 1.0) and one.group.stats["length"] == (3.0, 2.0)
    assert one.group.stats["group_std"] == (0.25, 0.25)
    assert one.spread and not other.spread
    assert one.texts == ("4 5", "6 8")
    assert "reward_evens" not in one.group.stats, "one part is the reward itself"
    assert with_stats(one.group, filtered=0.5).stats["filtered"] == (0.5, 0.5)


def test_advantages_are_made_of_totals_and_curves_of_the_plain_reward():
    def reward(samples):
        plain = np.array([1, 2, 3, 3], np.float32)
        parts = {"a": plain / 2, "b": plain / 2}
        return RewardResult(plain - 2, plain, parts, np.ones(4, bool))

    one, other = judged(reward)
    assert one.totals == (-1, 0) and one.group.stats["reward"] == (1, 2)
    assert one.group.stats["reward_a"] == one.group.stats["reward_b"] == (0.5, 1.0)
    assert not other.spread


@pytest.mark.parametrize(
    "column", [np.array([1.0, np.nan, 0, 0]), np.array([1.0, 2.0]), np.array([np.inf, 0, 0, 0])], ids=str
)
def test_a_reward_that_is_no_number_for_each_is_refused(column):
    good = np.zeros(4, np.float32)
    with pytest.raises(
        CookbookError, match=r"the reward's 'total' has \d values for 4 completions, or some that are not"
    ):
        judged(lambda samples: RewardResult(column, good, {}, good))
    with pytest.raises(CookbookError, match="the reward's 'half'"):
        judged(lambda samples: RewardResult(good, good, {"half": column}, good))


def test_a_reward_that_raises_is_told():
    def reward(samples):
        raise CookbookError("my.py:3: division by zero at sample 2.")

    with pytest.raises(CookbookError, match="my.py:3: division by zero"):
        judged(reward)
