"""Varlen attention: many documents side by side in one row, none of which sees another.

    row        | document 0      | document 1 | document 2          |
    cu_seqlens 0                 5            8                     15
    position   0  1  2  3  4     0  1  2      0  1  2  3  4  5  6

A segment may continue another (`continues`): its tokens then follow that one's, which is computed once for all that continue
it: the prompt of a pair's two answers, of a group's completions.

    row        | 0: a prompt   | 1: an answer | 2: another         |
    continues   -1              0              0                        positions of 1 and 2 begin where 0 ends

One function serves every decoder. transformers calls it through `AttentionInterface` under the name ATTENTION and hands
over every extra keyword of the model's forward, so that the boundaries (`segments`) and the function that attends
(`attend`: this one, or this one under Ulysses) arrive as arguments: no patched class, no global state.

    CUDA, fp16 or bf16, no softcap    torch's `varlen_attn` (flash attention over the whole row at once; keys and values of a
                                      beginning are repeated for each of its continuations, bottom-right aligned)
    everything else                   one causal SDPA per document; continuations as in shared_prefix.py

Shapes: B rows, N query heads, M key-value heads (N % M == 0), T tokens, H head dim.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from cookbook_lib.config import CookbookError
from cookbook_lib.models.shared_prefix import continued_attention, repeated

ATTENTION = "cookbook_varlen"
Attend = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class OnDevice:
    """What the CUDA kernel reads: int32 boundaries of queries and of keys, and which tokens the keys are (None: all in order)."""

    queries: torch.Tensor
    keys: torch.Tensor
    gather: torch.Tensor | None


@dataclass(frozen=True)
class Segments:
    """The segments of one packed row. Python ints for the CPU loop, tensors for the CUDA kernel: made once a batch.

    Segments that continue the same one follow it directly, and what is continued does not itself continue another.
    """

    cu_seqlens: tuple[int, ...]  # S + 1 boundaries, from 0 to T
    continues: tuple[int, ...] | None = None  # (S): the segment that each one continues, -1 for none; None: none does
    on_device: OnDevice | None = None

    @classmethod
    def of(
        cls, cu_seqlens: tuple[int, ...], device: torch.device, continues: tuple[int, ...] | None = None
    ) -> "Segments":
        continues = None if continues is None or max(continues, default=-1) < 0 else tuple(continues)
        segments = cls(tuple(cu_seqlens), continues)
        return replace(segments, on_device=segments._on(device)) if device.type == "cuda" else segments

    @cached_property
    def lengths(self) -> list[int]:
        return [end - start for start, end in pairwise(self.cu_seqlens)]

    @cached_property
    def key_lengths(self) -> list[int]:
        """What each segment sees: its own tokens, and those of the one that it continues."""
        roots = self.continues or (-1,) * len(self.lengths)
        return [n + (self.lengths[root] if root >= 0 else 0) for n, root in zip(self.lengths, roots, strict=True)]

    @cached_property
    def families(self) -> list[tuple[int, list[int]]]:
        """(tokens of a segment, tokens of each that continues it), in the order of the row."""
        found: list[tuple[int, list[int]]] = []
        first: list[int] = []
        for number, (length, root) in enumerate(zip(self.lengths, self.continues or (), strict=True)):
            if root < 0:
                found.append((length, []))
                first.append(number)
            elif first and root == first[-1]:
                found[-1][1].append(length)
            else:
                raise CookbookError(
                    f"segment {number} continues {root}, which is not the last that begins anew before it."
                )
        return found

    def _on(self, device: torch.device) -> OnDevice:
        bounds = torch.tensor(self.cu_seqlens, dtype=torch.int32).to(device, non_blocking=True)
        if self.continues is None:
            return OnDevice(bounds, bounds, None)
        keys = torch.tensor([0, *accumulate(self.key_lengths)], dtype=torch.int32).to(device, non_blocking=True)
        seen: list[torch.Tensor] = []
        for number, root in enumerate(self.continues):
            seen += [torch.arange(*self.cu_seqlens[part : part + 2]) for part in (root, number) if part >= 0]
        return OnDevice(bounds, keys, torch.cat(seen).to(device, non_blocking=True))


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
    """Causal attention within each document, and over the segment that a document continues.

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
    if segments.continues is not None:
        return _families(q, k, v, segments, scaling, sliding_window, softcap)
    lengths = segments.lengths
    documents = zip(q.split(lengths, 2), k.split(lengths, 2), v.split(lengths, 2), strict=True)
    return torch.cat([_dense(*document, scaling, sliding_window, softcap) for document in documents], dim=2)


