"""Varlen attention: many documents side by side in one row, none of which sees another.

    row        | document 0      | document 1 | document 2          |
    cu_seqlens 0                 5            8                     15
    position   0  1  2  3  4     0  1  2      0  1  2  3  4  5  6

One function serves every decoder. transformers calls it through `AttentionInterface` under the name ATTENTION and hands
over every extra keyword of the model's forward, so that the boundaries (`segments`) and the function that attends
(`attend`: this one, or this one under Ulysses) arrive as arguments: no patched class, no global state.

    CUDA, fp16 or bf16, no softcap    torch's `varlen_attn` (flash attention over the whole row at once)
    everything else                   one causal SDPA per document

Shapes: B rows, N query heads, M key-value heads (N % M == 0), T tokens, H head dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from cookbook_lib.config import CookbookError

ATTENTION = "cookbook_varlen"
Attend = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Segments:
    """The documents of one packed row. Python ints for the CPU loop, one int32 tensor for the CUDA kernel: made once a batch."""

    cu_seqlens: tuple[int, ...]  # S + 1 boundaries, from 0 to T
    on_device: torch.Tensor | None = None  # the same on the GPU, int32

    @classmethod
    def of(cls, cu_seqlens: tuple[int, ...], device: torch.device) -> "Segments":
        on_device = torch.tensor(cu_seqlens, dtype=torch.int32, device=device) if device.type == "cuda" else None
        return cls(tuple(cu_seqlens), on_device)

    @property
    def lengths(self) -> list[int]:
        return [end - start for start, end in pairwise(self.cu_seqlens)]


def varlen_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    segments: Segments | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Causal attention within each document.

    q (B, N, T, H); k, v (B, M, T, H) -> (B, N, T, H). With `segments`, B is 1 and the row is packed; without, every row is
    one document, padded on the right if at all (later positions are never seen by earlier ones, so padding needs no mask).
    `scaling` multiplies the scores (default H ** -0.5), `sliding_window` W lets a query see itself and W - 1 tokens before,
    `softcap` c bounds the scores to c * tanh(score / c).
    """
    if segments is not None and q.is_cuda and softcap is None and q.dtype in (torch.float16, torch.bfloat16):
        return _flash(q, k, v, segments, scaling, sliding_window)
    if q.device.type == "cpu" and q.dtype in (torch.float16, torch.bfloat16):
        exact = (x.float() for x in (q, k, v))  # a CPU's bf16 SDPA is no faster forward, and half as fast backward
        out = varlen_attention(
            *exact, segments=segments, scaling=scaling, sliding_window=sliding_window, softcap=softcap
        )
        return out.to(q.dtype)
    if segments is None:
        return _dense(q, k, v, scaling, sliding_window, softcap)
    lengths = segments.lengths
    documents = zip(q.split(lengths, 2), k.split(lengths, 2), v.split(lengths, 2), strict=True)
    return torch.cat([_dense(*document, scaling, sliding_window, softcap) for document in documents], dim=2)


def _flash(q, k, v, segments: Segments, scaling, sliding_window) -> torch.Tensor:  # type: ignore[no-untyped-def]
    from torch.nn.attention.varlen import varlen_attn

    longest = max(segments.lengths)
    left = -1 if sliding_window is None else sliding_window - 1
    packed_q, packed_k, packed_v = (x[0].transpose(0, 1).contiguous() for x in (q, k, v))  # (T, heads, H)
    bounds = segments.on_device
    assert bounds is not None
    out = varlen_attn(
        packed_q, packed_k, packed_v, bounds, bounds, longest, longest, scale=scaling, window_size=(left, 0), enable_gqa=True
    )  # fmt: skip
    assert isinstance(out, torch.Tensor)
    return out.transpose(0, 1).unsqueeze(0)


def _dense(q, k, v, scaling, sliding_window, softcap) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """One document (or rows of one document each): SDPA, or the formula written out where SDPA cannot say it."""
    length = q.shape[2]
    windowed = sliding_window is not None and sliding_window < length
    mask = _window(length, sliding_window, q.device) if windowed else None
    if softcap is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
    if mask is None:
        mask = _window(length, length, q.device)
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~mask, float("-inf")).float().softmax(-1).to(q.dtype) @ v


def _window(length: int, window: int, device: torch.device) -> torch.Tensor:
    """(T, T) booleans: query t sees keys t - window + 1 .. t."""
    t = torch.arange(length, device=device)
    back = t[:, None] - t[None, :]
    return (back >= 0) & (back < window)


def _from_transformers(module, q, k, v, attention_mask, *, attend=None, segments=None, **kwargs):  # type: ignore[no-untyped-def]
    """transformers' signature: q (B, N, T, H), k and v with their own heads -> ((B, T, N, H), None)."""
    if attend is None:
        raise CookbookError(
            f"attention {ATTENTION!r} was called without its `attend` argument: call the model through PackedModel, "
            "which passes it, or load it with attn_implementation='sdpa'."
        )
    if kwargs.get("s_aux") is not None:
        raise CookbookError(
            f"{type(module).__name__} uses attention sinks, which varlen attention does not compute here."
        )
    if kwargs.get("dropout"):
        raise CookbookError(
            f"attention dropout {kwargs['dropout']} is not supported: set attention_dropout to 0 in the model's config."
        )
    out = attend(
        q, k, v,
        segments=segments,
        scaling=kwargs.get("scaling"),
        sliding_window=kwargs.get("sliding_window"),
        softcap=kwargs.get("softcap"),
    )  # fmt: skip
    return out.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _from_transformers)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)  # else transformers builds a mask that leaks
