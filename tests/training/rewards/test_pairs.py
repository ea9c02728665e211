"""Rewards of preferences: right verdicts, both orders of a pair, and pairs that are not whole."""

import itertools

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.data.judge.verdicts import swapped
from cookbook_lib.training.rewards import open_reward
from tests.training.rewards.samples import answer, preference, score

CORRECT = open_reward(RewardConfig(functions=["correct"]), max_new_tokens=8)
CONSISTENT = open_reward(RewardConfig(functions=["swap_consistent"]), max_new_tokens=8)


def asked(verdict, truth, pair=None, order=None, **fields):
    return preference(f"Reasons.\nPreference: {verdict}", truth, pair, order, **fields)


def test_correct():
    verdicts = list(itertools.product(["A", "B", "tie"], repeat=2))
    paid = CORRECT([asked(verdict, truth) for verdict, truth in verdicts]).total
    assert paid.tolist() == [float(verdict == truth) for verdict, truth in verdicts]


@pytest.mark.parametrize("truth", ["A", "B", "tie"])
def test_consistent_is_right_in_both_orders(truth):
    """All nine pairs of verdicts: only the one that names the right answer twice is paid."""
    for first, second in itertools.product(["A", "B", "tie"], repeat=2):
        both = [asked(first, truth, "p", "ab"), asked(second, swapped(truth), "p", "ba")]
        right = float(first == truth and second == swapped(truth))
        assert CONSISTENT(both).total.tolist() == [right, right]


def test_several_verdicts_of_each_order():
    """Right 3 of 4 in order ab and 1 of 2 in order ba: a right verdict is worth 1/2 there and 3/4 here."""
    ab = [asked(verdict, "A", "p", "ab", group=0) for verdict in "AAAB"]
    ba = [asked(verdict, "B", "p", "ba", group=1) for verdict in "BA"]
    paid = CONSISTENT(ab + ba).total
    assert paid.tolist() == [0.5, 0.5, 0.5, 0.0, 0.75, 0.0]
    assert paid[:4].mean() == paid[4:].mean() == 3 / 4 * 1 / 2  # the expectation: both orders right


def test_an_unread_verdict_is_not_right_and_does_not_agree():
    both = [
        asked("A", "A", "p", "ab"),
        asked("A", "A", "p", "ab"),
        preference("B", "B", "p", "ba"),
        asked("B", "B", "p", "ba"),
    ]
    result = CONSISTENT(both)
    assert result.total.tolist() == [0.5, 0.5, 0.0, 1.0]
    assert result.parsed.tolist() == [True, True, False, True]


def test_pairs_do_not_mix_whatever_their_order_in_the_round():
    rng = np.random.default_rng(0)
    samples = [
        asked(rng.choice(["A", "B"]), truth, f"pair {pair}", order, group=2 * pair + place)
        for pair in range(6)
        for place, (order, truth) in enumerate([("ab", "A"), ("ba", "B")])
        for _ in range(3)
    ]
    shuffled = rng.permutation(len(samples))
    together = CONSISTENT([samples[i] for i in shuffled]).total
    alone = np.concatenate([CONSISTENT(samples[6 * pair : 6 * pair + 6]).total for pair in range(6)])
    np.testing.assert_array_equal(together, alone[shuffled])


def test_a_pair_asked_in_one_order_only():
    samples = [asked("A", "A", "p1", "ab"), asked("B", "B", "p1", "ba"), asked("A", "A", "p2", "ba")]
    for judge in (lambda: CONSISTENT(samples), lambda: CONSISTENT.check([sample.task for sample in samples])):
        with pytest.raises(CookbookError, match=r"1 of 2 pairs are asked in one order only \('p2' only as ba\)"):
            judge()


def test_a_copy_of_one_order_is_told_before_the_first_step():
    """In the round where it is asked alone it would have nothing to be compared with."""
    both = [asked("A", "A", "p", "ab").task, asked("B", "B", "p", "ba").task]
    CONSISTENT.check(both * 2)
    with pytest.raises(
        CookbookError, match="pair_id is 'p', but it is there 2 times in order ab and 1 times in order ba"
    ):
        CONSISTENT.check([*both, both[0]])


def test_a_preference_that_belongs_to_no_pair():
    with pytest.raises(CookbookError, match="pairs.jsonl row 3: order is None, but swap_consistent is for pairs"):
        CONSISTENT([asked("A", "A", row=3)])


def test_orders_whose_truths_contradict():
    """As they stand, a judge that always says A would be paid."""
    tasks = [asked("A", "A", "p", "ab").task, asked("A", "A", "p", "ba", row=2).task]
    with pytest.raises(CookbookError, match="row 2: truth in order ba is 'A', but pair 'p' has A in order ab"):
        CONSISTENT.check(tasks)
    CONSISTENT.check([asked("A", "tie", "p", "ab").task, asked("A", "tie", "p", "ba").task])


@pytest.mark.parametrize("reward", [CORRECT, CONSISTENT])
@pytest.mark.parametrize("sample", [score("Score: 3", 3), answer("#### 3", "3")])
def test_a_task_of_another_kind(reward, sample):
    for judge in (lambda: reward([sample]), lambda: reward.check([sample.task])):
        with pytest.raises(CookbookError, match=r"row 1: kind is '\w+', but this reward is for preferences"):
            judge()
