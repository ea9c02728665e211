"""The per-token loss against cross-entropy over whole logits, and its promises: no logits, no work in vain."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cookbook_lib.models.token_loss import IGNORE_INDEX, summed_nll

V, D = 97, 16


def case(rows: int = 2, length: int = 23, masked: float = 0.6, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, length, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, V, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < masked] = IGNORE_INDEX
    weights = torch.rand(rows, length, generator=generator) * (labels != IGNORE_INDEX)
    return hidden, weight, labels, weights


def reference(hidden, weight, labels, weights, softcap=None):
    logits = hidden.double() @ weight.double().T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="none")
    return (nll * weights.flatten().double()).sum(), nll[labels.flatten() != IGNORE_INDEX]


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("chunk", [1, 7, 256])
@pytest.mark.parametrize("masked", [0.0, 0.6])
def test_value_and_gradients_equal_cross_entropy(softcap, chunk, masked):
    hidden, weight, labels, weights = case(masked=masked)
    total, nll = summed_nll(hidden, weight, labels, weights, softcap=softcap, chunk=chunk)
    expected, expected_nll = reference(hidden, weight, labels, weights, softcap)
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nll.double(), expected_nll, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(total / 7, (hidden, weight))
    theirs = torch.autograd.grad(expected / 7, (hidden, weight))
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)


def test_nothing_supervised_is_zero_with_zero_gradients():
    hidden, weight, labels, weights = case(masked=1.1)
    total, nll = summed_nll(hidden, weight, labels, weights)
    assert total.item() == 0
    assert len(nll) == 0
    total.backward()
    assert hidden.grad.abs().sum() == 0
    assert weight.grad.abs().sum() == 0  # present: a sharded head must take part in every backward


def test_bf16_is_near_and_not_bent():
    """A gradient's scale must not be rounded to bf16 before it is used: 1/777 is 0.18 % off there, always one way."""
    exact, rounded = case(4, 400, 0.2), case(4, 400, 0.2, dtype=torch.bfloat16)
    expected, _ = summed_nll(*exact)
    total, _ = summed_nll(*rounded)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=2e-3, atol=0)
    (once,) = torch.autograd.grad(total, rounded[0], retain_graph=True)
    (divided,) = torch.autograd.grad(total / 777, rounded[0])
    assert divided.dtype == torch.bfloat16
    used = once.abs() > 1e-3
    assert (divided[used].double() * 777 / once[used].double()).mean().item() == pytest.approx(1, abs=3e-4)


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, labels, weights = case()
    weight.requires_grad_(False)
    summed_nll(hidden, weight, labels, weights)[0].backward()
    assert weight.grad is None
    assert hidden.grad is not None


class Products(TorchDispatchMode):
    """Counts matrix products, and the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.largest = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_the_whole_logits_never_exist():
    hidden, weight, labels, weights = case(1, 400, masked=0.0)
    with Products() as seen:
        summed_nll(hidden, weight, labels, weights, chunk=16)[0].backward()
    assert seen.largest == max(16 * V, 400 * D, V * D)
    assert seen.largest < 400 * V / 4


def test_unsupervised_positions_never_meet_the_vocabulary():
    hidden, weight, labels, weights = case(1, 64, masked=0.0)
    labels[:, 16:] = IGNORE_INDEX
    with Products() as seen:
        summed_nll(hidden, weight, labels, weights, chunk=16)
    assert seen.products == 3  # logits, gradient of hidden, gradient of the head: of one chunk and not of four


def test_validation_computes_no_gradients():
    hidden, weight, labels, weights = case(1, 64, masked=0.0)
    with torch.no_grad(), Products() as seen:
        total, _ = summed_nll(hidden, weight, labels, weights, chunk=64)
    assert seen.products == 1
    assert not total.requires_grad
