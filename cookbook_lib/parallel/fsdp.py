"""FSDP2: parameters, gradients and optimizer state in shards; a layer is whole only while it computes.

    forward    for each layer:  all-gather (compute dtype) -> compute -> free
    backward   for each layer:  all-gather -> compute -> reduce-scatter the gradient (fp32, SUM) -> free

    two-dimensional mesh (HSDP):  ... reduce-scatter within a copy -> all-reduce between copies

Master weights, gradients and optimizer state are fp32 DTensors; `compute_dtype` is what is gathered and multiplied.
Gradients are sums over the world, not FSDP's usual means: a loss is divided once, by the units of the whole step (see
training/objectives/base.py), and a second average here would make it depend on the number of ranks.

Every rank must run the same number of forwards and backwards. `shard_model` is called on real parameters or on the meta
device (then `to_empty`, and load), after `recompute_layers` and before the optimizer is made.
"""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.mesh import Mesh


def shard_model(
    module: nn.Module,
    mesh: Mesh,
    *,
    layers: Sequence[nn.Module],
    exact: Sequence[nn.Module] = (),
    compute_dtype: torch.dtype = torch.bfloat16,
    param_offload: bool = False,
    reshard_after_forward: bool = True,
) -> nn.Module:
    """Shard each layer, and what is left in the root, over mesh.fsdp_mesh; returns the same module.

    layers: the blocks that are gathered one at a time, inside `module`. exact: modules that compute in fp32 (or better),
    whatever compute_dtype: a score head. param_offload: shards, their gradients and
    their optimizer state rest in CPU memory (pinned on CUDA). reshard_after_forward=False keeps layers whole between
    forward and backward: one all-gather less per layer, for the memory of the whole model in compute_dtype.
    Raises CookbookError when a master weight is in less than fp32.
    """
    _check_master_weights(module)
    reduce_dtype = torch.promote_types(compute_dtype, torch.float32)
    for part in (*layers, *exact, module):
        dtype = reduce_dtype if any(part is head for head in exact) else compute_dtype
        fully_shard(
            part,
            mesh=mesh.fsdp_mesh,
            mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=reduce_dtype),
            offload_policy=CPUOffloadPolicy(mesh.device.type == "cuda") if param_offload else OffloadPolicy(),
            # The root's own parameters (embedding, head) are needed again at once in backward: keep them whole.
            reshard_after_forward=reshard_after_forward and part is not module,
        )
        if mesh.fsdp_mesh.size() > 1:  # a sum over one rank is divided by 1, which torch would do, number by number
            _sum_gradients(cast(FSDPModule, part))
        _reduce_unused(cast(FSDPModule, part))
    return module


def synchronise_gradients(module: nn.Module, *, last: bool, keep_whole: bool = False) -> None:
    """Say, before each micro-batch, whether it is the `last` one of the optimizer step.

    Copies (HSDP) meet only after the last; shards are reduced after each, so accumulating costs no memory. With
    keep_whole=True every rank accumulates whole fp32 gradients, and they are reduced once: less communication, for 4
    bytes per parameter.
    """
    root = cast(FSDPModule, module)
    root.set_is_last_backward(last)
    root.set_requires_gradient_sync(last or not keep_whole)
    root.set_requires_all_reduce(last)


