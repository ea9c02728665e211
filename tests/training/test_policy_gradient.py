"""The loss of policies: every algorithm against its formula in float64, layouts against each other, what is counted beside it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import pack_completions, pad_completions
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.training.objectives.kl import kl_estimates
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.objectives.policy_losses import Drawn, vanilla
from tests.training.policy_rollouts import ONE_RANK, Bigram, by_hand, rollouts, said
from tests.training.score_batches import means

MODES = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
HORIZON = 9
LAY = {"packed": pack_completions, "padded": pad_completions}

# What an algorithm is here: an advantage (made when the round was), a loss of the ratio, and a way to add up.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_agg_mode": "seq-mean-token-mean", "use_kl_loss": True, "kl_loss_coef": 0.04},
    "dr_grpo": {"adv_estimator": "dr_grpo", "loss_agg_mode": "seq-mean-token-sum-norm"},
    "dapo": {"clip_ratio_high": 0.28, "clip_ratio_c": 10.0},
    "rloo": {"adv_estimator": "rloo", "loss_agg_mode": "seq-mean-token-sum", "clip_ratio_c": None},
    "reinforce_plus_plus": {"adv_estimator": "reinforce_plus_plus", "use_kl_loss": True, "kl_loss_type": "k2"},
    "remax": {"adv_estimator": "remax", "entropy_coeff": 0.01},
    "gspo": {"policy_loss": "gspo", "clip_ratio_low": 0.3, "clip_ratio_high": 0.4, "loss_agg_mode": "seq-mean-token-mean"},
    "cispo": {"policy_loss": "cispo", "clip_ratio_low": 1.0, "clip_ratio_high": 0.5},
    "ppo": {"adv_estimator": "gae", "vf_coef": 0.3, "cliprange_value": 0.4},
}  # fmt: skip


def taken(groups, *, form="packed", temperature=1.0, model=None, **options):
    """(loss of the step, gradients, Loss) of our objective."""
    model = model or Bigram()
    objective = PolicyGradient(ONE_RANK, AlgorithmConfig(**options), temperature=temperature, horizon=HORIZON)
    batch = LAY[form](groups)
    loss = objective(model, batch)
    total = loss.total / objective.count(batch)
    return total, torch.autograd.grad(total, model.weights, allow_unused=True, materialize_grads=True), loss


def check(groups, *, form="packed", temperature=1.0, **options):
    total, grads, _ = taken(groups, form=form, temperature=temperature, **options)
    model = Bigram()
    wanted = by_hand(model, groups, AlgorithmConfig(**options), temperature=temperature, horizon=HORIZON)
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    right = torch.autograd.grad(wanted, model.weights, allow_unused=True, materialize_grads=True)
    for mine, theirs in zip(grads, right, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


# ------------------------------------------------------------------------------------------------- the formula in float64


@pytest.mark.parametrize("form", LAY)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_algorithm(name, seed, form):
    check(rollouts(seed=seed), form=form, **ALGORITHMS[name])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", ["vanilla", "gspo", "cispo"])
def test_each_way_to_add_up(loss, mode):
    check(
        rollouts(seed=3), policy_loss=loss, loss_agg_mode=mode, use_kl_loss=True, kl_loss_coef=0.1, entropy_coeff=0.02
    )


@pytest.mark.parametrize("kind", ["k1", "k2", "k3", "k1+", "k2+", "k3+"])
def test_each_distance(kind):
    check(rollouts(seed=4), use_kl_loss=True, kl_loss_coef=0.5, kl_loss_type=kind)


def test_distances_by_hand():
    """p twice the reference's, and half of it: d = -+ ln 2."""
    logps, ref = torch.zeros(2, requires_grad=True), torch.tensor([-math.log(2), math.log(2)])
    ln2 = math.log(2)
    wanted = {"k1": [ln2, -ln2], "k2": [ln2**2 / 2] * 2, "k3": [0.5 + ln2 - 1, 2 - ln2 - 1]}
    slopes = {"k1": [1, 1], "k2": [ln2, -ln2], "k3": [0.5, -1]}  # of k3: 1 - e^d
    for kind, values in wanted.items():
        for plus in ("", "+"):
            found = kl_estimates(kind + plus, logps, ref)
            np.testing.assert_allclose(found.detach(), values, rtol=1e-6)
            (slope,) = torch.autograd.grad(found.sum(), logps)
            np.testing.assert_allclose(slope, slopes["k2" if plus else kind], rtol=1e-6)


def test_one_token_gone_astray_is_not_the_whole_loss():
    """e^d of d = 50 would be 5e21."""
    assert kl_estimates("k3", torch.tensor([-50.0]), torch.zeros(1)).tolist() == [10]
    drawn = Drawn(torch.tensor([50.0]), torch.zeros(1), torch.ones(1), torch.zeros(1, dtype=torch.long), 1)
    assert vanilla(drawn, AlgorithmConfig()).ratios.isfinite().all()


