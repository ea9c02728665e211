"""Varlen attention against the formula, written out once more with one explicit mask over the whole row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import Segments, _from_transformers, varlen_attention

CPU = torch.device("cpu")


def inputs(
    total: int, heads: int = 4, kv_heads: int = 2, head_dim: int = 8, rows: int = 1, seed: int = 0
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, n, total, head_dim, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (heads, kv_heads, kv_heads)
    ]


def bounds(lengths: list[int]) -> tuple[int, ...]:
    return (0, *torch.tensor(lengths).cumsum(0).tolist())


def formula(q, k, v, lengths, scaling=None, window=None, softcap=None):
    """softmax(cap(q k^T s) + mask) v over the whole row: seen are keys of the same document, not later, within."""
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    t = torch.arange(len(document))
    back = t[:, None] - t[None, :]
    seen = (document[:, None] == document[None, :]) & (back >= 0)
    if window is not None:
        seen &= back < window
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.einsum("bnth,bnsh->bnts", q, k) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_output_and_gradients_equal_the_formula(kv_heads, scaling, window, softcap):
    lengths = [5, 1, 9, 3]
    tensors = inputs(sum(lengths), kv_heads=kv_heads)
    options = {"scaling": scaling, "sliding_window": window, "softcap": softcap}
    ours = varlen_attention(*tensors, segments=Segments.of(bounds(lengths), CPU), **options)
    expected = formula(*tensors, lengths, scaling, window, softcap)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    probe = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(ours, tensors, probe), torch.autograd.grad(expected, tensors, probe), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8), window=st.one_of(st.none(), st.integers(1, 14)))
def test_any_lengths(lengths, window):
    tensors = inputs(sum(lengths))
    ours = varlen_attention(*tensors, segments=Segments.of(bounds(lengths), CPU), sliding_window=window)
    torch.testing.assert_close(ours, formula(*tensors, lengths, window=window))


def test_documents_do_not_see_each_other_at_all():
    q, k, v = inputs(9)
    segments = Segments.of((0, 4, 9), CPU)
    before = varlen_attention(q, k, v, segments=segments)
    with torch.no_grad():
        for tensor in (q, k, v):
            tensor[:, :, :4] += 100
    after = varlen_attention(q, k, v, segments=segments)
    assert torch.equal(before[:, :, 4:], after[:, :, 4:])
    assert not torch.equal(before[:, :, :4], after[:, :, :4])


def test_padding_on_the_right_needs_no_mask():
    q, k, v = inputs(7, rows=2)
    padded = varlen_attention(q, k, v, segments=None)
    alone = varlen_attention(q[1:, :, :4], k[1:, :, :4], v[1:, :, :4], segments=None)
    torch.testing.assert_close(padded[1:, :, :4], alone)


def test_bf16_stays_bf16_and_close():
    tensors = [t.float() for t in inputs(12)]
    segments = Segments.of((0, 5, 12), CPU)
    for softcap in (None, 5.0):
        exact = varlen_attention(*tensors, segments=segments, softcap=softcap)
        rounded = varlen_attention(*(t.bfloat16() for t in tensors), segments=segments, softcap=softcap)
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


def test_boundaries_that_do_not_cover_the_row_are_an_error():
    with pytest.raises(RuntimeError, match="split"):
        varlen_attention(*inputs(9), segments=Segments.of((0, 4, 8), CPU))


def test_segments_know_their_lengths_and_make_no_tensor_on_cpu():
    segments = Segments.of((0, 4, 9), CPU)
    assert segments.lengths == [4, 5]
    assert segments.on_device is None


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "without its `attend` argument"),
        ({"attend": varlen_attention, "s_aux": torch.zeros(4)}, "attention sinks"),
        ({"attend": varlen_attention, "dropout": 0.1}, "attention_dropout to 0"),
    ],
)
def test_what_it_cannot_compute_it_refuses(kwargs, sentence):
    with pytest.raises(CookbookError, match=sentence):
        _from_transformers(torch.nn.Identity(), *inputs(4), None, **kwargs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 16])
def test_flash_on_cuda_equals_the_loop_on_cpu(window):
    lengths = [40, 7, 100]
    tensors = [t.detach().float() for t in inputs(sum(lengths), head_dim=64)]
    exact = varlen_attention(*tensors, segments=Segments.of(bounds(lengths), CPU), sliding_window=window)
    cuda = torch.device("cuda")
    on_gpu = [t.to(cuda, torch.bfloat16) for t in tensors]
    flash = varlen_attention(*on_gpu, segments=Segments.of(bounds(lengths), cuda), sliding_window=window)
    torch.testing.assert_close(flash.float().cpu(), exact, rtol=0.05, atol=0.05)
