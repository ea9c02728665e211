"""Collectives with a gradient.

all_to_all   every rank sends chunk p of each tensor to rank p, in one message

    rank 0  [a0 a1]           [a0 b0]          A transpose of (rank, chunk): its own inverse,
    rank 1  [b0 b1]    ->     [a1 b1]          and therefore its own backward.

add_up       the sum over the ranks, on each of them. When the loss is the sum of what every rank makes of it, the
             gradient of each addend is the sum of all ranks' gradients: its own backward as well.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, cast

import torch
import torch.distributed as dist


def all_to_all(tensors: Sequence[torch.Tensor], group: dist.ProcessGroup) -> tuple[torch.Tensor, ...]:
    """Exchange the leading dimension of each tensor, (P, ...) with P ranks in `group`; same shapes out.

    Output[p] is what rank p had at [this rank]. Shapes are the same on every rank. Raises TypeError on several dtypes.
    """
    if len({x.dtype for x in tensors}) != 1:
        raise TypeError(f"one message carries one dtype, not {', '.join(str(x.dtype) for x in tensors)}; cast first")
    return cast(tuple[torch.Tensor, ...], _AllToAll.apply(group, *tensors))


def add_up(x: torch.Tensor, group: dist.ProcessGroup | None) -> torch.Tensor:
    """The sum of `x` over `group` (None: of one rank), the same shape; every rank must run its backward."""
    return x if group is None else cast(torch.Tensor, _AddUp.apply(group, x))


class _AddUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, x: torch.Tensor) -> torch.Tensor:
        ctx.group = group
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, _summed(grads[0], ctx.group)


def _summed(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.group = group
        return _exchange(tensors, group)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *_exchange(grads, ctx.group)


def _exchange(tensors: Sequence[torch.Tensor], group: dist.ProcessGroup) -> tuple[torch.Tensor, ...]:
    """Pack into one (P, everything) buffer, exchange, and give views of what came back."""
    ranks, widths = group.size(), [prod(x.shape[1:]) for x in tensors]
    sent = tensors[0].new_empty(ranks, sum(widths))
    for part, x in zip(sent.split(widths, dim=1), tensors, strict=True):
        part.view(x.shape).copy_(x)  # the one copy: the slices come strided as attention left them
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    return tuple(part.view(x.shape) for part, x in zip(received.split(widths, dim=1), tensors, strict=True))
