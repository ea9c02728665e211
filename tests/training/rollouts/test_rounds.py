"""A round: which prompts are asked, which groups are learned from, what is replaced, and what is known of all that."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.rewards.base import RewardResult
from cookbook_lib.training.rollouts.answering import Asking, seeds_of
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.prompts import Order
from cookbook_lib.training.rollouts.rounds import TRAINING, Policy, RoundMaker
from cookbook_lib.training.rollouts.settling import advantages_by
from tests.training.rollout_run import MOST, STOP, Numbers, Prompts, rules


class Drawn:
    """Answers drawn from the seeds alone; counts what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []
        self.seeds: list[tuple[int, ...]] = []

    def refresh(self, model: Any) -> None: ...

    def generate(self, prompts, *, max_new_tokens, how, stop_ids, seeds, progress=None):
        self.calls.append((how.temperature, sum(map(len, seeds))))
        self.seeds += map(tuple, seeds)
        made = []
        for own in seeds:
            drawn = [np.random.default_rng(seed).integers(4, 60, 1 + seed % MOST).astype(np.int32) for seed in own]
            ids = tuple(np.append(x[:-1], STOP).astype(np.int32) for x in drawn)
            made.append(Generated(ids, (True,) * len(ids), tuple(np.full(len(x), -2, np.float32) for x in ids)))
        return made


def told(batch):
    """Every token is as likely as its id says."""
    return {"old_logps": -batch.targets.float() / 60, "ref_logps": -batch.targets.float() / 50}


def odd_rows_differ(samples) -> RewardResult:
    """Only prompts of odd number have completions of different rewards."""
    own = [int(sample.task.prompt[0]["content"]) for sample in samples]
    paid = np.array([i % 2 if row % 2 else 1 for i, row in enumerate(own)], np.float32)
    return RewardResult(paid, paid, {"odd": paid}, np.ones(len(own), bool))


def maker_of(count: int = 12, *, reward=odd_rows_differ, pairs: bool = False, algorithm=None, **own: Any) -> RoundMaker:
    mesh = make_mesh(device="cpu")
    policy = Policy(None, Drawn(), [told], advantages_by(algorithm or AlgorithmConfig()))  # type: ignore[arg-type]
    prompts = Prompts.of(count, pairs=pairs)
    laid = rules(**{"seed": 1} | own)
    return RoundMaker(prompts, Numbers(), reward, policy, mesh, laid, Forwards(1, 200), lambda batch: batch)


def rows(made) -> list[int]:
    return [one.group.row for one in made]


# ------------------------------------------------------------------------------------------------------- which prompts


def test_prompts_are_a_function_of_the_seed_and_the_round():
    prompts = Prompts.of(12)
    order = Order(prompts, 5, seed=3)
    asked = [order.rows(k).tolist() for k in range(12)]
    assert asked == [Order(prompts, 5, seed=3).rows(k).tolist() for k in range(12)]
    assert sorted(row for own in asked for row in own) == sorted(list(range(12)) * 5), "each as often as the others"
    assert asked != [Order(prompts, 5, seed=4).rows(k).tolist() for k in range(12)]
    assert Order(prompts, 5, shuffle=False).rows(0).tolist() == [0, 1, 2, 3, 4]
    assert order.rounds(1.0) == 3 and order.rounds(5.0) == 12


def test_both_orders_of_a_pair_are_asked_together():
    order = Order(Prompts.of(10, pairs=True), 4, seed=1)
    for k in range(10):
        own = order.rows(k).tolist()
        assert len(own) == 4 and {row ^ 1 for row in own} == set(own)


def test_a_prompt_without_its_other_order_is_a_unit_too():
    prompts = Prompts.of(10, pairs=True)
    del prompts[3]
    order = Order(prompts, 4, seed=1)
    assert [len(unit) for unit in order.units] == [2, 1, 2, 2, 2]
    for k in range(5):
        asked = order.rows(k).tolist()
        assert len(asked) in (3, 4)
        assert all(set(unit) <= set(asked) or not set(unit) & set(asked) for unit in order.units)


def test_a_pair_that_is_there_twice_makes_no_round_smaller():
    """Two files that overlap: its copies are a unit of their own, and a round still has as many prompts."""
    prompts = Prompts.of(10, pairs=True)
    prompts += prompts[:2]
    order = Order(prompts, 4, seed=1)
    assert [len(unit) for unit in order.units] == [2] * 6 and order.rounds(1.0) == 3
    assert all(len(order.rows(k)) == 4 for k in range(6))


# ----------------------------------------------------------------------------------------------------- what is kept of it


def test_groups_without_spread_are_left_out_and_counted():
    maker = maker_of(filter_groups=True)
    asked = maker.order.rows(0).tolist()
    chosen, answered, seconds = maker.make(0)
    assert rows(answered) == asked and rows(chosen) == [row for row in asked if row % 2]
    assert chosen[0].group.stats["round_filtered_groups"] == (pytest.approx(1 - len(chosen) / 4),) * 4
    paid = [x for one in answered for x in one.group.stats["reward"]]
    assert chosen[0].group.stats["round_reward"] == (pytest.approx(np.mean(paid)),) * 4, "also of those left out"
    assert maker.policy.engine.calls == [(0.9, 16)] and seconds > 0


