"""Log-probabilities and entropies against log_softmax over whole logits in float64, and the promises: no logits, no work in vain."""

import math

import pytest
import torch
import torch.nn.functional as F

from cookbook_lib.config import CookbookError
from cookbook_lib.models.token_logps import token_logps
from tests.models.test_token_loss import D, Products, V

CHUNKS = [1, 7, 256]


def case(rows: int = 41, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, V, (rows,), generator=generator)
    return hidden, weight, targets


def reference(hidden, weight, targets, temperature=1.0, softcap=None):
    """As a textbook has it."""
    logits = hidden.double() @ weight.double().T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    log_p = F.log_softmax(logits / temperature, dim=1)
    return log_p.gather(1, targets[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(1)


def some_loss(logps, entropies):
    """Not a weighted sum: what a ratio's loss is like. Each token's gradient depends on its own value."""
    signs = torch.linspace(-1, 2, len(logps), dtype=logps.dtype)
    return (signs * (logps / 3).exp()).sum() + (signs * entropies.square()).sum() / 5


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_values_and_gradients(softcap, temperature, chunk):
    hidden, weight, targets = case()
    how = {"temperature": temperature, "softcap": softcap}
    ours = token_logps(hidden, weight, targets, entropy=True, chunk=chunk, **how)
    theirs = reference(hidden, weight, targets, **how)
    for mine, right in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), right, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(some_loss(*ours), (hidden, weight))
    wanted = torch.autograd.grad(some_loss(*theirs), (hidden, weight))
    for mine, right in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)


def test_without_asking_entropies_have_values_and_no_gradient():
    hidden, weight, targets = case()
    logps, entropies = token_logps(hidden, weight, targets)
    assert not entropies.requires_grad
    torch.testing.assert_close(entropies.double(), reference(hidden, weight, targets)[1], rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad((logps / 3).exp().sum(), (hidden, weight))
    wanted = torch.autograd.grad((reference(hidden, weight, targets)[0] / 3).exp().sum(), (hidden, weight))
    for mine, right in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)


def test_by_hand():
    """Logits 0 and ln 3 of a vocabulary of two: 1/4 and 3/4."""
    hidden, weight = torch.ones(2, 1), torch.tensor([[0.0], [math.log(3)]])
    logps, entropies = token_logps(hidden, weight, torch.tensor([0, 1]))
    torch.testing.assert_close(logps.exp(), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(entropies, torch.full((2,), math.log(4) - 0.75 * math.log(3)))


def test_a_certain_token_has_log_probability_and_entropy_zero():
    hidden, weight = torch.full((1, 1), 1e4), torch.tensor([[-1.0], [1.0]])
    logps, entropies = token_logps(hidden, weight, torch.tensor([1]))
    assert (logps.item(), entropies.item()) == (0, 0)


def test_no_tokens_are_no_numbers_with_zero_gradients():
    hidden, weight, targets = case(0)
    logps, entropies = token_logps(hidden, weight, targets, entropy=True)
    assert (len(logps), len(entropies)) == (0, 0)
    (logps.sum() + entropies.sum()).backward()
    assert hidden.grad.shape == (0, D)
    assert weight.grad.abs().sum() == 0  # present: a sharded head must take part in every backward


@pytest.mark.parametrize("entropy", [False, True])
def test_bf16_is_near(entropy):
    exact, rounded = case(400), case(400, dtype=torch.bfloat16)
    logps, entropies = token_logps(*rounded, entropy=entropy, chunk=64)
    right, spread = token_logps(*exact, entropy=entropy)
    assert logps.dtype == entropies.dtype == torch.float32
    assert (logps - right).abs().mean() < 0.03
    assert (entropies - spread).abs().mean() < 0.03
    ours, theirs = ((x.mean() - y.mean() if entropy else x.mean()) for x, y in ((logps, entropies), (right, spread)))
    for mine, wanted in zip(
        torch.autograd.grad(ours, rounded[:2]), torch.autograd.grad(theirs, exact[:2]), strict=True
    ):
        assert mine.dtype == torch.bfloat16
        assert (mine.float() - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_gets_no_gradient(frozen):
    tensors = case()
    tensors[frozen].requires_grad_(False)
    with Products() as seen:
        token_logps(*tensors)[0].sum().backward()
    assert tensors[frozen].grad is None
    assert tensors[1 - frozen].grad is not None
    assert seen.products == 3  # logits, logits again, the one gradient


def test_the_whole_logits_never_exist():
    tensors = case(400)
    with Products() as seen:
        logps, entropies = token_logps(*tensors, entropy=True, chunk=16)
        (logps.sum() + entropies.sum()).backward()
    assert seen.largest == max(16 * V, 400 * D, V * D)
    assert seen.largest < 400 * V / 4


def test_without_gradients_none_are_computed():
    tensors = case()
    with torch.no_grad(), Products() as seen:
        logps, _ = token_logps(*tensors, chunk=64)
    assert seen.products == 1
    assert not logps.requires_grad


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_of_nothing_is_refused(temperature):
    with pytest.raises(CookbookError, match="temperature of log-probabilities is .* it must be above 0"):
        token_logps(*case(), temperature=temperature)
