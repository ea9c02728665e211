"""Advantages: numbers worked by hand, verl's formulas written out on padded rows in float64, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.training.advantages import (
    dr_grpo,
    estimate,
    from_here_on,
    gae,
    grpo,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    rloo,
    token_rewards,
    whiten,
)

T = torch.tensor


def flat(lengths):
    return torch.repeat_interleave(torch.arange(len(lengths)), T(lengths))


# ---------------------------------------------------------------------------------------------------------------- by hand


def test_grpo_by_hand():
    """Rewards 0, 1, 1, 2: mean 1, squares 1 + 0 + 0 + 1 over 3."""
    sigma = math.sqrt(2 / 3)
    got = grpo(T([0.0, 1.0, 1.0, 2.0]), T([7, 7, 7, 7]))
    np.testing.assert_allclose(got, [-1 / (sigma + 1e-6), 0, 0, 1 / (sigma + 1e-6)], rtol=1e-12)


def test_dr_grpo_and_rloo_by_hand():
    """Two groups, shuffled: (0, 3) and (1, 1, 4)."""
    rewards, group = T([1.0, 0.0, 1.0, 3.0, 4.0]), T([9, 2, 9, 2, 9])
    np.testing.assert_allclose(dr_grpo(rewards, group), [-1, -1.5, -1, 1.5, 2])
    np.testing.assert_allclose(rloo(rewards, group), [1 - 2.5, 0 - 3, 1 - 2.5, 3 - 0, 4 - 1])


def test_remax_by_hand():
    each, completion = token_rewards(T([2.0, 0.0]), flat([2, 3])), flat([2, 3])
    assert each.tolist() == [0, 2, 0, 0, 0]
    assert remax(each, completion, T([0.5, 0.5]).double()).tolist() == [1.5, 1.5, -0.5, -0.5, -0.5]


def test_reinforce_plus_plus_by_hand():
    """Rewards 4 and 0 with gamma 1/2 over two tokens and one: to come are 2, 4 and 0, of mean 2 and variance 4."""
    each, completion = token_rewards(T([4.0, 0.0]), flat([2, 1])), flat([2, 1])
    assert from_here_on(each, completion, 0.5).tolist() == [2, 4, 0]
    np.testing.assert_allclose(reinforce_plus_plus(each, completion, gamma=0.5), [0, 1, -1], atol=1e-8)


def test_reinforce_plus_plus_baseline_by_hand():
    """A group of (1, 3) with one token and two: -1, 1, 1 over the tokens, of mean 1/3 and variance 4/3."""
    got = reinforce_plus_plus_baseline(T([1.0, 3.0]), T([0, 0]), flat([1, 2]))
    np.testing.assert_allclose(got, np.array([-4 / 3, 2 / 3, 2 / 3]) / math.sqrt(4 / 3), rtol=1e-7)


def test_gae_by_hand():
    """One completion of two tokens, reward 1, V = 1/2 and 3/4, gamma = 1, lambda = 1/2."""
    each = token_rewards(T([1.0]), flat([2]))
    advantages, returns = gae(each, T([0.5, 0.75]).double(), flat([2]), lam=0.5)
    assert advantages.tolist() == [0.25 + 0.5 * 0.25, 0.25]
    assert returns.tolist() == [0.875, 1.0]


def test_gae_with_lambda_1_is_what_came_less_what_was_expected():
    values = torch.rand(6, dtype=torch.float64)
    advantages, returns = gae(token_rewards(T([1.0, -2.0]), flat([4, 2])), values, flat([4, 2]))
    np.testing.assert_allclose(returns, [1, 1, 1, 1, -2, -2])
    np.testing.assert_allclose(advantages, returns - values)


def test_kl_costs_reward_where_it_happens():
    completion, kl = flat([2, 1]), T([0.5, 0.25, 1.0])
    each = token_rewards(T([1.0, 2.0]), completion, kl, 0.1)
    np.testing.assert_allclose(each, [-0.05, 1 - 0.025, 2 - 0.1])
    options = AlgorithmConfig(adv_estimator="dr_grpo", kl_coef=0.1, use_kl_in_reward=True)
    got = estimate(options, T([1.0, 2.0]), T([0, 0]), completion, kl=kl).tokens
    mean = (0.925 + 1.9) / 2
    np.testing.assert_allclose(got, [0.925 - mean, 0.925 - mean, 1.9 - mean], rtol=1e-6)


# --------------------------------------------------------------------------------------------- verl's formulas, on padded rows


class Verl:
    """reference_systems.md section 6 on (C, L) rows and a mask, a loop for each sum; numpy, float64."""

    def __init__(self, rewards, group, lengths):
        self.group, self.lengths = group, lengths
        self.mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
        self.r = np.zeros(self.mask.shape)
        for row, (length, reward) in enumerate(zip(lengths, rewards, strict=True)):
            self.r[row, length - 1] = reward

    def whiten(self, x):
        values = x[self.mask]
        return (x - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-8)

    def members(self, i):
        return [j for j in range(len(self.group)) if self.group[j] == self.group[i]]

    def outcome(self, baseline):
        score = self.r.sum(1)
        each = [baseline(score[i], np.array([score[j] for j in self.members(i)])) for i in range(len(score))]
        return np.array(each)[:, None] * self.mask

    def grpo(self):
        return self.outcome(lambda r, g: (r - g.mean()) / (g.std(ddof=1) + 1e-6))

    def dr_grpo(self):
        return self.outcome(lambda r, g: r - g.mean())

    def rloo(self):
        return self.outcome(lambda r, g: r * len(g) / (len(g) - 1) - g.mean() * len(g) / (len(g) - 1))

    def reinforce_plus_plus_baseline(self):
        return self.whiten(self.outcome(lambda r, g: r - g.mean()))

    def to_go(self, gamma):
        out, running = np.zeros_like(self.r), np.zeros(len(self.r))
        for t in reversed(range(self.r.shape[1])):
            running = (self.r[:, t] + gamma * running) * self.mask[:, t]
            out[:, t] = running
        return out

    def reinforce_plus_plus(self, gamma):
        return self.whiten(self.to_go(gamma))

    def remax(self, greedy):
        return (self.to_go(1.0) - greedy[:, None]) * self.mask

    def gae(self, values, gamma, lam):
        v = np.zeros(self.mask.shape)
        v[self.mask] = values
        out, last, following = np.zeros_like(v), np.zeros(len(v)), np.zeros(len(v))
        for t in reversed(range(v.shape[1])):
            delta = self.r[:, t] + gamma * following - v[:, t]
            last = np.where(self.mask[:, t], delta + gamma * lam * last, last)
            following = np.where(self.mask[:, t], v[:, t], following)
            out[:, t] = last
        return self.whiten(out), out + v


@st.composite
def rounds(draw):
    """Groups of two to five completions, in any order, of one to six tokens."""
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    group = draw(st.permutations([g for g, size in enumerate(sizes) for _ in range(size)]))
    count = len(group)
    rewards = draw(st.lists(st.floats(-4, 4, width=32), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    return rewards, group, lengths


@pytest.mark.parametrize(
    "name", ["grpo", "dr_grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "gae"]
)
@settings(max_examples=50, deadline=None)
@given(made=rounds(), gamma=st.sampled_from([1.0, 0.9]), lam=st.sampled_from([1.0, 0.95, 0.0]), seed=st.integers(0, 99))
def test_as_verl(name, made, gamma, lam, seed):
    rewards, group, lengths = made
    verl, rng = Verl(rewards, group, lengths), np.random.default_rng(seed)
    values = rng.normal(size=sum(lengths)).astype(np.float32)
    greedy = rng.normal(size=len(group)).astype(np.float32)
    options = {
        "reinforce_plus_plus": (gamma,),
        "remax": (greedy,),
        "gae": (values, gamma, lam),
    }
    wanted = getattr(verl, name)(*options.get(name, ()))
    got = estimate(
        AlgorithmConfig(adv_estimator=name, gamma=gamma, lam=lam),
        T(rewards), T(group), flat(lengths), greedy=T(greedy), values=T(values),
    )  # fmt: skip
    if name == "gae":
        wanted, returns = wanted
        np.testing.assert_allclose(got.returns, returns[verl.mask], rtol=1e-5, atol=1e-5)
    spread = max(np.std(verl.r.sum(1)), 1e-3)  # rewards that differ in their last bit are divided by next to nothing
    np.testing.assert_allclose(got.tokens, wanted[verl.mask], rtol=1e-4, atol=1e-5 / spread)


def test_by_std_off_is_dr_grpo():
    rewards, group, completion = T([1.0, 2.0, 5.0]), T([0, 0, 0]), flat([1, 1, 2])
    off = estimate(AlgorithmConfig(norm_adv_by_std_in_grpo=False), rewards, group, completion).tokens
    right = estimate(AlgorithmConfig(adv_estimator="dr_grpo"), rewards, group, completion).tokens
    assert off.tolist() == right.tolist()


# ------------------------------------------------------------------------------------------------------- edges, and refusals


def test_equal_rewards_have_an_advantage_of_exactly_zero():
    """The mean of eight times 0.1 is not 0.1 in fp32, and the difference is divided by 1e-6."""
    rewards, group = torch.full((7,), 0.1), torch.zeros(7, dtype=torch.long)
    for estimator in (grpo, dr_grpo, rloo):
        assert not estimator(rewards, group).any()


def test_one_token_alone_is_neither_above_nor_below():
    assert whiten(T([3.0])).tolist() == [0]
    np.testing.assert_allclose(whiten(T([1.0, 3.0]).double()), np.array([-1, 1]) / math.sqrt(2), rtol=1e-7)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "reinforce_plus_plus_baseline"])
def test_a_group_of_one_has_no_others(name):
    with pytest.raises(CookbookError, match="group 5 has one completion, and its estimator measures"):
        estimate(AlgorithmConfig(adv_estimator=name), torch.rand(3), T([4, 4, 5]), flat([1, 2, 1]))


@pytest.mark.parametrize("name", ["reinforce_plus_plus", "remax", "gae"])
def test_others_take_a_group_of_one(name):
    got = estimate(
        AlgorithmConfig(adv_estimator=name), T([1.0, 0.0]), T([0, 1]), flat([2, 2]), greedy=torch.zeros(2), values=torch.zeros(4)
    )  # fmt: skip
    assert got.tokens[:2].sum() > got.tokens[2:].sum()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(bad):
    with pytest.raises(CookbookError, match=f"reward of completion 1 is {bad}; an advantage needs a finite one"):
        estimate(AlgorithmConfig(), T([0.0, bad]), T([0, 0]), flat([1, 1]))


@pytest.mark.parametrize(("name", "what"), [("remax", "greedy answers"), ("gae", "critic's values")])
def test_what_is_missing_is_said(name, what):
    with pytest.raises(CookbookError, match=f"adv_estimator is {name}, which needs .*{what}"):
        estimate(AlgorithmConfig(adv_estimator=name), torch.rand(2), T([0, 0]), flat([1, 1]))


@pytest.mark.parametrize(
    "name", ["grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "gae"]
)
def test_no_completions_have_no_advantages(name):
    nothing = torch.zeros(0, dtype=torch.long)
    got = estimate(
        AlgorithmConfig(adv_estimator=name), torch.zeros(0), nothing, nothing, greedy=torch.zeros(0), values=torch.zeros(0)
    )  # fmt: skip
    assert got.tokens.shape == (0,)