def test_an_estimator_that_compares_no_group_leaves_none_out():
    """PPO with one completion a prompt: no group has a spread, and all are learned from."""
    maker = maker_of(n=1, algorithm=AlgorithmConfig(adv_estimator="reinforce_plus_plus"))
    maker.policy.by_group = False
    chosen, _, _ = maker.make(0)
    assert len(chosen) == 4 and "round_generation_batches" in chosen[0].group.stats
    assert "round_filtered_groups" not in chosen[0].group.stats


def test_without_the_filter_all_stay():
    chosen, answered, _ = maker_of().make(0)
    assert rows(chosen) == rows(answered)
    flat = next(one for one in chosen if one.group.row % 2 == 0)
    assert not any(x.any() for x in flat.group.columns["advantages"])


def test_more_prompts_replace_them_until_there_are_enough():
    maker = maker_of(filter_groups=True, max_batches=9)
    chosen, answered, _ = maker.make(0)
    assert len(chosen) == 4 and all(row % 2 for row in rows(chosen))
    assert len(set(rows(answered))) == len(answered) > 4
    assert chosen[0].group.stats["round_generation_batches"][0] == len(maker.policy.engine.calls) > 1
    assert rows(answered)[:4] == maker.order.rows(0).tolist()
    assert [one.group.number for one in answered] == list(range(len(answered)))


def test_what_one_round_replaced_does_not_move_the_next_one_s_prompts():
    plain = maker_of().order.rows(1).tolist()
    maker = maker_of(filter_groups=True, max_batches=9)
    maker.make(0)
    _, answered, _ = maker.make(1)
    assert rows(answered)[:4] == plain


def test_replacing_ends_where_there_is_no_more():
    maker = maker_of(filter_groups=True, max_batches=2, seed=7)
    chosen, answered, _ = maker.make(0)
    assert len(answered) <= 8 and len(maker.policy.engine.calls) == 2 and len(chosen) < 4
    small = maker_of(4, filter_groups=True, max_batches=50)
    chosen, answered, _ = small.make(0)
    assert sorted(rows(answered)) == [0, 1, 2, 3] and len(small.policy.engine.calls) == 1


def test_unshuffled_they_are_replaced_by_what_follows_in_the_file():
    maker = maker_of(filter_groups=True, max_batches=9, shuffle=False)
    _, answered, _ = maker.make(1)
    assert rows(answered) == [4, 5, 6, 7, 8, 9, 10, 11], "four odd rows"
    few = maker_of(6, filter_groups=True, max_batches=9, shuffle=False)
    chosen, answered, _ = few.make(0)
    assert rows(answered) == [0, 1, 2, 3, 4, 5] and rows(chosen) == [1, 3, 5], "each once, and then there are no more"


def test_where_none_differs_every_update_still_has_a_group():
    def flat(samples):
        paid = np.ones(len(samples), np.float32)
        return RewardResult(paid, paid, {"flat": paid}, np.ones(len(samples), bool))

    chosen, _, _ = maker_of(reward=flat, filter_groups=True, updates=2).make(0)
    assert len(chosen) == 2 and chosen[0].group.stats["round_filtered_groups"][0] == 1
    assert not any(x.any() for one in chosen for x in one.group.columns["advantages"])


def test_a_group_that_stands_in_has_no_advantage_where_kl_costs_reward():
    """GRPO's deviation would make of the smallest cost a difference as large as any."""

    def flat(samples):
        paid = np.ones(len(samples), np.float32)
        return RewardResult(paid, paid, {"flat": paid}, np.ones(len(samples), bool))

    costs = AlgorithmConfig(use_kl_in_reward=True, kl_coef=0.001)
    made = {on: maker_of(reward=flat, filter_groups=on, updates=2, algorithm=costs).make(0)[0] for on in (True, False)}
    assert len(made[True]) == 2
    assert not any(x.any() for one in made[True] for x in one.group.columns["advantages"])
    assert all(x.any() for x in made[False][0].group.columns["advantages"]), "what they would have had"


def test_a_prompt_that_a_round_asks_twice_is_answered_anew():
    """At the seam between epochs. The first time it has the seeds that it would have alone."""
    maker = maker_of(10, n=2, batch_size=8)
    number = next(k for k in range(9) if len(set(maker.order.rows(k).tolist())) < 8)
    maker.make(number)
    asked, seeds = maker.order.rows(number).tolist(), dict.fromkeys(maker.policy.engine.seeds)
    assert len(asked) == 8 == len(seeds)
    assert {tuple(seeds_of(maker.rules.seed, TRAINING, number, row, n=2)) for row in asked} <= seeds.keys()


# ------------------------------------------------------------------------------------------------------ what is known of it


