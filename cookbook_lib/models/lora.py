r"""LoRA: the weights stay as they are, and each chosen matrix learns a correction of low rank beside it.

    y = W x + (alpha / r) B A x        W (out, in) frozen     A (r, in), B (out, r) learn     B = 0 at the start

    adapt                  on the meta device, before recompute, shard, load: peft's layers in place of the linear ones
    initialise_adapters    after load: A by the seed, the same for every layout, B zero

What is new learns whole: a score head is no correction of anything. Frozen weights rest in the compute dtype, as they are
multiplied: a copy in fp32 would serve only those that move. Inside, a weight is called
`q_proj.base_layer.weight`; in files (`plain_weights`, `adapter_weights`) names are the plain model's, and peft's.

LoRA: Hu et al., https://arxiv.org/abs/2106.09685.
"""

import copy
import difflib
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import PackedModel, freeze
from cookbook_lib.models.shards import own_part

ALL_LINEAR = "all-linear"
ADAPTER = "default"  # peft's name for the only one
PREFIX = "base_model.model."  # of every name in an adapter's file
Tensors = dict[str, torch.Tensor]


def adapt(
    model: PackedModel, *, rank: int, alpha: int, targets: str | Sequence[str], frozen_dtype: torch.dtype, base: str
) -> None:
    """Give `model`, a structure on the meta device, adapters; freeze all else but what is new (model.new_weights).

    targets: all-linear (every linear map inside the decoder layers), or names such as q_proj or self_attn.q_proj. base: the
    name under which the saved adapter finds its model. Raises CookbookError for a target that is none.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise CookbookError("model.lora_rank above 0 needs the package peft: pip install peft.") from error
    chosen = choose_targets(model, targets)
    recipe = LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen, task_type=model.task)
    recipe.base_model_name_or_path = base
    inject_adapter_in_model(recipe, model.hf, ADAPTER, low_cpu_mem_usage=True)
    for name, parameter in model.hf.named_parameters():
        if _is_adapter(name) or name in model.new_weights:
            parameter.requires_grad_(True)
        else:
            freeze(parameter, frozen_dtype)


def choose_targets(model: PackedModel, targets: str | Sequence[str]) -> list[str]:
    """The names to give peft, each found inside the decoder layers and nowhere else."""
    inside = {id(module) for layer in model.layers for module in layer.modules() if isinstance(module, nn.Linear)}
    modules = {name: module for name, module in model.hf.named_modules() if name}
    linear = [name for name, module in modules.items() if id(module) in inside]
    leaves = sorted({name.rpartition(".")[2] for name in linear})
    if not leaves:
        raise CookbookError(f"{type(model.hf).__name__} has no linear maps in its layers: set model.lora_rank=0.")
    wanted = leaves if targets == ALL_LINEAR else [targets] if isinstance(targets, str) else list(targets)
    for target in wanted:
        matched = [name for name in modules if name == target or name.endswith(f".{target}")]
        if not matched:
            near = difflib.get_close_matches(target, [*leaves, ALL_LINEAR], n=1, cutoff=0.0)[0]
            raise CookbookError(
                f"model.target_modules: {type(model.hf).__name__} has no module {target!r}; did you mean {near!r}? Its linear maps "
                f"are {', '.join(leaves)}."
            )
        if outside := [name for name in matched if name not in linear]:
            raise CookbookError(
                f"model.target_modules: {target!r} names {outside[0]}, which is no linear map inside a decoder layer; choose of "
                f"{', '.join(leaves)}."
            )
    return wanted


@torch.no_grad()
def initialise_adapters(model: PackedModel, seed: int) -> None:
    """A uniform in +- 1 / sqrt(in), as peft draws it, from the seed and the weight's name alone; B zero."""
    for name, parameter in model.hf.named_parameters():
        if not _is_adapter(name):
            continue
        local, region = own_part(parameter)
        local.zero_()
        if ".lora_A." in name and local.numel():
            whole = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(whole, a=math.sqrt(5), generator=_generator(seed, name))
            local.copy_(whole[region])


def lora_of(model: PackedModel) -> Any:
    """peft's LoraConfig of an adapted model, else None."""
    return getattr(model.hf, "peft_config", {}).get(ADAPTER)


def plain_weights(hf: nn.Module) -> Tensors:
    """Parameters without the adapters', each once, under the names that the plain model has for them."""
    return {_plain(name): parameter for name, parameter in hf.named_parameters() if not _is_adapter(name)}


def plain_names(hf: nn.Module) -> dict[str, str]:
    """{name in the plain model: name here} of everything in the state dict but the adapters."""
    return {_plain(name): name for name in hf.state_dict() if not _is_adapter(name)}


def adapter_weights(model: PackedModel) -> Tensors:
    """What learns, under the names of peft's files: adapters, and the new weights whole."""
    learning = {name: parameter for name, parameter in model.hf.named_parameters() if parameter.requires_grad}
    return {PREFIX + name.replace(f".{ADAPTER}.", "."): parameter for name, parameter in learning.items()}


def save_adapter_config(model: PackedModel, folder: Path) -> None:
    """adapter_config.json, which with adapter_model.safetensors makes a folder that peft reads."""
    recipe = copy.copy(lora_of(model))
    recipe.target_modules = sorted(recipe.target_modules)  # peft keeps a set: written in no order
    recipe.modules_to_save = sorted(name.rpartition(".")[0] for name in model.new_weights) or None
    recipe.inference_mode = True
    recipe.save_pretrained(folder)


def _is_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _plain(name: str) -> str:
    return name.replace(".base_layer.", ".")


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
