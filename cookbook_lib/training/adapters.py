"""LoRA in a run: adapters onto the structure, what a checkpoint says of them, and the plain model again at the end.

    model.lora_rank > 0     add_adapters (before sharding) ... fill_adapters (after loading)
    step_00000500/          adapter_config.json, adapter_model.safetensors        write_weights, refuse_other_adapter
    sft-final/              merged: base + adapter, written from shards           merged_weights
                            adapter: the checkpoint's folder as it is             model.lora_save says which

What is merged is the base as its files have it, in fp32, and never the copy in compute dtype that training used: the base is
read anew, into host memory (4 bytes a weight, divided by the ranks that share a copy).
"""

from pathlib import Path

import torch
import torch.distributed as dist
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import Config
from cookbook_lib.models.adapter_folder import read_adapter
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.lora import PREFIX, adapt, initialise_adapters, lora_of, save_adapter_config
from cookbook_lib.models.score_head import ScoreModel, build_score_model
from cookbook_lib.models.value_head import ValueModel, build_value_model
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.self_test import compute_dtype
from cookbook_lib.training.snapshot import weights_of
from cookbook_lib.training.tensor_files import Tensors, write_tensors


def add_adapters(model: PackedModel, config: Config, folder: Path) -> None:
    """As model.lora_rank, lora_alpha and target_modules say; nothing at rank 0. Before sharding."""
    m = config.model
    if m.lora_rank:
        base = m.partial_pretrain if _on_the_hub(m.partial_pretrain) else str(folder.resolve())
        adapt(
            model, rank=m.lora_rank, alpha=m.lora_alpha, targets=m.target_modules, frozen_dtype=compute_dtype(config), base=base
        )  # fmt: skip


def fill_adapters(model: PackedModel, config: Config) -> None:
    """Their first values, after the base's are loaded."""
    if lora_of(model) is not None:
        initialise_adapters(model, config.trainer.seed)


def write_weights(weights: Tensors, folder: Path, group: dist.ProcessGroup) -> None:
    """A model's weights, or an adapter's, into the files that transformers or peft look for. Collective."""
    if any(name.startswith(PREFIX) for name in weights):
        write_tensors(weights, folder, "adapter_model", group, one_file=True)  # peft looks for no other
    else:
        write_tensors(weights, folder, "model", group)


def export_adapter(model: PackedModel, folder: Path) -> None:
    """adapter_config.json, of a model with adapters."""
    if lora_of(model) is not None:
        save_adapter_config(model, folder)


def refuse_other_adapter(model: PackedModel, folder: Path) -> None:
    """Raise CookbookError for a checkpoint that continues only on another base, at another scale, or without adapters."""
    ours, saved = lora_of(model), read_adapter(folder)
    if (ours is None) != (saved is None):
        told = (
            ("full weights", "model.lora_rank=0") if saved is None else ("a LoRA adapter", "the model.lora_rank it had")
        )
        raise CookbookError(
            f"{folder} holds {told[0]}, which this run cannot continue: set {told[1]}, or start anew with "
            "trainer.resume_mode=disable."
        )
    if saved is None or ours is None:
        return
    if saved.alpha != ours.lora_alpha:
        raise CookbookError(
            f"{folder} was trained with model.lora_alpha={saved.alpha:g}, this run has {ours.lora_alpha}, which would change the "
            "model at once: set it back, or start anew with trainer.resume_mode=disable."
        )
    if saved.base != ours.base_model_name_or_path:
        raise CookbookError(
            f"{folder} is an adapter of {saved.base}, this run starts from {ours.base_model_name_or_path}: set "
            "model.partial_pretrain to that one (if it was moved, a link in its old place will do)."
        )


def merged_weights(
    folder: Path, model: PackedModel, tokenizer: PreTrainedTokenizerBase, mesh: Mesh, *, trust_remote_code: bool = False
) -> Tensors:
    """The plain model's weights, fp32, in shards in host memory, of a checkpoint of `model` that holds an adapter."""
    plain: PackedModel
    if isinstance(model, ScoreModel):
        plain = build_score_model(folder, model.attend, tokenizer, trust_remote_code=trust_remote_code)
    elif isinstance(model, ValueModel):
        plain = build_value_model(folder, model.attend, trust_remote_code=trust_remote_code)
    else:
        plain = build_model(folder, model.attend, trust_remote_code=trust_remote_code)
    shard_model(plain, mesh, layers=plain.layers, compute_dtype=torch.float32, param_offload=True)
    load_weights(plain, folder, mesh.device, offload=True, trust_remote_code=trust_remote_code)
    return weights_of(plain)


def _on_the_hub(name: str) -> bool:
    """Whether a model has a hub name: an adapter that says so works on other machines."""
    return name.count("/") == 1 and not Path(name).expanduser().is_dir()