def rest(module: nn.Module) -> None:
    """Cut every weight back into its shards.

    A forward that no backward follows (validation, a look at one batch) leaves the root's weights whole, and
    `module.parameters()` then gives the whole ones: an optimizer made on them would never move the shards that learn.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def recover(module: nn.Module) -> None:
    """Make a sharded module trainable again after an exception in forward or backward left its hooks half-run.

    Without it, an interrupted model may go on without error and never learn again. All gradients are dropped. Every
    rank calls it, having left the step at the same collective (else groups no longer match: join the world anew).
    """
    root = cast(FSDPModule, module)
    if not hasattr(root, "reset_iter_state"):
        raise CookbookError(f"torch {torch.__version__} cannot repair an interrupted FSDP step: build the model again.")
    root.reset_iter_state()
    module.zero_grad(set_to_none=True)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            _drop_whole_gradients(part)


def _drop_whole_gradients(part: FSDPModule) -> None:
    """Those of a layer that broke in backward, or of keep_whole: torch 2.13 would add them to the next step's."""
    for group in part._get_fsdp_state()._fsdp_param_groups:
        for parameter in group.fsdp_params:
            parameter.unsharded_accumulated_grad = None
            if hasattr(parameter, "_unsharded_param"):
                parameter._unsharded_param.grad = None


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float | None) -> float:
    """Scale all gradients so that their joint 2-norm is at most `max_norm` (None: only measure); the norm before that.

    Right for sharded, replicated and plain gradients together, the same number on every rank. A norm that is NaN or
    infinite is returned, and the gradients left as they are: the caller skips the step.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        raise CookbookError("no parameter has a gradient; clip after backward, and before the gradients are zeroed.")
    norm = grad_norm(grads)
    if max_norm is not None and math.isfinite(norm) and norm > max_norm:
        torch._foreach_mul_([_local(g) for g in grads], max_norm / norm)
    return norm


def grad_norm(grads: Iterable[torch.Tensor]) -> float:
    """The 2-norm of all gradients as one vector: squares summed in fp64, one all-reduce for each way of sharding."""
    kinds: dict[tuple[DeviceMesh | None, tuple[int, ...]], list[torch.Tensor]] = {}
    for grad in grads:
        kinds.setdefault(_sharding(grad), []).append(_local(grad))
    return math.sqrt(sum(_sum_of_squares(shards, mesh, dims) for (mesh, dims), shards in kinds.items()))


def _sum_of_squares(shards: list[torch.Tensor], mesh: DeviceMesh | None, dims: tuple[int, ...]) -> float:
    norms = torch._foreach_norm(shards, 2, dtype=torch.promote_types(shards[0].dtype, torch.float32))
    square = torch.stack(norms).double().square().sum()
    if mesh is not None:
        square = square.to(mesh.device_type)  # offloaded shards are on the CPU, where their group may not speak
        for dim in dims:
            dist.all_reduce(square, group=mesh.get_group(dim))
    return square.item()


def _sharding(grad: torch.Tensor) -> tuple[DeviceMesh | None, tuple[int, ...]]:
    """Over which dimensions of which mesh the pieces of `grad` add up; (None, ()) if plain, alike on all ranks."""
    if not isinstance(grad, DTensor):
        return None, ()
    if any(placement.is_partial() for placement in grad.placements):
        raise CookbookError(f"a gradient is not reduced yet ({grad.placements}); clip after the last micro-batch.")
    return grad.device_mesh, tuple(dim for dim, placement in enumerate(grad.placements) if placement.is_shard())


def _local(grad: torch.Tensor) -> torch.Tensor:
    return grad.to_local() if isinstance(grad, DTensor) else grad


def _sum_gradients(part: FSDPModule) -> None:
    """Turn off FSDP's averaging: divide by 1, and ask for plain sums (gloo has no other, NCCL is spared a scaling)."""
    part.set_gradient_divide_factor(1.0)
    part.set_force_sum_reduction_for_comms(True)


def _reduce_unused(part: FSDPModule) -> None:
    """A parameter that this rank's tokens did not reach (an expert, say) counts as zero; the other ranks wait for it."""
    if hasattr(part, "set_reduce_scatter_unused_params"):  # torch 2.13; before, such a step fails in the reduction
        part.set_reduce_scatter_unused_params(True, recurse=False)


def _check_master_weights(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            raise CookbookError(
                f"parameter {name} is {parameter.dtype}; master weights must be float32, or small updates are lost: "
                "load the model in float32 (model_dtype is what it computes in)."
            )
