"""The losses of scored answers: hand-worked numbers, the formulas in float64, attributes that a row does not know."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config.schema import PointwiseConfig
from cookbook_lib.models.score_head import ScoreHead
from cookbook_lib.training.objectives.pointwise import Pointwise, attribute_losses
from tests.training.score_batches import ONE_RANK, Told, asks_nothing_of_its_device, batch_of, means

NAN = math.nan
LN3 = math.log(3)  # sigma(ln 3) = 3/4
SCALED = ScoreHead("regression", mean=(2.0,), scale=(0.5,))
TWO = ScoreHead("regression", ("help", "tone"), mean=(2.0, 3.0), scale=(0.5, 2.0))
LEVELS = ScoreHead("ordinal", lowest=1, highest=3)
CLASSES = ScoreHead("classification", lowest=1, highest=3)


def loss_of(head, loss, raw, targets, *, padded=False, **options):
    model = Told(raw, head)
    objective, batch = Pointwise(ONE_RANK, PointwiseConfig(loss=loss, **options)), batch_of(targets, 1, padded=padded)
    return objective(model, batch), model, objective.count(batch)


def total(*given, **options) -> float:
    return loss_of(*given, **options)[0].total.item()


# ------------------------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("padded", [False, True])
def test_regression(padded):
    """y = (4 - 2) / 0.5 = 4 and (1 - 2) / 0.5 = -2, outputs 3 and 1: errors 1 and -3."""
    raw, targets = [[3.0], [1.0]], [[4.0], [1.0]]
    assert total(SCALED, "mse", raw, targets, padded=padded) == pytest.approx(1 + 9)
    assert total(SCALED, "huber", raw, targets, padded=padded) == pytest.approx(0.5 + (3 - 0.5))
    assert total(SCALED, "huber", raw, targets, padded=padded, huber_delta=2.0) == pytest.approx(0.5 + 2 * (3 - 1))


def test_ordinal():
    """Level 2 of 1, 2, 3 is above 1 and not above 2."""
    right, wrong = math.log(4 / 3), math.log(4)
    assert total(LEVELS, "ordinal", [[LN3, -LN3]], [[2.0]]) == pytest.approx(2 * right)
    assert total(LEVELS, "ordinal", [[LN3, LN3]], [[1.0]]) == pytest.approx(2 * wrong)
    assert total(LEVELS, "ordinal", [[LN3, LN3]], [[3.0]]) == pytest.approx(2 * right)


def test_classification():
    raw = [[LN3, 0.0, 0.0]]  # 3/5, 1/5, 1/5
    assert total(CLASSES, "classification", raw, [[1.0]]) == pytest.approx(math.log(5 / 3))
    assert total(CLASSES, "classification", raw, [[3.0]]) == pytest.approx(math.log(5))


def test_attributes_that_are_not_known_are_left_out_of_the_mean():
    """The second response is as much a unit as the first, though it knows one attribute alone."""
    raw, targets = [[1.0, 1.0], [1.0, 1.0]], [[2.0, 3.0], [NAN, 7.0]]
    loss, model, units = loss_of(TWO, "mse", raw, targets)
    assert units == 2
    assert loss.total.item() == pytest.approx((1 + 1) / 2 + 1)  # y = 0, 0; then 2
    loss.total.backward()
    torch.testing.assert_close(model.raw.grad, torch.tensor([[1.0, 1.0], [0.0, -2.0]]))
    assert loss.stats["loss"][1] == 2
    assert loss.stats["mae"][1] == 3


@pytest.mark.parametrize(("head", "loss"), [(TWO, "mse"), (TWO, "huber")])
def test_a_head_of_zeros_predicts_the_mean(head, loss):
    at_mean = [list(head.mean)] * 3
    made, _, _ = loss_of(head, loss, [[0.0, 0.0]] * 3, at_mean)
    assert (made.total.item(), means(made)["mae"]) == (0, 0)


def test_the_first_loss_of_whole_scales():
    assert total(LEVELS, "ordinal", [[0.0, 0.0]] * 2, [[1.0], [3.0]]) / 2 == pytest.approx(2 * math.log(2))
    zeros = [[0.0, 0.0, 0.0]] * 2
    assert total(CLASSES, "classification", zeros, [[1.0], [3.0]]) / 2 == pytest.approx(math.log(3))


# ---------------------------------------------------------------------------------------------------------- by formula


def sigma(x):
    return 1 / (1 + np.exp(-x))


def by_formula(loss: str, o: np.ndarray, level: int, lowest: int, delta: float) -> float:
    """One attribute, one response, float64. o: the head's outputs; regression with mean 2 and scale 0.5."""
    if loss in ("mse", "huber"):
        off = abs((level - 2) / 0.5 - o[0])
        return off**2 if loss == "mse" else off**2 / 2 if off < delta else delta * (off - delta / 2)
    if loss == "ordinal":
        return -sum(np.log(sigma(x) if level > lowest + j else sigma(-x)) for j, x in enumerate(o))
    return -np.log(np.exp(o[level - lowest]) / np.exp(o).sum())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["mse", "huber", "ordinal", "classification"]),
    st.lists(st.floats(-6, 6), min_size=8, max_size=8),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.floats(0.3, 3),
)
def test_the_formulas_in_float64(loss, outputs, levels, delta):
    kind = "regression" if loss in ("mse", "huber") else loss
    head = ScoreHead(kind, ("a", "b"), 0, 3, mean=(2.0, 2.0), scale=(0.5, 0.5))
    levels = [min(level, head.highest) for level in levels]
    raw = np.array(outputs[: head.num_labels])
    got = attribute_losses(
        torch.tensor(raw[None], dtype=torch.float32), torch.tensor([levels], dtype=torch.float32), head, loss, delta
    )
    each = raw.reshape(2, -1)
    expected = [by_formula(loss, o, level, 0, delta) for o, level in zip(each, levels, strict=True)]
    assert got.shape == (1, 2)
    np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("padded", [False, True])
