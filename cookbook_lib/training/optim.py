"""AdamW (https://arxiv.org/abs/1711.05101), its rate as a function of the step, and how much of the model moves.

    rate(s), s = 0, 1, ... the step about to be made, of W warmup steps and N in all; floor = min_lr_ratio

        warmup      s < W      (s + 1) / W                                   no step is spent at rate 0
        cosine      p = (s - W) / (N - W)      floor + (1 - floor) (1 + cos(pi p)) / 2
        linear                                 floor + (1 - floor) (1 - p)
        wsd         1 for stable_ratio of the steps after warmup, then the cosine over what is left
        constant    1

A pure function of the step needs no state in a checkpoint. Matrices (embeddings too) decay; norms and biases, which have one
dimension, do not: the practice since GPT-2, and transformers' default.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import OptimConfig

Rate = Callable[[int], float]
BUCKET_BYTES = 256 << 20


def make_optimizer(model: nn.Module, config: OptimConfig, *, offload: bool = False) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in two groups, fused. offload: its moments rest in host memory.

    Call it after sharding: the parameters are then DTensors, and every rank updates its own shards.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    _refuse_whole_weights(trainable)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = OffloadedAdamW if offload else torch.optim.AdamW
    return kind(
        [g for g in groups if g["params"]],
        lr=config.lr,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        fused=True,
    )


def _refuse_whole_weights(parameters: Sequence[torch.Tensor]) -> None:
    whole = sum(not isinstance(p, DTensor) for p in parameters)
    if 0 < whole < len(parameters):
        raise CookbookError(
            f"{whole} of {len(parameters)} weights are whole while the others are shards, as a forward without a backward leaves "
            "them; call parallel.fsdp.rest(model) before the optimizer is made, or those weights would never be trained."
        )


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW whose moments rest in host memory and visit the parameters' device a bucket at a time.

    8 bytes per parameter of the shard stay off the device; a step moves them there and back. The arithmetic is the device's
    own, on the same numbers, so the result is that of plain AdamW, bit for bit.
    """

    def __init__(self, *args: Any, bucket_bytes: int = BUCKET_BYTES, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bucket_bytes = bucket_bytes

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("OffloadedAdamW takes no closure: parameters are updated in buckets")
        groups = self.param_groups
        try:
            for group in groups:
                for bucket in _buckets(group["params"], self.bucket_bytes):
                    self._move(bucket, None)
                    self.param_groups = [{**group, "params": bucket}]
                    super().step()
                    self._move(bucket, torch.device("cpu"))
        finally:
            self.param_groups = groups

    def _move(self, parameters: Sequence[torch.Tensor], device: torch.device | None) -> None:
        """Moments to `device`, or to their parameter's own (None). The step counter, one number, stays where AdamW put it."""
        for p in parameters:
            for key, value in self.state.get(p, {}).items():
                if value.ndim:
                    self.state[p][key] = value.to(device or p.device)


def initialise_state(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor]) -> None:
    """Make the optimizer's state for `parameters`, to be filled from a file.

    Optimizers make it in their first step: a step of rate 0 on zero gradients makes it and moves no weight.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.zero_grad(set_to_none=True)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def make_rate(config: OptimConfig, *, warmup_steps: int, total_steps: int) -> Rate:
    """The learning rate of step s = 0 .. total_steps - 1, as in this module's opening."""
    shape = SHAPES[config.lr_scheduler]

    def rate(step: int) -> float:
        if step < warmup_steps:
            return config.lr * (step + 1) / warmup_steps
        progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return config.lr * shape(progress, config)

    return rate


def schedule_points(rate: Rate, total_steps: int, at_most: int = 400) -> list[tuple[int, float]]:
    """(step, learning rate) over the whole run, evenly spaced, first and last included: for a plot."""
    count = min(total_steps, at_most)
    steps = sorted({round(i * (total_steps - 1) / max(count - 1, 1)) for i in range(count)})
    return [(step, rate(step)) for step in steps]


@dataclass(frozen=True)
class WeightSample:
    """Every `stride`-th weight of each of this rank's trainable shards, as they were."""

    stride: int
    pieces: list[torch.Tensor]


def sample_weights(model: nn.Module, size: int = 1 << 16) -> WeightSample:
    """About `size` of this rank's weights, spread evenly: take it before a step, hand it to `weights_moved` after."""
    stride = max(sum(_local(p).numel() for p in model.parameters() if p.requires_grad) // size, 1)
    return WeightSample(stride, _every(model, stride))


def weights_moved(model: nn.Module, before: WeightSample) -> tuple[int, int]:
    """(sampled weights that differ from before, all sampled) of this rank: sum both over the world, then divide.

    A share well below 1 means that updates are smaller than the weights' last bit: the rate is too low for their precision.
    """
    pairs = list(zip(_every(model, before.stride), before.pieces, strict=True))
    moved = torch.stack([(now != old).sum() for now, old in pairs]).sum()  # one wait for the device, not one per tensor
    return int(moved), sum(old.numel() for _, old in pairs)


def _every(model: nn.Module, stride: int) -> list[torch.Tensor]:
    return [_local(p).flatten()[::stride].clone() for p in model.parameters() if p.requires_grad]


def _cosine(progress: float, config: OptimConfig) -> float:
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2


def _linear(progress: float, config: OptimConfig) -> float:
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * (1 - progress)


def _wsd(progress: float, config: OptimConfig) -> float:
    if progress < config.stable_ratio or config.stable_ratio >= 1:
        return 1.0
    return _cosine((progress - config.stable_ratio) / (1 - config.stable_ratio), config)


def _constant(progress: float, config: OptimConfig) -> float:
    return 1.0


SHAPES: dict[str, Callable[[float, OptimConfig], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _wsd,
    "constant": _constant,
}


def _buckets(parameters: Iterable[torch.Tensor], limit: int) -> list[list[torch.Tensor]]:
    """Parameters in order, in groups whose moments take at most `limit` bytes (a larger one is alone)."""
    buckets: list[list[torch.Tensor]] = []
    room = 0
    for p in parameters:
        need = 2 * _local(p).numel() * p.element_size()
        if not buckets or need > room:
            buckets.append([])
            room = limit
        buckets[-1].append(p)
        room -= need
    return buckets


def _local(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
