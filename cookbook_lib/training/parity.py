"""The same optimizer step on every layout, cut in every way: the loss and each gradient, against plain transformers.

    layouts   1 process, FSDP x2, HSDP 2x2, Ulysses x2 and x4, dp2 x sp2
    cuts      packed or padded rows, gradient checkpointing on or off, 1 or 3 micro-batches

What is cut here is what `fit` runs: the same batches, model, loss, sharding and division. The micro-batches are as unequal
as they come (parity_step.py), so that an average of averages cannot hide. Reward models' steps: parity_reward.py.
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import load_weights
from cookbook_lib.parallel.fsdp import shard_model, synchronise_gradients
from cookbook_lib.parallel.gradient_checkpointing import recompute_layers
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.parallel.spawn import run_ranks
from cookbook_lib.parallel.ulysses import ulysses
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.parity_step import SFT_STEP, Step, Truth, deal

Divide = Callable[[Mesh, list[float]], list[float]]  # units of each micro-batch on this rank -> what each is divided by


@dataclass(frozen=True)
class Layout:
    name: str
    world: int
    sp: int = 1
    fsdp_size: int = -1


@dataclass(frozen=True)
class Cut:
    rows: str  # one of a step's forms
    recompute: bool
    accumulation: int


LAYOUTS = (
    Layout("1 process", 1),
    Layout("FSDP x2", 2),
    Layout("Ulysses x2", 2, sp=2),
    Layout("HSDP 2x2", 4, fsdp_size=2),
    Layout("Ulysses x4", 4, sp=4),
    Layout("dp2 x sp2", 4, sp=2),
)


def cuts_of(step: Step) -> tuple[Cut, ...]:
    """Every way to cut it."""
    return tuple(Cut(*cut) for cut in product(step.forms, (True, False), (1, 3)))


CUTS = cuts_of(SFT_STEP)


@dataclass(frozen=True)
class Parity:
    """Relative differences to the truth of one layout under one cut."""

    layout: Layout
    cut: Cut
    loss: float
    gradient: float  # the worst parameter's |g - truth| / |truth|
    parameter: str  # which one
    seconds: float

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "layout": self.layout.name,
            "rows": self.cut.rows,
            "gradient checkpointing": "on" if self.cut.recompute else "off",
            "micro-batches": self.cut.accumulation,
            "loss": self.loss,
            "gradients": self.gradient,
            "worst parameter": self.parameter,
        }


def by_the_step(mesh: Mesh, units: list[float]) -> list[float]:
    """What `fit` does: every micro-batch of every rank is divided by the units of the whole step."""
    return [mesh.sum(sum(units))] * len(units)


def by_the_micro_batch(mesh: Mesh, units: list[float]) -> list[float]:
    """What others do, and is wrong: a mean of each micro-batch, then the mean of those means."""
    return [max(own, 1.0) * mesh.world_size * len(units) for own in units]


def parity_table(
    folder: Path,
    layouts: Sequence[Layout] = LAYOUTS,
    cuts: Sequence[Cut] | None = None,
    divide: Divide = by_the_step,
    *,
    step: Step = SFT_STEP,
    timeout: float = 600.0,
) -> list[Parity]:
    """Measure every layout under every cut, fp32 on CPU ranks of this machine; each world is started once.

    folder: a small language model's. cuts: None, all of the step's. divide: a module-level function. One Parity for each
    pair of layout and cut, in their order.
    """
    found: list[Parity] = []
    cuts = cuts_of(step) if cuts is None else cuts
    with tempfile.TemporaryDirectory() as scratch:
        base = step.base(folder, Path(scratch))
        for world in sorted({layout.world for layout in layouts}):
            here = [layout for layout in layouts if layout.world == world]
            found += run_ranks(measure_layouts, world, base, here, cuts, divide, step, timeout=timeout)[0]
    return sorted(found, key=lambda p: (layouts.index(p.layout), cuts.index(p.cut)))


def measure_layouts(
    folder: Path, layouts: Sequence[Layout], cuts: Sequence[Cut], divide: Divide, step: Step = SFT_STEP
) -> list[Parity]:
    """The part of `parity_table` that runs on every rank of a world; rank 0's result counts."""
    examples = step.examples(folder)
    truth = step.plain(folder, examples) if int(os.environ.get("RANK", 0)) == 0 else None
    return [measure(folder, step, examples, layout, cut, truth, divide) for layout in layouts for cut in cuts]


def measure(
    folder: Path,
    step: Step,
    examples: Sequence[Any],
    layout: Layout,
    cut: Cut,
    truth: Truth | None,
    divide: Divide,
) -> Parity:
    """One step of `layout` under `cut` against `truth` (which only rank 0 needs). A collective call."""
    start = time.perf_counter()
    mesh = make_mesh(layout.sp, layout.fsdp_size, "cpu")
    model = step.build(folder, ulysses(varlen_attention, mesh.sp_group))
    if cut.recompute:
        recompute_layers(model.layers)
    shard_model(model, mesh, layers=model.layers, exact=model.exact_modules, compute_dtype=torch.float32)
    load_weights(model, folder, mesh.device)
    micro_batches = deal(step, examples, mesh, form=cut.rows, accumulation=cut.accumulation)
    loss, grads = sharded_step(model, mesh, step.objective(mesh), micro_batches, divide)
    differences = (0.0, 0.0, "")
    if truth is not None:
        by_name = {name: _relative(grads[name], want) for name, want in truth[1].items()}
        worst = max(by_name, key=lambda name: by_name[name])
        differences = (abs(loss - truth[0]) / truth[0], by_name[worst], worst)
    return Parity(layout, cut, *differences, seconds=time.perf_counter() - start)


def sharded_step(
    model: PackedModel, mesh: Mesh, objective: Objective, micro_batches: list[Any], divide: Divide
) -> tuple[float, dict[str, torch.Tensor]]:
    """Forward and backward of one step, as `fit` runs it; the loss over the world, and whole gradients by file name."""
    total = 0.0
    divisors = divide(mesh, [objective.count(batch) for batch in micro_batches])
    for batch, units in zip(micro_batches, divisors, strict=True):
        synchronise_gradients(model, last=batch is micro_batches[-1])
        loss = objective(model, batch).total / units
        loss.backward()
        total += loss.item()
    return mesh.sum(total), {name: _whole(p) for name, p in model.hf.named_parameters() if p.grad is not None}


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    grad = parameter.grad
    assert isinstance(grad, DTensor)
    return grad.full_tensor().double()


def _relative(got: torch.Tensor, want: torch.Tensor) -> float:
    off = float((got - want).norm() / want.norm())
    return off if math.isfinite(off) else math.inf  # a NaN would lose every comparison
