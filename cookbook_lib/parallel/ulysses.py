"""Ulysses: one sequence over several ranks, around any attention function.

Everything in a decoder but attention treats tokens one by one, so each rank keeps a slice of the sequence. Attention
treats heads one by one. So an all-to-all turns the layout just before attention, and another turns it back:

       outside: all heads, some tokens             inside attend: some heads, all tokens
              head 0 1 2 3                               head 0 1   2 3
      token 0  |  rank 0  |                      token 0     |    |    |
            1  |          |     all-to-all             1     | r  | r  |
           --- +----------+    ----------->            2     | 0  | 1  |
            2  |  rank 1  |    <-----------            3     |    |    |
            3  |          |

What attention is told about the sequence (document boundaries, positions, windows) is about the whole of it, made once
per batch and the same on every rank: it passes through untouched.

Constraints: sp divides the query heads (`check_heads`) and the tokens of a row (packing pads the tail). Key-value heads
may be fewer than sp, or not divisible by it: they are repeated to the least common multiple, no further. Per layer, a
rank sends 1 - 1/sp of its slices of q, repeated k and v in one message, and of the output in another; so does backward.

Source: DeepSpeed-Ulysses, https://arxiv.org/abs/2309.14509
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.collectives import all_to_all
from cookbook_lib.parallel.mesh import Mesh

Attend = Callable[..., torch.Tensor]
Batch = TypeVar("Batch")


def ulysses(attend: Attend, group: dist.ProcessGroup | None) -> Attend:
    """`attend` for ranks that hold slices of a sequence; `attend` itself when `group` is None or a single rank.

    attend(q (B, N, T, H), k, v (B, M, T, H), **whatever) -> (B, N, T, H), with M dividing N. The result takes and gives
    slices of T/sp tokens, in rank order, and calls `attend` with N/sp heads of the whole sequence.
    """
    if group is None or group.size() == 1:
        return attend

    def attend_slices(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **about: Any) -> torch.Tensor:
        check_heads(q.shape[1], group.size())
        repeats = math.lcm(k.shape[1], group.size()) // k.shape[1]
        k, v = (x.repeat_interleave(repeats, dim=1) if repeats > 1 else x for x in (k, v))
        out = attend(*_whole_sequence((q, k, v), group), **about)
        return _all_heads(out, group)

    return attend_slices


def check_heads(num_heads: int, sp: int) -> None:
    """Raise CookbookError, with the nearest sizes that fit, unless `sp` ranks can share `num_heads` query heads."""
    if num_heads % sp == 0:
        return
    fitting = [d for d in range(1, num_heads + 1) if num_heads % d == 0]
    nearest = sorted({max(d for d in fitting if d < sp), min([d for d in fitting if d > sp] or [num_heads])})
    raise CookbookError(
        f"ulysses_sequence_parallel_size is {sp}, which does not divide the model's {num_heads} query heads; "
        f"use {' or '.join(map(str, nearest))}."
    )


def take_shard(batch: Batch, mesh: Mesh) -> Batch:
    """This rank's slice of a batch: of every (B, T) tensor field of a dataclass, tokens sp_rank * T/sp and on.

    Other fields (boundaries, row names) tell of the whole sequence and stay. CookbookError when sp does not divide T.
    """
    if mesh.sp == 1:
        return batch
    slices = {
        field.name: _slice(value, mesh)
        for field in dataclasses.fields(batch)  # type: ignore[arg-type]
        if isinstance(value := getattr(batch, field.name), torch.Tensor) and value.ndim == 2
    }
    return dataclasses.replace(batch, **slices)  # type: ignore[type-var]


def _slice(x: torch.Tensor, mesh: Mesh) -> torch.Tensor:
    if x.shape[1] % mesh.sp:
        raise CookbookError(
            f"a row of {x.shape[1]} tokens cannot be cut into {mesh.sp} equal slices for Ulysses; "
            f"pad it to {math.ceil(x.shape[1] / mesh.sp) * mesh.sp} (a multiple of ulysses_sequence_parallel_size)."
        )
    return x.chunk(mesh.sp, dim=1)[mesh.sp_rank].contiguous()


def _whole_sequence(slices: tuple[torch.Tensor, ...], group: dist.ProcessGroup) -> list[torch.Tensor]:
    """(B, P * n, t, H) each -> (B, n, P * t, H) each, in one exchange; head counts and H may differ between them."""
    by_heads = [x.unflatten(1, (group.size(), -1)).transpose(0, 1) for x in slices]  # (P, B, n, t, H)
    return [x.permute(1, 2, 0, 3, 4).flatten(2, 3) for x in all_to_all(by_heads, group)]


def _all_heads(whole: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """(B, n, P * t, H) -> (B, P * n, t, H)."""
    by_tokens = whole.unflatten(2, (group.size(), -1)).permute(2, 0, 1, 3, 4)  # (P, B, n, t, H)
    (mine,) = all_to_all([by_tokens], group)
    return mine.transpose(0, 1).flatten(1, 2)