def test_stats_by_hand(padded):
    """Scores 3.5, 2 for truths 4, 2; then 2.5, 5 where only the second attribute is known, to be 7."""
    raw, targets = [[3.0, -0.5], [1.0, 1.0]], [[4.0, 2.0], [NAN, 7.0]]
    loss, _, _ = loss_of(TWO, "mse", raw, targets, padded=padded)
    assert {name: count for name, (_, count) in loss.stats.items()} == {
        "loss": 2, "mae": 3, "exact": 3, "score": 3, "score_square": 3,
    }  # fmt: skip
    stats = means(loss)
    assert stats["loss"] == pytest.approx(loss.total.item() / 2)
    assert stats["mae"] == pytest.approx((0.5 + 0 + 2) / 3)
    assert stats["exact"] == pytest.approx(2 / 3)  # 3.5 is rounded to 4, 2 is 2
    assert stats["score"] == pytest.approx((3.5 + 2 + 5) / 3)
    assert stats["score_square"] == pytest.approx((3.5**2 + 2**2 + 5**2) / 3)


@pytest.mark.parametrize(
    ("head", "loss"), [(TWO, "mse"), (TWO, "huber"), (LEVELS, "ordinal"), (CLASSES, "classification")]
)
def test_no_forward_waits_for_its_device(head, loss):
    batch = batch_of([[2.0] * len(head.attributes), [NAN] + [3.0] * (len(head.attributes) - 1)], 1)
    model = Told([[0.0] * head.num_labels] * 2, head)
    assert asks_nothing_of_its_device(Pointwise(ONE_RANK, PointwiseConfig(loss=loss)), model, batch)


@pytest.mark.parametrize(("head", "loss"), [(TWO, "mse"), (LEVELS, "ordinal"), (CLASSES, "classification")])
def test_an_empty_forward_adds_nothing_and_has_a_gradient(head, loss):
    made, model, units = loss_of(head, loss, [[0.0] * head.num_labels], [])
    assert (made.total.item(), units) == (0, 0)
    assert (
        made.stats.keys()
        == loss_of(head, loss, [[0.0] * head.num_labels], [[2.0] * len(head.attributes)])[0].stats.keys()
    )
    assert all((float(total), count) == (0, 0) for total, count in made.stats.values())
    made.total.backward()
    assert not model.raw.grad.any()
