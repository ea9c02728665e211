"""Two short rows through the user's own model, before the first step: what packing or sharding breaks, it breaks silently.

    alone      each row by itself, by transformers' own head         the reference
    packed     both in one row, our attention, our loss              a leak between documents shows here
    whole      the packed row on one rank, when Ulysses splits it    a wrong exchange of heads shows here

A document-blind mask moves a tiny model's logits by 0.26 and says nothing. So: refuse, with the difference measured.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from cookbook_lib.config import Config, CookbookError
from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import Batch, pack
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.token_loss import summed_nll
from cookbook_lib.parallel.fsdp import rest
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard

LENGTHS = (19, 30)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # mean |difference| in nats per token


def compute_dtype(config: Config) -> torch.dtype:
    """The type of the arithmetic; master weights are fp32 always."""
    return DTYPES[config.model.fsdp_config.model_dtype]


@dataclass(frozen=True)
class SelfTest:
    """Mean absolute differences of the tokens' losses, in nats."""

    packed_against_alone: float
    sequence_parallel_against_one_rank: float | None
    tolerance: float


@torch.no_grad()
def self_test(model: PackedModel, mesh: Mesh, config: Config) -> SelfTest:
    """Raise CookbookError unless packing (and Ulysses) leave every token's loss as it was. A collective call."""
    model.eval()
    rng = np.random.default_rng(0)
    vocabulary = model.hf.get_output_embeddings().weight.shape[0]
    rows = [Example(rng.integers(0, vocabulary, n).astype(np.int32), np.ones(n, np.float32)) for n in LENGTHS]
    both = pack(rows, [0, 1], multiple=mesh.sp).to(mesh.device)
    ordinary = model.attend
    model.attend = varlen_attention
    alone = torch.cat([_reference(model, pack([row], [0]).to(mesh.device)) for row in rows])
    whole = _losses(model, both)
    model.attend = ordinary
    tolerance = TOLERANCE[compute_dtype(config)]
    leak = mesh.sum(float((whole - alone).abs().mean())) / mesh.world_size
    exchange = None
    if mesh.sp > 1:
        mine = _losses(model, take_shard(both, mesh))
        part = take_shard(replace(both, weights=_scatter(whole, both)), mesh)
        off = (mine - part.weights[part.labels >= 0]).abs().sum()
        exchange = mesh.sum(float(off)) / mesh.dp / len(whole)
    model.train()
    rest(model)
    result = SelfTest(leak, exchange, tolerance)
    _refuse(result, model)
    return result


def _losses(model: PackedModel, batch: Batch) -> torch.Tensor:
    read = partial(summed_nll, labels=batch.labels, weights=batch.weights, softcap=model.final_softcap)
    _, nll = model(batch.input_ids, batch.position_ids, batch.cu_seqlens, read)
    return nll


def _reference(model: PackedModel, batch: Batch) -> torch.Tensor:
    """The row alone, through the model's own forward to its own logits."""
    logits = model(batch.input_ids, batch.position_ids, batch.cu_seqlens)
    learned = batch.labels >= 0
    return F.cross_entropy(logits[learned].float(), batch.labels[learned], reduction="none")


def _scatter(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    full = torch.zeros_like(batch.weights)
    full[batch.labels >= 0] = losses
    return full


def _refuse(result: SelfTest, model: PackedModel) -> None:
    name = type(model.hf).__name__
    # written so that a NaN refuses too
    if not result.packed_against_alone <= result.tolerance:
        raise CookbookError(
            f"{name}: two rows packed side by side lose {result.packed_against_alone:.3g} nats per token against each alone "
            f"(at most {result.tolerance:g} allowed): packing would train on leaked documents. Use another model, or report this one."
        )
    other = result.sequence_parallel_against_one_rank
    if other is not None and not other <= result.tolerance:
        raise CookbookError(
            f"{name}: the losses under sequence parallelism differ by {other:.3g} nats per token from one rank's "
            f"(at most {result.tolerance:g} allowed): set ulysses_sequence_parallel_size=1 for this model."
        )
