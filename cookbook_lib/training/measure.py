"""What a technique costs and saves: a few steps on the same batch, with memory counted and not guessed.

    state         weights, gradients and the optimizer's moments that this process holds
    activations   what the forward pass keeps for the backward: saved tensors, and the inputs of recomputed layers
    tokens/s      of the world, over whole steps (forward, backward, update), the first one left out
    loss, norm    of the first step: in fp32 the same to 1e-5 for every technique and every layout

Counting saved tensors works on every device and is exact; a process's resident memory is neither.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from cookbook_lib.config import Config
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.fsdp import clip_grad_norm, synchronise_gradients
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.builders import Base, Data, open_loader, open_mesh, open_model
from cookbook_lib.training.objectives.sft import SFT
from cookbook_lib.training.optim import make_optimizer

MIB = 2**20


def measure(name: str, config: Config, base: Base, data: Data, steps: int = 3) -> dict[str, Any]:
    """One row of the table: build the model as `config` says, take `steps` + 1 steps on the rows of step 0."""
    mesh = open_mesh(config)
    model = open_model(config, base, mesh)
    loader = open_loader(config, data.train, base, mesh, model)
    optimizer = make_optimizer(model, config.optim)
    objective, batches = SFT(), loader.step(0)
    units = mesh.sum(sum(map(objective.count, batches)))
    loss = norm = 0.0
    with counted_activations(model) as kept:
        loss, norm = _step(model, objective, batches, units, mesh)
    state = _state_bytes(model)
    begin = time.perf_counter()
    for _ in range(steps):
        optimizer.step()
        optimizer.zero_grad()
        _step(model, objective, batches, units, mesh)
    mesh.barrier()
    seconds = (time.perf_counter() - begin) / steps
    tokens = mesh.sum(float(sum(sum(b.lengths) for b in batches))) / mesh.sp
    row = {
        "technique": name,
        "loss": loss,
        "gradient norm": norm,
        "tokens/s": tokens / seconds,
        "state MiB": state / MIB,
        "activations MiB": max(kept) / MIB,
    }
    del model, optimizer, loader, batches
    gc.collect()
    return row


def against_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with the relative differences of loss and gradient norm from the first one's."""
    first = rows[0]
    return [
        row
        | {
            "loss differs by": abs(row["loss"] / first["loss"] - 1),
            "norm differs by": abs(row["gradient norm"] / first["gradient norm"] - 1),
        }
        for row in rows
    ]


@contextmanager
def counted_activations(model: PackedModel) -> Iterator[list[int]]:
    """Bytes that each forward keeps for its backward; a tensor counts once, parameters do not."""
    weights: set[int] = set()  # storages of whole weights, which FSDP gathers and frees: not activations
    seen: dict[int, int] = {}
    forwards = [0]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        weights.update(p.untyped_storage().data_ptr() for p in module.parameters() if not isinstance(p, DTensor))
        if isinstance(module.forward, partial):  # recomputed: its input is kept, outside of autograd's sight
            keep(arguments[0])

    def close(*_: object) -> None:
        forwards.append(sum(seen.values()))
        seen.clear()

    hooks = [module.register_forward_pre_hook(enter) for module in (model, *model.layers)]
    hooks.append(model.register_forward_hook(close))
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield forwards
    finally:
        for hook in hooks:
            hook.remove()


def _step(model: PackedModel, objective: SFT, batches: list[Any], units: float, mesh: Mesh) -> tuple[float, float]:
    total = 0.0
    for batch in batches:
        synchronise_gradients(model, last=batch is batches[-1])
        loss = objective(model, batch)
        (loss.total / units).backward()
        total += float(loss.total.detach())
    return mesh.sum(total) / units, clip_grad_norm(model.parameters(), None)


def _state_bytes(model: PackedModel) -> int:
    """What this process holds: weights, and for each that learns a gradient and AdamW's two moments, as large as it."""
    shards = [(_local(p), 1 if p.grad is None else 4) for p in model.parameters()]
    return sum(copies * t.numel() * t.element_size() for t, copies in shards)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
