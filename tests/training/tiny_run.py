"""A run small enough for a test: a random Qwen3 of a few thousand weights, sharded, an optimizer, and steps to take."""

from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM

from cookbook_lib.config.schema import OptimConfig
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.optim import make_optimizer

VOCAB = 97  # does not divide by 2: the last rank holds fewer rows


def qwen(*, tied: bool = True, hidden: int = 32, layers: int = 2) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=VOCAB, hidden_size=hidden, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=tied, attn_implementation=ATTENTION,
    )  # fmt: skip


def model_of(config: Qwen3Config, mesh: Mesh, seed: int = 0) -> PackedModel:
    torch.manual_seed(seed)
    model = PackedModel(Qwen3ForCausalLM(config), varlen_attention)
    shard_model(model, mesh, layers=model.layers, compute_dtype=torch.float32)
    return model


def optimizer_of(model: PackedModel, offload: bool = False) -> torch.optim.AdamW:
    return make_optimizer(model, OptimConfig(lr=1e-2), offload=offload)


def train(model: PackedModel, optimizer: torch.optim.Optimizer, mesh: Mesh, steps: range) -> None:
    """Batches depend on the step alone and are the same on every rank, so that the number of ranks changes nothing."""
    for step in steps:
        ids = torch.randint(VOCAB, (1, 24), generator=torch.Generator().manual_seed(step))
        logits = model(ids, torch.arange(24)[None], (0, 24))
        (F.cross_entropy(logits[0, :-1], ids[0, 1:]) / mesh.world_size).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def whole(model: PackedModel) -> dict[str, torch.Tensor]:
    model.reshard()  # type: ignore[operator]  (FSDPModule's; a forward without backward leaves the root gathered)
    return {name: p.full_tensor().detach().clone() for name, p in model.hf.named_parameters()}  # type: ignore[operator]


def moments(model: PackedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names = {p: name for name, p in model.hf.named_parameters()}
    entries = ((f"{key}/{names[p]}", value) for p, entry in optimizer.state.items() for key, value in entry.items())
    return {name: (v.full_tensor() if hasattr(v, "full_tensor") else v).clone() for name, v in entries}


def export(folder: Path) -> None:
    """What a run's export writes, without a tokenizer."""
    qwen().save_pretrained(folder)


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different