def test_advantages_are_the_estimator_s_and_reach_every_token():
    chosen, _, _ = maker_of(filter_groups=True).make(0)
    for one in chosen:
        rewards = np.array(one.totals)
        wanted = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
        for column, value in zip(one.group.columns["advantages"], wanted, strict=True):
            np.testing.assert_allclose(column, value, rtol=1e-6)


def test_the_distance_from_the_reference_can_cost_reward():
    algorithm = AlgorithmConfig(adv_estimator="dr_grpo", use_kl_in_reward=True, kl_coef=0.5)
    (chosen, _, _), (plain, _, _) = (
        maker_of(algorithm=a).make(0) for a in (algorithm, AlgorithmConfig(adv_estimator="dr_grpo"))
    )
    for one, other in zip(chosen, plain, strict=True):
        group = one.group
        cost = np.array([
            0.5 * (old - ref).sum() for old, ref in zip(group.columns["old_logps"], group.columns["ref_logps"], strict=True)
        ])  # fmt: skip
        for i, column in enumerate(group.columns["advantages"]):
            wanted = other.group.columns["advantages"][i] - (cost[i] - cost.mean())
            np.testing.assert_allclose(column, wanted, atol=1e-5)


def test_greedy_answers_are_asked_for_their_reward_alone():
    def by_length(samples):
        paid = np.array([sample.tokens for sample in samples], np.float32)
        return RewardResult(paid, paid, {"length": paid}, np.ones(len(samples), bool))

    maker = maker_of(reward=by_length, greedy=True, algorithm=AlgorithmConfig(adv_estimator="remax"))
    chosen, _, _ = maker.make(0)
    assert maker.policy.engine.calls == [(0.9, 16), (0.0, 4)]
    for one in chosen:
        assert one.greedy is not None and len(one.totals) == 4
        for column, total in zip(one.group.columns["advantages"], one.totals, strict=True):
            np.testing.assert_allclose(column, total - one.greedy, rtol=1e-6)


def test_the_generator_s_numbers_are_kept_beside_training_s():
    chosen, _, _ = maker_of().make(0)
    for one in chosen:
        off = [np.abs(old + 2) for old in one.group.columns["old_logps"]]
        assert one.group.stats["mismatch"] == pytest.approx([x.mean() for x in off])
        assert one.group.stats["mismatch_max"][0] >= max(x.max() for x in off)


def test_the_share_of_the_time_is_known_from_the_second_round_on():
    maker = maker_of()
    (first, _, _), (second, _, seconds) = maker.make(0), maker.make(1)
    assert np.isnan(first[0].group.stats["round_rollout_share"][0])
    assert 0 < second[0].group.stats["round_rollout_share"][0] <= 1
    assert second[0].group.stats["round_rollout_seconds"][0] == pytest.approx(seconds)


def test_validation_asks_every_prompt_in_order_and_draws_alike_every_time():
    maker = maker_of(6, n=2)
    first, again = maker.validation(), maker.validation()
    assert rows(first) == list(range(6))
    for one, other in zip(first, again, strict=True):
        assert [x.tolist() for x in one.group.completions] == [x.tolist() for x in other.group.completions]
        assert not any(x.any() for x in one.group.columns["advantages"])
    training, _, _ = maker.make(0)
    same_row = next(one for one in training if one.group.row == first[training[0].group.row].group.row)
    assert same_row.texts != first[same_row.group.row].texts, "other seeds than training's"


@pytest.mark.parametrize(
    ("training", "validation", "compared"),
    [(0.9, 0.9, True), (0.9, 0.5, False), (0.9, 0.0, False), (1.0, 0.0, True)],
)
def test_validation_compares_the_generator_only_at_training_s_temperature(training, validation, compared):
    maker = maker_of(6, n=2, asking=Asking(MOST, Sampling(validation), (STOP,)))
    maker.policy.temperature = training
    for one in maker.validation():
        assert ("mismatch" in one.group.stats) == ("mismatch_max" in one.group.stats) == compared
        assert ("rollout_logps" in one.group.columns) == compared and "old_logps" in one.group.columns
    chosen, _, _ = maker.make(0)
    assert "mismatch" in chosen[0].group.stats, "training's are drawn at its own"


def test_a_critic_is_validated_by_the_reward_that_it_learns():
    """Which is not the plain one where rewards are normalised within groups."""

    def normalised(samples):
        plain = odd_rows_differ(samples)
        return replace(plain, total=plain.total - np.float32(0.5))

    maker = maker_of(6, n=2, reward=normalised)
    values = lambda batch: {**told(batch), "old_values": torch.zeros(len(batch.targets))}  # noqa: E731
    maker.policy = Policy(None, Drawn(), [values], maker.policy.settle)  # type: ignore[arg-type]
    for one in maker.validation():
        assert one.totals != one.group.stats["reward"]
        for column, total in zip(one.group.columns["returns"], one.totals, strict=True):
            np.testing.assert_array_equal(column, np.float32(total))
