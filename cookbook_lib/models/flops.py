"""How much arithmetic a step is, so that speed can be given as a share of what the machine can do (MFU).

    forward of a document of L tokens   2 P L + 2 N H L^2 layers          P: weights that every token meets
    of one that continues R tokens      2 P L + 2 N H (L^2 + 2 L R) layers
    its loss                            2 V D per supervised token        (the others never meet the vocabulary)
    training                            3 x forward                       (Kaplan et al., https://arxiv.org/abs/2001.08361)
    of a frozen weight                  2 x forward: no gradient of its own, one for what came before it

Causal attention counts half of the square. Recomputation is not counted: MFU is about useful work
(Chowdhery et al., https://arxiv.org/abs/2204.02311, appendix B).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cookbook_lib.models.heads import PackedModel

# Dense bf16 peak of a device, flop/s, from the vendors' data sheets.
PEAK = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12, "L4": 121e12, "B200": 2250e12,
        "4090": 165e12, "V100": 125e12}  # fmt: skip


@dataclass(frozen=True)
class Flops:
    """Flops of one model: `linear` per token, `square` per token pair, `head` per supervised token (forward only).

    frozen, frozen_head: the part of linear and of head that is of weights which do not learn.
    """

    linear: float
    square: float
    head: float
    frozen: float = 0.0
    frozen_head: float = 0.0

    @classmethod
    def of(cls, model: PackedModel) -> "Flops":
        config = model.hf.config.get_text_config()
        output = getattr(model.output, "weight", model.output)  # a weight, or a head that has one
        inputs = model.hf.get_input_embeddings().weight
        tables = {id(output): output.numel(), id(inputs): inputs.numel()}  # one table when tied
        met = {name: p.numel() * _met(name, config) for name, p in model.named_parameters()}
        body = sum(met.values()) - sum(tables.values())
        frozen = sum(met[name] for name, p in model.named_parameters() if not p.requires_grad and id(p) not in tables)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        pairs = 2 * config.num_attention_heads * head_dim * config.num_hidden_layers
        head = 2.0 * output.numel()
        return cls(2.0 * body, float(pairs), head, 2.0 * frozen, 0.0 if output.requires_grad else head)

    @property
    def quadratic(self) -> float:
        """Cost of a token pair in units of a token's linear cost: what packing balances by."""
        return self.square / self.linear

    def training(self, lengths: Sequence[int], supervised: float, continues: Sequence[int] | None = None) -> float:
        """Flops of forward and backward over these segments. continues: which segment each one continues, -1 for none (as
        attention.Segments; entries beyond the lengths are a row's tail); None: each is a document of its own."""
        before = [0] * len(lengths) if continues is None else [lengths[root] if root >= 0 else 0 for root in continues]
        squares = sum(n * (n + 2 * root) for n, root in zip(lengths, before, strict=False))
        forward = self.linear * sum(lengths) + self.square * squares + self.head * supervised
        return 3 * forward - self.frozen * sum(lengths) - self.frozen_head * supervised


def _met(name: str, config: Any) -> float:
    """The share of a weight that a token meets: of routed experts, only those it is sent to."""
    if ".experts." not in name:
        return 1.0
    sizes = (getattr(config, key, None) for key in ("num_experts", "n_routed_experts", "num_local_experts"))
    return float(config.num_experts_per_tok / next(size for size in sizes if size))


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """What one device can do at best: the data sheet's figure, or a matrix product measured here (0.3 s)."""
    if device.type == "cuda" and dtype != torch.float32:
        name = torch.cuda.get_device_name(device)
        for key, value in PEAK.items():
            if key in name:
                return value
    return matmul_rate(device, dtype)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Flop/s of a square matrix product, best of several."""
    size = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        _wait(device)
        begin = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
