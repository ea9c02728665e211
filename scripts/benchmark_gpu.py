"""Our training step on a GPU: is it right, and how much of the chip does it use? Needs a CUDA device.

    attention   torch's varlen_attn in bf16 against one SDPA per document in fp32 on the CPU: output and gradients
    gradients   loss and gradients of a small model: GPU fp32 and GPU bf16 against CPU fp32
    speed       forward, backward and AdamW of 0.5 B and 1.5 B shapes, random weights, packed rows of 4k to 16k tokens

The step is the recipe's: fp32 master weights in FSDP2 shards, bf16 compute, our attention and per-token loss. MFU counts
useful arithmetic (models/flops.py; recomputation is not counted) against the data sheet's dense bf16 rate.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from transformers import PretrainedConfig, Qwen2Config, Qwen3Config

from cookbook_lib.config.schema import OptimConfig
from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import Batch, pack
from cookbook_lib.models.attention import Segments, varlen_attention
from cookbook_lib.models.flops import Flops, matmul_rate, peak_flops
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, materialise
from cookbook_lib.parallel.fsdp import clip_grad_norm, shard_model
from cookbook_lib.parallel.gradient_checkpointing import recompute_layers
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.training.objectives.sft import SFT
from cookbook_lib.training.optim import make_optimizer

SUPERVISED = 0.6  # share of tokens that the loss is of
Row = dict[str, Any]


def qwen2(**fields: Any) -> PretrainedConfig:
    return Qwen2Config(vocab_size=151_936, tie_word_embeddings=True, max_position_embeddings=32_768, **fields)


def qwen3(**fields: Any) -> PretrainedConfig:
    return Qwen3Config(
        vocab_size=151_936, tie_word_embeddings=True, max_position_embeddings=32_768, head_dim=128, **fields
    )


SHAPES: dict[str, PretrainedConfig] = {
    "Qwen2.5-0.5B": qwen2(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2
    ),
    "Qwen3-0.6B": qwen3(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8
    ),
    "Qwen2.5-1.5B": qwen2(
        hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2
    ),
    "Qwen3-1.7B": qwen3(
        hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8
    ),
}
SMALL = Qwen3Config(
    vocab_size=4096,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    tie_word_embeddings=True,
)


# ------------------------------------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 without a CUDA device."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES), metavar="NAME")
    made.add_argument("--tokens", nargs="+", type=int, default=[4096, 8192, 16_384], help="of one packed row")
    made.add_argument("--steps", type=int, default=8, help="timed steps after two of warm-up (default: 8)")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables, as for docs/benchmarks/")
    given = made.parse_args(arguments)
    if not torch.cuda.is_available():
        print("error: this benchmark needs a CUDA device, and torch sees none.", file=sys.stderr)
        return 2
    torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means fp32 in the comparisons
    mesh = make_mesh(device="cuda")
    text = report(mesh, given)
    print(text)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text, encoding="utf-8")
    return 0


def report(mesh: Mesh, given: argparse.Namespace) -> str:
    device = mesh.device
    speeds = []
    for name in given.shapes:
        for tokens in given.tokens:
            for checkpointing in (False, True):
                speeds.append({"shape": name} | step_speed(SHAPES[name], tokens, mesh, checkpointing, given.steps))
                print("  " + ", ".join(f"{key} {value}" for key, value in speeds[-1].items()), flush=True)
    rate = matmul_rate(device, torch.bfloat16)
    parts = [
        "# The training step on a GPU",
        f"{torch.cuda.get_device_name(device)}, Python {platform.python_version()}, torch {torch.__version__}; bf16 matrix product "
        f"of 8,192: {rate / 1e12:,.0f} Tflop/s measured, {peak_flops(device, torch.bfloat16) / 1e12:,.0f} by the data sheet.",
        "## Attention: varlen_attn in bf16 against fp32 on the CPU",
        markdown(attention_parity(device)),
        "## Loss and gradients of a small model against fp32 on the CPU",
        markdown(gradient_parity(mesh)),
        "## Speed: forward, backward, AdamW; documents of mixed length in one packed row",
        markdown(speeds),
        "`python scripts/benchmark_gpu.py`",
    ]
    return "\n\n".join(parts) + "\n"


def markdown(rows: list[Row]) -> str:
    """A table of dicts with the same keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ----------------------------------------------------------------------------------------------------- is it right?


def attention_parity(device: torch.device) -> list[Row]:
    """Relative error of the output and of each gradient, for plain, windowed and scaled attention."""
    lengths = [700, 13, 1, 300, 34]
    bounds = (0, *np.cumsum(lengths).tolist())
    random = torch.Generator().manual_seed(0)
    tensors = [torch.randn(1, heads, sum(lengths), 64, generator=random) for heads in (8, 2, 2)]
    probe = torch.randn(1, 8, sum(lengths), 64, generator=random)
    rows = []
    kinds: dict[str, Row] = {"causal": {}, "window of 128": {"sliding_window": 128}, "scale 0.2": {"scaling": 0.2}}
    for name, options in kinds.items():
        exact = _attend(tensors, probe, Segments.of(bounds, torch.device("cpu")), options)
        there = [x.to(device, torch.bfloat16) for x in (*tensors, probe)]
        found = _attend(there[:3], there[3], Segments.of(bounds, device), options)
        errors = [relative(f, e) for f, e in zip(found, exact, strict=True)]
        rows.append(
            {"attention": name} | dict(zip(("output", "dq", "dk", "dv"), map("{:.1e}".format, errors), strict=True))
        )
    return rows


