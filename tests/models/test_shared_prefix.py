"""Segments that continue another, against the formula over the unshared documents: each with its own copy of the beginning."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import Segments, _flash, varlen_attention
from cookbook_lib.models.shared_prefix import repeated
from tests.models.test_attention import bounds, formula, inputs

CPU = torch.device("cpu")
# (tokens of a beginning, tokens of each continuation)
FAMILIES = [(7, [3, 1, 5]), (4, []), (1, [2]), (6, [4, 4])]


def flat(families):
    lengths, continues = [], []
    for root, more in families:
        first = len(lengths)
        lengths += [root, *more]
        continues += [-1, *[first] * len(more)]
    return lengths, tuple(continues)


def unshared(tensors, families):
    """Every document whole: (its q, k, v, the places in the shared row where its own tokens stand)."""
    start = 0
    for root, more in families:
        begin = slice(start, start + root)
        yield [x[:, :, begin] for x in tensors], 0
        start += root
        for length in more:
            own = slice(start, start + length)
            yield [torch.cat([x[:, :, begin], x[:, :, own]], dim=2) for x in tensors], root
            start += length


def expected(tensors, families, **options):
    out = [
        formula(*document, [document[0].shape[2]], **options)[:, :, skip:]
        for document, skip in unshared(tensors, families)
    ]
    return torch.cat(out, dim=2)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize("window", [None, 3, 8])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_output_and_gradients_equal_the_unshared(kv_heads, scaling, window, softcap):
    lengths, continues = flat(FAMILIES)
    tensors = inputs(sum(lengths), kv_heads=kv_heads)
    segments = Segments.of(bounds(lengths), CPU, continues)
    ours = varlen_attention(*tensors, segments=segments, scaling=scaling, sliding_window=window, softcap=softcap)
    right = expected(tensors, FAMILIES, scaling=scaling, window=window, softcap=softcap)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-6)
    probe = torch.randn_like(right)
    both = (torch.autograd.grad(out, tensors, probe) for out in (ours, right))
    for mine, theirs in zip(*both, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(families=st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 6), max_size=4)), min_size=1, max_size=4))
def test_any_families(families):
    lengths, continues = flat(families)
    tensors = inputs(sum(lengths))
    ours = varlen_attention(*tensors, segments=Segments.of(bounds(lengths), CPU, continues))
    torch.testing.assert_close(ours, expected(tensors, families))


def test_bf16_is_computed_in_fp32_and_rounded_once():
    lengths, continues = flat(FAMILIES)
    tensors = [x.detach().bfloat16() for x in inputs(sum(lengths))]
    ours = varlen_attention(*tensors, segments=Segments.of(bounds(lengths), CPU, continues))
    right = expected([x.float() for x in tensors], FAMILIES).bfloat16()
    torch.testing.assert_close(ours, right, rtol=1e-2, atol=1e-3)


def test_continuations_do_not_see_each_other_and_change_nothing_before_them():
    lengths, continues = flat([(5, [3, 4])])
    tensors = inputs(sum(lengths))
    segments = Segments.of(bounds(lengths), CPU, continues)
    before = varlen_attention(*tensors, segments=segments)
    with torch.no_grad():
        for tensor in tensors:
            tensor[:, :, 5:8] += 100
    after = varlen_attention(*tensors, segments=segments)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert torch.equal(before[:, :, 8:], after[:, :, 8:])
    assert not torch.equal(before[:, :, 5:8], after[:, :, 5:8])


def test_what_the_cuda_kernel_is_told():
    segments = Segments((0, 3, 5, 6, 8), (-1, 0, 0, -1))
    on_device = segments._on(CPU)
    assert on_device.queries.tolist() == [0, 3, 5, 6, 8]
    assert on_device.keys.tolist() == [0, 3, 8, 12, 14]
    assert on_device.gather.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7]


def kernel(q, k, v, queries, keys, longest_query, longest_key, *, scale, window_size, enable_gqa):
    """What torch's varlen_attn promises, (T, heads, H): causal, the queries of a segment the last of its keys."""
    groups, out = q.shape[1] // k.shape[1], []
    assert enable_gqa and window_size == (-1, 0)
    assert (longest_query, longest_key) == (int(queries.diff().max()), int(keys.diff().max()))
    for n in range(len(queries) - 1):
        own_q = q[queries[n] : queries[n + 1]].transpose(0, 1)
        own_k, own_v = (x[keys[n] : keys[n + 1]].transpose(0, 1).repeat_interleave(groups, 0) for x in (k, v))
        later = torch.ones(own_q.shape[1], own_k.shape[1], dtype=torch.bool).triu(1 + own_k.shape[1] - own_q.shape[1])
        scores = own_q @ own_k.transpose(1, 2) * (q.shape[2] ** -0.5 if scale is None else scale)
        out.append((scores.masked_fill(later, float("-inf")).softmax(-1) @ own_v).transpose(0, 1))
    return torch.cat(out)


def test_the_way_to_the_cuda_kernel_and_back(monkeypatch):
    """Everything but the kernel itself: keys repeated for each of sixteen continuations, their gradients added up."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    families = [(7, [2] * 16), (4, []), (3, [1, 5])]
    lengths, continues = flat(families)
    tensors = inputs(sum(lengths))
    segments = Segments.of(bounds(lengths), CPU, continues)
    ours = _flash(*tensors, replace(segments, on_device=segments._on(CPU)), None, None)
    right = expected(tensors, families)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-6)
    probe = torch.randn_like(right)
    both = (torch.autograd.grad(out, tensors, probe) for out in (ours, right))
    for mine, theirs in zip(*both, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_repeated_keys_is_rounded_once():
    """Sixteen completions of one prompt in bf16, against the sum in float64: half a step of bf16, where index_select is off
    by several."""
    places = torch.arange(40).repeat(16)
    x = torch.randn(1, 2, 40, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    grad = torch.randn(1, 2, len(places), 8, generator=torch.Generator().manual_seed(1)).add(0.5).bfloat16()
    exact = grad.double().unflatten(2, (16, 40)).sum(2)
    step = torch.exp2(exact.abs().log2().floor()) * 2**-7  # between neighbours of bf16

    def off(out: torch.Tensor) -> float:
        (found,) = torch.autograd.grad(out, x, grad)
        assert found.dtype == torch.bfloat16
        return float(((found.double() - exact).abs() / step).max())

    assert torch.equal(repeated(x, places), x.index_select(2, places))
    assert off(repeated(x, places)) <= 0.51
    assert off(x.index_select(2, places)) > 2, "the test would not see the difference"


def test_a_continuation_of_a_continuation_is_refused():
    segments = Segments((0, 3, 5, 6), (-1, 0, 1))
    with pytest.raises(CookbookError, match="segment 2 continues 1, which is not the last that begins anew"):
        varlen_attention(*inputs(6), segments=segments)
