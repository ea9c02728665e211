r"""Attention of several continuations of one beginning, the beginning computed once.

    row      | root  x x x x x | first  a a a | second  b b |          first and second continue root
    sees     x: causally x     | a: all of x, and causally a | b: all of x, and causally b

A continuation's softmax runs over two blocks of keys. Each block is attended to on its own, as a plain rectangle (the
root's, for all continuations at once) and a plain triangle (its own), so that no mask is ever made, and the two are joined by
their normalisers:

    lse = log(e^lse_root + e^lse_own)        out = e^(lse_root - lse) out_root + e^(lse_own - lse) out_own

The gradient needs no such join: with P = exp(scale q k - lse) the backward pass of either block, given the joined `out` and
`lse`, is already its part of the whole (the identity behind ring attention, https://arxiv.org/abs/2310.01889).

A kernel that has no such blocks reads the root's keys again for each continuation: `repeated`, whose gradient is a sum.

Shapes: N heads (keys and values already repeated to them), P tokens of the root, T of the continuations together, H head dim.
"""

from collections.abc import Sequence
from typing import Any

import torch

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Continued(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, k_root: torch.Tensor, v_root: torch.Tensor,
                lengths: list[int], scaling: float) -> torch.Tensor:  # fmt: skip
        over_root, lse_root = _forward(q, k_root, v_root, scale=scaling)
        parts = [_forward(*own, is_causal=True, scale=scaling) for own in _split(lengths, q, k, v)]
        over_own, lse_own = (torch.cat(column, dim=2) for column in zip(*parts, strict=True))
        lse = torch.logaddexp(lse_root, lse_own)
        out = over_root * (lse_root - lse).exp().unsqueeze(-1) + over_own * (lse_own - lse).exp().unsqueeze(-1)
        ctx.save_for_backward(q, k, v, k_root, v_root, out, lse)
        ctx.lengths, ctx.scaling = lengths, scaling
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, k_root, v_root, out, lse = ctx.saved_tensors
        options = {"dropout_p": 0.0, "scale": ctx.scaling}
        grad_q, *grad_root = _backward(grad, q, k_root, v_root, out, lse, is_causal=False, **options)
        pieces = [
            _backward(*piece, is_causal=True, **options) for piece in _split(ctx.lengths, grad, q, k, v, out, lse)
        ]
        own_q, own_k, own_v = (torch.cat(column, dim=2) for column in zip(*pieces, strict=True))
        return grad_q + own_q, own_k, own_v, *grad_root, None, None


def continued_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    k_root: torch.Tensor,
    v_root: torch.Tensor,
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
) -> torch.Tensor:
    """Attention of continuations of `lengths` tokens, side by side, over the root and causally over themselves; CPU, fp32 or fp64.

    q, k, v (B, N, T, H); k_root, v_root (B, N, P, H) -> (B, N, T, H). `scaling` multiplies the scores (default H ** -0.5).
    """
    scaling = q.shape[-1] ** -0.5 if scaling is None else scaling
    out: torch.Tensor = _Continued.apply(q, k, v, k_root, v_root, list(lengths), scaling)
    return out


class _Repeated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.length = x.shape[2]
        return x.index_select(2, places)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places,) = ctx.saved_tensors
        exact = torch.promote_types(grad.dtype, torch.float32)
        total = grad.new_zeros((*grad.shape[:2], ctx.length, *grad.shape[3:]), dtype=exact)
        return total.index_add_(2, places, grad.to(exact)).to(grad.dtype), None


def repeated(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The tokens at `places` (R), each as often as it is named: x (B, N, T, H) -> (B, N, R, H).

    The gradient of a token is the sum over its repeats in fp32, rounded once: `index_select` alone adds up in x's dtype, and
    a prompt of sixteen completions in bf16 would lose what is smaller than 1/256 of what it has so far, repeat by repeat.
    """
    out: torch.Tensor = _Repeated.apply(x, places)
    return out


def _split(lengths: list[int], *tensors: torch.Tensor) -> Any:
    """Each continuation's part of every tensor, along the tokens (dimension 2)."""
    return zip(*(tensor.split(lengths, dim=2) for tensor in tensors), strict=True)