def test_another_distance_is_refused():
    with pytest.raises(CookbookError, match="kl_loss_type is 'k4'; the estimators are k1, k2 and k3"):
        kl_estimates("k4", torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("loss", ["vanilla", "cispo"])
@pytest.mark.parametrize("cap", [1.2, 2.0])
def test_importance_weights(loss, cap):
    check(rollouts(seed=5), policy_loss=loss, tis_cap=cap)


def test_everything_at_once_at_another_temperature():
    check(
        rollouts(seed=6, temperature=0.7), temperature=0.7, adv_estimator="gae", use_kl_loss=True, kl_loss_coef=0.2, entropy_coeff=0.05,
        tis_cap=1.5, vf_coef=0.4, loss_agg_mode="seq-mean-token-mean",
    )  # fmt: skip


@pytest.mark.parametrize("c", [1.5, 3.0, None])
def test_dual_clip(c):
    """Ratios far from 1, so that it decides for some."""
    groups = rollouts(seed=7, far=2.0)
    check(groups, clip_ratio_c=c)
    *_, loss = taken(groups, clip_ratio_c=c)
    assert (means(loss)["dual_clip_fraction"] > 0) == (c is not None)


def test_the_first_update_is_plain_policy_gradient():
    """Where old is now, every loss has the gradient of - A log p."""
    groups = rollouts(far=0.0)
    grads = [taken(groups, policy_loss=loss)[1] for loss in ("vanilla", "gspo", "cispo")]
    model, total, tokens = Bigram(), 0.0, 0
    for group in groups:
        for i, ids in enumerate(group.completions):
            logps = said(model, group.prompt, ids)[0]
            total = total - (torch.from_numpy(group.columns["advantages"][i]) * logps).sum()
            tokens += len(ids)
    right = torch.autograd.grad(total / tokens, model.weights, allow_unused=True, materialize_grads=True)
    for each in grads:
        for mine, wanted in zip(each, right, strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------- one division, however it is cut


@pytest.mark.parametrize("mode", MODES)
def test_how_a_step_is_cut_changes_nothing(mode):
    """Groups in one forward, one a forward, completions of a group in two: sums over the units of the step, one division."""
    groups, model = rollouts(), Bigram()
    cuts = [[groups], [[g] for g in groups], [[groups[0].take([0])], [groups[0].take([1, 2]), *groups[1:]], []]]
    objective = PolicyGradient(ONE_RANK, AlgorithmConfig(loss_agg_mode=mode, policy_loss="gspo"), horizon=HORIZON)
    found = []
    for cut in cuts:
        batches = [pack_completions(part, like=groups[0]) for part in cut]
        units = sum(map(objective.count, batches))
        model.zero_grad()
        for batch in batches:
            (objective(model, batch).total / units).backward()
        found.append([units, model.before.grad.clone(), model.after.grad.clone()])
    for units, *grads in found[1:]:
        assert units == found[0][0] == (24 if mode == "token-mean" else 7)
        for mine, first in zip(grads, found[0][1:], strict=True):
            torch.testing.assert_close(mine, first, rtol=1e-5, atol=1e-7)


def test_an_empty_forward_adds_nothing_has_a_gradient_and_the_same_names():
    groups, model = rollouts(), Bigram()
    objective = PolicyGradient(ONE_RANK, AlgorithmConfig(adv_estimator="gae", tis_cap=2.0, use_kl_loss=True))
    empty = pack_completions([], like=groups[0])
    loss = objective(model, empty)
    assert (loss.total.item(), objective.count(empty)) == (0, 0)
    assert loss.stats.keys() == objective(model, pack_completions(groups)).stats.keys()
    assert all((float(total), count) == (0, 0) for total, count in loss.stats.values())
    loss.total.backward()
    assert not any(w.grad.any() for w in model.weights)


# --------------------------------------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("form", LAY)
def test_stats(form):
    groups = rollouts(seed=8)
    total, _, loss = taken(groups, form=form, adv_estimator="gae", tis_cap=1.1, use_kl_loss=True, kl_loss_type="k3")
    stats, model = means(loss), Bigram()
    told = [said(model, g.prompt, ids) for g in groups for ids in g.completions]
    p, h, v = (np.concatenate([x[i].detach().numpy() for x in told]) for i in range(3))
    known = {name: np.concatenate([x for g in groups for x in g.columns[name]]) for name in groups[0].columns}
    rho, a = np.exp(p - known["old_logps"]), known["advantages"]
    clipped = ((rho > 1.2) & (a > 0)) | ((rho < 0.8) & (a < 0))
    d = known["ref_logps"] - p
    mismatch = known["old_logps"] - known["rollout_logps"]
    lengths = [n for g in groups for n in g.lengths]
    largest = [x.max() for x in np.split(rho, np.cumsum(lengths)[:-1])]
    near = known["old_values"] + np.clip(v - known["old_values"], -0.5, 0.5)
    errors = np.maximum((v - known["returns"]) ** 2, (near - known["returns"]) ** 2) / 2
    rewards = [x for g in groups for x in g.stats["reward"]]
    wanted = {
        "loss": total.item(),
        "clip_fraction": clipped.mean(),
        "dual_clip_fraction": (rho[a < 0] > 3).sum() / len(a),
        "ratio": rho.mean(),
        "ratio_square": (rho**2).mean(),
        "ratio_max": np.mean(largest),
        "old_kl": (known["old_logps"] - p).mean(),
        "kl": (np.exp(d) - d - 1).mean(),
        "mismatch_kl": (np.exp(mismatch) - mismatch - 1).mean(),
        "tis_weight": np.minimum(np.exp(mismatch), 1.1).mean(),
        "tis_capped": (np.exp(mismatch) >= 1.1).mean(),
        "entropy": h.mean(),
        "value": v.mean(),
        "return": known["returns"].mean(),
        "value_loss": errors.mean(),
        "value_clip_fraction": ((near - known["returns"]) ** 2 > (v - known["returns"]) ** 2).mean(),
        "reward": np.mean(rewards),
        "reward_square": np.mean(np.square(rewards)),
        "length": np.mean([x for g in groups for x in g.stats["length"]]),
    }
    assert stats == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    counts = {name: count for name, (_, count) in loss.stats.items()}
    whole = {"ratio_max", "reward", "reward_square", "length"}
    assert counts == {name: 7 if name in whole else 24 for name in wanted}
    assert 0 < clipped.mean() < 1


def test_what_is_not_known_of_a_completion_is_not_counted():
    groups = [replace(g, stats={"reward": g.stats["reward"], "agrees": (float("nan"), *[1.0] * (len(g.lengths) - 1))})
              for g in rollouts()]  # fmt: skip
    *_, loss = taken(groups)
    assert [float(x) for x in loss.stats["agrees"]] == [4, 4]


def test_rounds_of_one_report_count_by_what_they_asked():
    """32 completions asked and one group learned from, 8 asked and one group learned from: four times the say, not once."""

    def stats(reward, weight):
        groups = [replace(g, stats={"reward": g.stats["reward"], "round_reward": (reward,) * len(g.lengths),
                                    "round_weight": (weight,) * len(g.lengths)}) for g in rollouts()]  # fmt: skip
        return taken(groups)[-1].stats

    (many, of_many), (few, of_few) = (stats(*one)["reward"] for one in ((0.95, 8.0), (0.5, 2.0)))
    assert float(many + few) / (of_many + of_few) == pytest.approx((4 * 0.95 + 0.5) / 5)
    assert "weight" not in stats(0.5, 2.0) and "round_weight" not in stats(0.5, 2.0)


def test_the_reward_of_a_step_is_that_of_its_whole_round():
    """Those that are learned from are the ones with spread: their own mean says little about the policy."""
    groups = [replace(g, stats=dict(g.stats) | {"round_reward": (0.75,) * len(g.lengths)}) for g in rollouts()]
    *_, loss = taken(groups)
    total, count = loss.stats["reward"]
    assert float(total) / count == 0.75 and "round_reward" not in loss.stats


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "options"),
    [("ref_logps", {"use_kl_loss": True}), ("rollout_logps", {"tis_cap": 2.0}), ("returns", {"adv_estimator": "gae"})],
)
def test_what_the_rollouts_lack_is_said(name, options):
    groups = [replace(g, columns={k: v for k, v in g.columns.items() if k != name}) for g in rollouts()]
    with pytest.raises(CookbookError, match=f"completions have no {name}"):
        taken(groups, **options)


