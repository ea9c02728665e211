"""The loss of pairs: hand-worked numbers, the formula in float64, and what is counted beside it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import BradleyTerryConfig
from cookbook_lib.models.score_head import ScoreHead
from cookbook_lib.training.objectives.bradley_terry import BradleyTerry, pair_losses
from tests.training.score_batches import ONE_RANK, Told, asks_nothing_of_its_device, batch_of, means

LN2, LN3 = math.log(2), math.log(3)
PLAIN = (0.0, 1.0)  # margin, share of the preference
TIE = (0.0, 0.5)


def loss_of(scores, targets=None, *, padded: bool = False, **options):
    model = Told(scores)
    batch = batch_of([PLAIN] * (len(model.raw) // 2) if targets is None else targets, 2, padded=padded)
    objective = BradleyTerry(ONE_RANK, BradleyTerryConfig(**options))
    return objective(model, batch), model, objective.count(batch)


def by_formula(chosen, rejected, margin, p, center):
    """In float64, written with exp and log alone."""
    d = chosen - rejected - margin
    sigma = 1 / (1 + np.exp(-d))
    return -(p * np.log(sigma) + (1 - p) * np.log(1 - sigma)) + center * (chosen + rejected) ** 2


# ---------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("padded", [False, True])
def test_a_head_of_zeros_costs_ln_2_a_pair(padded):
    loss, _, units = loss_of([0.0] * 14, padded=padded)
    assert units == 7
    assert loss.total.item() / units == pytest.approx(LN2, abs=1e-6)


def test_by_hand():
    """sigma(ln 3) = 3/4: the chosen answer ln 3 above, then ln 3 below."""
    loss, _, _ = loss_of([LN3, 0.0, 1.0, 1.0 + LN3])
    assert loss.total.item() == pytest.approx(math.log(4 / 3) + math.log(4), rel=1e-6)
    tie, _, _ = loss_of([LN3, 0.0], [TIE])
    assert tie.total.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-6)
    smooth, _, _ = loss_of([LN3, 0.0], label_smoothing=0.1)
    assert smooth.total.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-6)
    margin, _, _ = loss_of([LN3, 0.0], [(2.0, 1.0)], use_margin=True, margin_scale=LN3)
    assert margin.total.item() == pytest.approx(math.log(4), rel=1e-6)
    centred, _, _ = loss_of([2.0, 1.0], center_coefficient=0.01)
    assert centred.total.item() == pytest.approx(math.log(1 + math.exp(-1)) + 0.01 * 9, rel=1e-6)


def test_a_margin_counts_only_where_it_is_asked_for():
    with_one, without = ([(3.0, 1.0)], [PLAIN])
    assert loss_of([1.0, 0.0], with_one)[0].total.item() == loss_of([1.0, 0.0], without)[0].total.item()
    asked = loss_of([1.0, 0.0], with_one, use_margin=True)[0].total.item()
    assert asked == pytest.approx(math.log(1 + math.exp(2.0)), rel=1e-6)


def test_a_tie_is_no_label_to_be_smoothed():
    smoothed, plain = (loss_of([LN3, 0.0], [TIE], label_smoothing=eps)[0].total for eps in (0.1, 0.0))
    assert smoothed.item() == plain.item()


numbers = st.floats(-15, 15)


@settings(max_examples=200, deadline=None)
@given(numbers, numbers, st.floats(0, 5), st.floats(0.5, 1.0), st.floats(0, 1))
def test_the_formula_in_float64(chosen, rejected, margin, p, center):
    expected = by_formula(chosen, rejected, margin, p, center)
    values = (torch.tensor([x]) for x in (chosen, rejected, margin, p))
    c, r, m, share = values
    got = pair_losses(c, r, margin=m, preference=share, center_coefficient=center)
    assert float(got) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_far_apart_it_is_a_line_and_no_infinity():
    far = pair_losses(torch.tensor([-1e4, 1e4]), torch.zeros(2))
    assert far.tolist() == [1e4, 0.0]


def test_its_gradient_is_minus_the_probability_of_being_wrong():
    _, model, units = made = loss_of([LN3, 0.0, 0.0, LN3, 5.0, 5.0])
    (made[0].total / units).backward()
    expected = torch.tensor([-1 / 4, 1 / 4, -3 / 4, 3 / 4, -1 / 2, 1 / 2]) / 3
    torch.testing.assert_close(model.raw.grad.flatten(), expected)


def test_another_head_is_refused():
    model = Told([[0.0, 0.0]] * 2, ScoreHead("regression", ("a", "b"), mean=(0.0,) * 2, scale=(1.0,) * 2))
    with pytest.raises(CookbookError, match="compares one number, and this model has a regression head"):
        BradleyTerry(ONE_RANK, BradleyTerryConfig())(model, batch_of([PLAIN], 2))


# --------------------------------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("padded", [False, True])
def test_stats_by_hand(padded):
    """Right, wrong, equal, and a tie that counts in the loss and the scores alone."""
    scores = [LN3, 0.0, 0.0, LN3, 2.0, 2.0, 7.0, 1.0]
    loss, _, units = loss_of(scores, [PLAIN, PLAIN, PLAIN, TIE], padded=padded, label_smoothing=0.1)
    stats = means(loss)
    assert units == 4
    assert {name: count for name, (_, count) in loss.stats.items()} == {
        "loss": 4, "accuracy": 3, "margin": 3, "brier": 3, "score": 8, "score_square": 8,
    }  # fmt: skip
    assert stats["loss"] == pytest.approx(loss.total.item() / 4, rel=1e-6)
    assert stats["accuracy"] == 0.5
    assert stats["margin"] == pytest.approx(0, abs=1e-6)
    assert stats["brier"] == pytest.approx((1 / 16 + 9 / 16 + 1 / 4) / 3, rel=1e-6)
    assert stats["score"] == pytest.approx(np.mean(scores), rel=1e-6)
    assert stats["score_square"] == pytest.approx(np.mean(np.square(scores)), rel=1e-6)


@pytest.mark.parametrize("padded", [False, True])
def test_no_forward_waits_for_its_device(padded):
    objective = BradleyTerry(
        ONE_RANK, BradleyTerryConfig(use_margin=True, label_smoothing=0.1, center_coefficient=0.01)
    )
    batch = batch_of([PLAIN, TIE, (2.0, 1.0)], 2, padded=padded)
    assert asks_nothing_of_its_device(objective, Told([0.0] * 6), batch)


def test_an_empty_forward_adds_nothing_and_has_a_gradient():
    model = Told([0.0, 0.0])
    loss = BradleyTerry(ONE_RANK, BradleyTerryConfig())(model, batch_of([], 2))
    assert (loss.total.item(), BradleyTerry(ONE_RANK, BradleyTerryConfig()).count(batch_of([], 2))) == (0, 0)
    assert loss.stats.keys() == loss_of([0.0, 0.0])[0].stats.keys()
    assert all((float(total), count) == (0, 0) for total, count in loss.stats.values())
    loss.total.backward()
    assert not model.raw.grad.any()
