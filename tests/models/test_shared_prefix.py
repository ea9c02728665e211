"""Segments that continue another, against the formula over the unshared documents: each with its own copy of the beginning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import Segments, varlen_attention
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


def test_a_continuation_of_a_continuation_is_refused():
    segments = Segments((0, 3, 5, 6), (-1, 0, 1))
    with pytest.raises(CookbookError, match="segment 2 continues 1, which is not the last that begins anew"):
        varlen_attention(*inputs(6), segments=segments)