def _families(q, k, v, segments: Segments, scaling, sliding_window, softcap) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Each beginning once, then what continues it: without a mask where the formula is plain, over repeated keys elsewhere."""
    masked = (
        softcap is not None or q.is_cuda or (sliding_window or max(segments.key_lengths)) < max(segments.key_lengths)
    )
    groups, out = q.shape[1] // k.shape[1], []
    sizes = [n for length, more in segments.families for n in (length, sum(more))]
    # one split: each slice's gradient would be a row of zeros as long as all families together
    parts = list(zip(*(x.split(sizes, dim=2) for x in (q, k, v)), strict=True))
    for (length, more), root, rest in zip(segments.families, parts[::2], parts[1::2], strict=True):
        if length:
            out.append(_dense(root[0], root[1], root[2], scaling, sliding_window, softcap))
        if more and (masked or not length):
            for own_q, *own in zip(*(x.split(more, dim=2) for x in rest), strict=True):
                keys, values = (torch.cat(both, dim=2) for both in zip(root[1:], own, strict=True))
                out.append(_dense(own_q, keys, values, scaling, sliding_window, softcap))
        elif more:
            whole = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (*rest[1:], *root[1:]))
            out.append(continued_attention(rest[0], *whole, lengths=more, scaling=scaling))
    return torch.cat(out, dim=2)


def _flash(q, k, v, segments: Segments, scaling, sliding_window) -> torch.Tensor:  # type: ignore[no-untyped-def]
    from torch.nn.attention.varlen import varlen_attn

    bounds = segments.on_device
    assert bounds is not None
    if bounds.gather is not None:
        k, v = repeated(k, bounds.gather), repeated(v, bounds.gather)
    left = -1 if sliding_window is None else sliding_window - 1
    packed_q, packed_k, packed_v = (x[0].transpose(0, 1).contiguous() for x in (q, k, v))  # (T, heads, H)
    out = varlen_attn(
        packed_q, packed_k, packed_v, bounds.queries, bounds.keys, max(segments.lengths), max(segments.key_lengths),
        scale=scaling, window_size=(left, 0), enable_gqa=True,
    )  # fmt: skip
    assert isinstance(out, torch.Tensor)
    return out.transpose(0, 1).unsqueeze(0)


def _dense(q, k, v, scaling, sliding_window, softcap) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """One document (or rows of one document each): SDPA, or the formula written out where SDPA cannot say it.

    More keys than queries: the queries are the last of them."""
    queries, length = q.shape[2], k.shape[2]
    windowed = sliding_window is not None and sliding_window < length
    mask = (
        _window(queries, length, sliding_window if windowed else length, q.device)
        if windowed or queries < length
        else None
    )
    if softcap is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
    if mask is None:
        mask = _window(queries, length, length, q.device)
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~mask, float("-inf")).float().softmax(-1).to(q.dtype) @ v


def _window(queries: int, keys: int, window: int, device: torch.device) -> torch.Tensor:
    """(queries, keys) booleans: the query at place t sees keys t - window + 1 .. t; the queries are the last of the keys."""
    t = torch.arange(keys, device=device)
    back = t[keys - queries :, None] - t[None, :]
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
