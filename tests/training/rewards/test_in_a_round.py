"""Rewards where they are asked: on what a round generated, tokens and all."""

from types import SimpleNamespace

import numpy as np
import pytest

from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.data.judge.verdicts import swapped
from cookbook_lib.training.rewards import open_reward
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.rollouts.judging import judge
from tests.training.rewards.samples import preference, score

STOP = 0
ALONE = SimpleNamespace(on_main=lambda work: work())


class Letters:
    """A tokenizer whose tokens are characters; token 0 ends a text and shows nothing."""

    def decode(self, ids, skip_special_tokens=False):
        return "".join(chr(i) for i in ids if i)


def ids(text):
    return np.array([ord(letter) for letter in text], np.int32)


def answered(tasks, texts, functions, prompt="User: ?\nJudge:", finished=True, **config):
    """What `judge` makes of these texts, a list of them for each task."""
    made = [
        Generated(
            tuple(np.append(ids(text), [STOP] * finished).astype(np.int32) for text in own),
            (finished,) * len(own),
            tuple(np.zeros(len(text) + finished, np.float32) for text in own),
        )
        for own in texts
    ]
    reward = open_reward(RewardConfig(functions=functions, **config), max_new_tokens=64)
    asked = [SimpleNamespace(ids=ids(prompt), task=task) for task in tasks]
    return judge(ALONE, Letters(), range(len(tasks)), asked, made, reward)


def test_scores():
    task = score("", 3).task
    (one,) = answered([task], [["Good.\nScore: 3", "Score: 1", "Score"]], ["exact", "format"])
    assert one.totals == (2.0, 1.0, 0.0)
    assert one.group.stats["parsed"] == (1.0, 1.0, 0.0)
    assert one.spread


@pytest.mark.parametrize(("prompt", "totals"), [("Judge:", (1.0, 1.0)), ("Judge: <think>\n", (0.0, 1.0))])
def test_reasoning_that_the_prompt_began(prompt, totals):
    """Without its end there is no verdict, though the completion itself shows no tag."""
    texts = ["It could be\nScore: 3", "It could be\nScore: 1\n</think>\nScore: 3"]
    assert answered([score("", 3).task], [texts], ["exact"], prompt)[0].totals == totals


def test_completions_that_were_cut_earn_the_lowest():
    (one,) = answered([score("", 3).task], [["Score: 3"]], ["exact"], finished=False, overlong_buffer=32)
    assert one.totals == (-1.0,)


def test_both_orders_of_a_pair_in_one_round():
    orders = [preference("", "A", "p", "ab").task, preference("", swapped("A"), "p", "ba").task]
    said = [["Preference: A", "Preference: A"], ["Preference: A", "Preference: B"]]
    by_order = answered(orders, said, ["correct", "swap_consistent"], weights=[0.5, 0.5])
    assert [one.totals for one in by_order] == [(0.75, 0.75), (0.0, 1.0)]
    assert [one.spread for one in by_order] == [False, True]


def test_groups_are_normalised_each_on_its_own():
    tasks, said = [score("", 3).task, score("", 1).task], [["Score: 3", "Score: 2"], ["Score: 4", "Score: 4"]]
    first, second = answered(tasks, said, ["exact", "distance"], combine="normalise")
    assert first.totals == pytest.approx((2 * 0.5**0.5, -2 * 0.5**0.5), rel=1e-4)
    assert second.totals == (0.0, 0.0)
    assert second.group.stats["reward"] == (0.25, 0.25)
