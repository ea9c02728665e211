"""Several rewards as one: weights, separate normalising, and configs that cannot be."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig, RewardName
from cookbook_lib.training.advantages import reinforce_plus_plus_baseline
from cookbook_lib.training.rewards import Part, Reward, open_reward
from cookbook_lib.training.rewards.catalog import PARTS
from cookbook_lib.training.rewards.combine import normalised
from tests.training.rewards.samples import score


def paying(name, values, weight=1.0, lowest=0.0):
    """A part that pays these values, whatever it is asked."""
    return Part(name, lambda samples: values, lowest, weight)


def samples_in(groups):
    return [score("", 0, group=group) for group in groups]


# ----------------------------------------------------------------------------------------------------------------- sum


def test_weights():
    reward = Reward((paying("a", [1.0, 0.0, 0.5]), paying("b", [2.0, -1.0, 0.0], 0.25, -1.0)))
    result = reward(samples_in([0, 0, 0]))
    assert result.total.tolist() == result.plain.tolist() == [1.5, -0.25, 0.5]
    assert {name: part.tolist() for name, part in result.parts.items()} == {"a": [1, 0, 0.5], "b": [2, -1, 0]}
    assert result.total.dtype == result.plain.dtype == result.parts["a"].dtype == np.float32
    assert result.parsed.dtype == bool
    assert result.parsed.all()


def test_none_earns_the_lowest_of_every_part():
    """b would have paid 2; it says so in its own part, and the total is a's 0 and b's -1 at their weights."""
    reward = Reward((paying("a", [None, 0.0, None]), paying("b", [2.0, -1.0, None], 0.25, -1.0)))
    result = reward(samples_in([0, 0, 0]))
    assert result.total.tolist() == [-0.25, -0.25, -0.25]
    assert result.parsed.tolist() == [False, True, False]
    assert {name: part.tolist() for name, part in result.parts.items()} == {"a": [0, 0, 0], "b": [2, -1, -1]}


def test_no_samples():
    result = open_reward(RewardConfig(functions=["exact", "format"], combine="normalise"), max_new_tokens=8)([])
    assert (len(result.total), len(result.parsed), len(result.parts["exact"])) == (0, 0, 0)


# ----------------------------------------------------------------------------------------------------------- normalise


def reference(rewards, groups):
    """z by its definition, one number at a time."""
    out = []
    for reward, group in zip(rewards, groups, strict=True):
        others = [r for r, g in zip(rewards, groups, strict=True) if g == group]
        mean = sum(others) / len(others)
        std = math.sqrt(sum((r - mean) ** 2 for r in others) / (len(others) - 1)) if len(others) > 1 else 1.0
        out.append((reward - (mean if len(others) > 1 else 0.0)) / (std + 1e-6))
    return out


def test_normalised_by_hand():
    """1, 0: mean 1/2, deviation over n - 1 = 1/sqrt 2; so plus and minus 1/sqrt 2."""
    z = normalised(np.array([[1.0, 0.0], [5.0, 5.0]]), np.array([3, 3]))
    np.testing.assert_allclose(z, [[0.5**0.5, -(0.5**0.5)], [0, 0]], rtol=1e-5)


def test_normalised_is_each_part_in_each_group():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(20), 5))
    rewards = rng.choice([0.0, 0.25, 1.0], (3, 100))
    z = normalised(rewards, groups)
    np.testing.assert_allclose(z, [reference(row, groups) for row in rewards], atol=1e-9)


def test_a_group_of_one_keeps_its_reward():
    z = normalised(np.array([[0.75, 1.0, 0.0]]), np.array([0, 1, 1]))
    assert z[0, 0] == 0.75


def test_a_wide_part_does_not_drown_a_narrow_one():
    """Sums: 10 and 0.1 against 0 and 0.2. Normalised, being better at the narrow one counts as much."""
    parts = (paying("wide", [10.0, 0.0]), paying("narrow", [0.1, 0.2]))
    assert Reward(parts)(samples_in([0, 0])).total.tolist() == pytest.approx([10.1, 0.2])
    result = Reward(parts, "normalise")(samples_in([0, 0]))
    assert result.total.tolist() == pytest.approx([0, 0], abs=1e-4)
    assert result.plain.tolist() == pytest.approx([10.1, 0.2])


def test_weights_are_taken_after_normalising():
    parts = (paying("a", [1.0, 0.0], 0.5), paying("b", [0.0, 100.0], 2.0))
    total = Reward(parts, "normalise")(samples_in([0, 0])).total
    assert total.tolist() == pytest.approx([0.5**0.5 * (0.5 - 2), -(0.5**0.5) * (0.5 - 2)], rel=1e-4)


def test_equal_totals_stay_equal():
    """0.1 three times has a mean that is not 0.1: a group without spread would get some, of rounding."""
    z = normalised(np.full((1, 3), 0.1), np.zeros(3, dtype=np.int64))
    assert z.tolist() == [[0.0, 0.0, 0.0]]


def test_gdpo():
    """Each part normalised in its group, weighted, whitened over the round's tokens: https://arxiv.org/abs/2601.05242, and
    verl's compute_gdpo_outcome_advantage; here by normalise and an estimator that has the whitening."""
    rng = np.random.default_rng(1)
    groups, lengths = np.repeat(np.arange(6), 4), rng.integers(1, 9, 24)
    rows, weights = [rng.choice([0.0, 1.0], 24), rng.normal(size=24) * 100], [1.0, 0.3]
    parts = [paying(name, list(row), w, -1e3) for name, row, w in zip("ab", rows, weights, strict=True)]
    total = Reward(tuple(parts), "normalise")(samples_in(groups)).total
    completion = torch.from_numpy(np.repeat(np.arange(24), lengths))
    found = reinforce_plus_plus_baseline(torch.from_numpy(total), torch.from_numpy(groups), completion)
    z = sum(w * np.array(reference(row, groups)) for w, row in zip(weights, rows, strict=True))
    of_tokens = np.repeat(z, lengths)
    expected = (of_tokens - of_tokens.mean()) / np.sqrt(of_tokens.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(functions=["exakt"]), "'exakt' is none; did you mean 'exact'"),
        (dict(functions=["distance", "swap-consistent"]), "did you mean 'swap_consistent'"),
        (dict(functions=["GSM8K"]), "'GSM8K' is none; did you mean"),
        (dict(functions=[]), r"reward.functions is \[\], but it names at least one"),
        (dict(functions=["exact", "exact"]), "each of them once"),
        (dict(functions=["exact", "format"], weights=[1.0]), r"1 numbers and reward.functions 2 names \(exact, fo"),
        (dict(functions=["exact"], weights=[1.0, 2.0]), "has 2 numbers and reward.functions 1 names"),
        (dict(functions=["exact"], weights=[0.0]), "gives exact 0, but a weight is above 0"),
        (dict(functions=["exact"], weights=[-1.0]), "gives exact -1, but a weight is above 0"),
        (dict(functions=["exact"], weights=[math.nan]), "gives exact nan, but a weight is above 0"),
        (dict(functions=["exact"], weights=[math.inf]), "gives exact inf, but a weight is above 0"),
        (dict(functions=["custom"]), "custom None, but custom is listed where"),
        (dict(functions=["exact"], custom="mine.py:score"), "custom mine.py:score, but custom is listed where"),
        (dict(overlong_buffer=9), "overlong_buffer is 9 .*tokens=8 tokens and the penalty above 0"),
        (dict(overlong_buffer=-1), "overlong_buffer is -1"),
        (dict(overlong_buffer=4, overlong_penalty=0.0), "overlong_penalty 0, but"),
    ],
)
def test_a_config_that_cannot_be(fields, message):
    with pytest.raises(CookbookError, match=message):
        open_reward(RewardConfig(**fields), max_new_tokens=8)


def test_a_scale_of_one_score():
    with pytest.raises(CookbookError, match="a scale has two scores or more"):
        open_reward(RewardConfig(), lowest=3, highest=3, max_new_tokens=8)


def test_every_name_of_the_config_is_a_reward():
    assert {*PARTS, "custom"} == set(get_args(RewardName))
    for name in PARTS:
        assert [part.name for part in open_reward(RewardConfig(functions=[name]), max_new_tokens=8).parts] == [name]