def test_validation_at_another_temperature_needs_no_importance_weights():
    """Nothing is learned from it, and its log-probabilities cannot be compared."""
    groups = [replace(g, columns={k: v for k, v in g.columns.items() if k != "rollout_logps"}) for g in rollouts()]
    with torch.no_grad():
        stats = PolicyGradient(ONE_RANK, AlgorithmConfig(tis_cap=2.0))(Bigram(), pack_completions(groups)).stats
    assert "loss" in stats and not {"mismatch_kl", "tis_weight", "tis_capped"} & set(stats)


def test_a_sum_over_the_tokens_allowed_needs_to_know_them():
    objective = PolicyGradient(ONE_RANK, AlgorithmConfig(loss_agg_mode="seq-mean-token-sum-norm"))
    with pytest.raises(CookbookError, match=r"divides by the tokens allowed: give rollout.max_new_tokens"):
        objective(Bigram(), pack_completions(rollouts()))


def test_a_model_without_a_critic_is_refused_by_ppo():
    class Plain(PackedModel):
        forward = Bigram.forward
        before = after = torch.zeros(13, 6)
        final_softcap = None

        def __init__(self):
            torch.nn.Module.__init__(self)

    with pytest.raises(CookbookError, match="adv_estimator is gae, and the model has no value head"):
        PolicyGradient(ONE_RANK, AlgorithmConfig(adv_estimator="gae"))(Plain(), pack_completions(rollouts()))