def _attend(tensors: list[torch.Tensor], probe: torch.Tensor, segments: Segments, options: Row) -> list[torch.Tensor]:
    leaves = [x.detach().requires_grad_() for x in tensors]
    out = varlen_attention(*leaves, segments=segments, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, probe)]


def gradient_parity(mesh: Mesh) -> list[Row]:
    """Relative error of the loss and of all gradients as one vector, fp32 and bf16 on the GPU."""
    batch = packed_row(1024, SMALL.vocab_size, longest=400)
    torch.manual_seed(0)
    reference = plain_model(SMALL)
    weights = {name: p.detach().clone() for name, p in reference.named_parameters()}
    loss, grads = loss_and_gradients(reference, batch)
    rows = []
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        model = sharded_model(SMALL, mesh, dtype, checkpointing=False)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.to_local().copy_(weights[key])  # type: ignore[attr-defined]
        own_loss, own = loss_and_gradients(model, batch.to(mesh.device))
        error = relative(torch.cat([own[k].flatten() for k in grads]), torch.cat([grads[k].flatten() for k in grads]))
        rows.append({"compute": name, "loss": f"{abs(own_loss / loss - 1):.1e}", "gradients": f"{error:.1e}"})
    return rows


def loss_and_gradients(model: PackedModel, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    objective = SFT()
    loss = objective(model, batch).total / objective.count(batch)
    loss.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    whole = {n: g.full_tensor() if hasattr(g, "full_tensor") else g for n, g in grads.items()}
    return loss.item(), {n: g.float().cpu() for n, g in whole.items()}


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    """|found - exact| / |exact| in the 2-norm."""
    f, e = found.double().cpu(), exact.double().cpu()
    return float((f - e).norm() / e.norm())


# ------------------------------------------------------------------------------------------------------ is it fast?


def step_speed(shape: PretrainedConfig, tokens: int, mesh: Mesh, checkpointing: bool, steps: int = 8) -> Row:
    """Median seconds of a step over one packed row, and what follows from them."""
    on_gpu = mesh.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    model = sharded_model(shape, mesh, torch.bfloat16, checkpointing)
    optimizer, objective = make_optimizer(model, OptimConfig()), SFT()
    batch = packed_row(tokens, shape.vocab_size, longest=tokens // 2).to(mesh.device)
    seconds = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        (objective(model, batch).total / objective.count(batch)).backward()
        clip_grad_norm(model.parameters(), 1.0)  # its result waits for the GPU
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    step = statistics.median(seconds[2:])
    useful = Flops.of(model).training(batch.lengths, float((batch.labels >= 0).sum()))
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "parameters": f"{parameters / 1e9:.2f} B",
        "tokens": tokens,
        "documents": len(batch.lengths),
        "checkpointing": "yes" if checkpointing else "no",
        "ms/step": f"{step * 1e3:,.0f}",
        "tokens/s": f"{tokens / step:,.0f}",
        "MFU": f"{useful / step / peak_flops(mesh.device, torch.bfloat16):.1%}",
        "peak GiB": f"{peak:.1f}",
    }


def sharded_model(shape: PretrainedConfig, mesh: Mesh, dtype: torch.dtype, checkpointing: bool) -> PackedModel:
    """The recipe's model with random weights: structure, checkpointing, shards, memory."""
    model = structure(shape)
    if checkpointing:
        recompute_layers(model.layers)
    shard_model(model, mesh, layers=model.layers, compute_dtype=dtype)
    materialise(model, mesh.device)
    randomise(model.parameters())
    return model.train()


def plain_model(shape: PretrainedConfig) -> PackedModel:
    model = structure(shape)
    materialise(model, torch.device("cpu"))
    randomise(model.parameters())
    return model.train()


def structure(shape: PretrainedConfig) -> PackedModel:
    with tempfile.TemporaryDirectory() as folder:
        shape.architectures = ["Qwen3ForCausalLM" if shape.model_type == "qwen3" else "Qwen2ForCausalLM"]
        shape.save_pretrained(folder)
        return build_model(Path(folder), varlen_attention)


@torch.no_grad()
def randomise(parameters: Iterable[torch.Tensor]) -> None:
    """Matrices N(0, 0.02), scales 1 (and biases too: any value will do)."""
    for parameter in parameters:
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        if parameter.ndim > 1:
            local.normal_(0, 0.02)
        else:
            local.fill_(1.0)


def packed_row(tokens: int, vocabulary: int, longest: int) -> Batch:
    """Documents of log-normal length that fill exactly one row of `tokens`."""
    random = np.random.default_rng(0)
    lengths: list[int] = []
    while (rest := tokens - sum(lengths)) > 0:
        lengths.append(min(rest, int(np.clip(random.lognormal(6.0, 1.0), 16, longest))))
    examples = [document(n, vocabulary, random) for n in lengths]
    return pack(examples, range(len(examples)))


def document(length: int, vocabulary: int, random: np.random.Generator) -> Example:
    """Random tokens, of which the last SUPERVISED share is learned."""
    weights = np.zeros(length, np.float32)
    weights[-max(1, int(length * SUPERVISED)) :] = 1
    return Example(random.integers(0, vocabulary, length).astype(np.int32), weights)


if __name__ == "__main__":
    sys.exit(main())
