"""From the weights that are trained to those that answer: whole, merged, in compute dtype, one tensor at a time.

    trained   shards (FSDP2), fp32, perhaps an adapter beside       q_proj.base_layer.weight, q_proj.lora_A.default.weight
    plain     whole tensors under the plain model's names           q_proj.weight = W + (alpha / r) B A

On one process, in the dtype of the master weights, nothing is copied: the plain model's parameters are the trained tensors, and
an optimizer's step is seen at once. Else it costs the memory of one copy, and while it is made of one tensor more.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.lora import ADAPTER, plain_names, plain_weights
from cookbook_lib.parallel.fsdp import rest


@torch.no_grad()
def whole_weights(
    trained: PackedModel, device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name in the plain model, weight on `device` in `dtype`, None for its own) of everything. Collective: every rank takes all.

    A tied weight comes once, a critic's head not at all. What needs neither gathering nor converting is the trained tensor
    itself: do not write to it.
    """
    rest(trained)
    adapted = _adapted(trained.hf)
    for name, parameter in plain_weights(trained.hf).items():
        if name in trained.new_weights:
            continue
        weight = _whole(parameter, device)
        if name in adapted:
            weight = _merged(weight, adapted[name], device)
        yield name, weight.to(dtype or parameter.dtype)


@torch.no_grad()
def refresh(plain: nn.Module, trained: PackedModel, device: torch.device, dtype: torch.dtype) -> None:
    """Give `plain`, a transformers model of the same structure (on the meta device at first), the trained weights. Collective.

    Buffers (rotary tables) are the trained model's own. Raises CookbookError where the structures differ.
    """
    slots = dict(plain.named_parameters())
    for name, weight in whole_weights(trained, device, dtype):
        if name not in slots or slots[name].shape != weight.shape:
            found = tuple(slots[name].shape) if name in slots else "nothing"
            raise CookbookError(
                f"weight {name} is {tuple(weight.shape)} in training, and {found} in the model that answers."
            )
        _put(plain, name, nn.Parameter(weight, requires_grad=False))
        del slots[name]
    if slots:
        raise CookbookError(
            f"the model that answers has weights that training has not: {', '.join(sorted(slots)[:3])}."
        )
    buffers = dict(trained.hf.named_buffers())
    here = plain_names(trained.hf)
    for name, _ in list(plain.named_buffers()):
        _put(plain, name, buffers[here.get(name, name)].to(device))
    plain.tie_weights()  # type: ignore[operator]  # transformers'


def weights_sum(trained: PackedModel) -> int:
    """A number that says whether two models are the same to the bit, on any layout; of this rank's share: add up the ranks'.

    The sum of the bit patterns of all weights, each pattern times its tensor's place: integers, so in no order.
    """
    rest(trained)
    parameters = enumerate(trained.hf.parameters(), start=1)
    return sum(place * _bits(parameter) for place, parameter in parameters) % 2**31


def _bits(parameter: torch.Tensor) -> int:
    local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    if isinstance(parameter, DTensor) and parameter.device_mesh.ndim > 1 and parameter.device_mesh.get_local_rank(0):
        return 0  # a copy (HSDP): the first one's ranks count
    return int(local.detach().reshape(-1).view(torch.int16).sum(dtype=torch.int64))


def _whole(parameter: torch.Tensor, device: torch.device) -> torch.Tensor:
    weight = parameter.detach()
    if not isinstance(weight, DTensor):
        return weight.to(device)
    if weight.device_mesh.size() == 1:
        return weight.to_local().to(device)
    here = cast(DTensor, weight.to(device))  # offloaded shards rest in host memory, where their group does not speak
    return here.full_tensor()


def _adapted(hf: nn.Module) -> dict[str, Any]:
    """{plain name of a weight: peft's layer around it}"""
    layers = ((name, module) for name, module in hf.named_modules() if hasattr(module, "lora_A"))
    return {f"{name}.weight": module for name, module in layers}


def _merged(weight: torch.Tensor, layer: Any, device: torch.device) -> torch.Tensor:
    """W + (alpha / r) B A, in fp32."""
    down, up = (_whole(part[ADAPTER].weight, device).float() for part in (layer.lora_A, layer.lora_B))
    return torch.addmm(weight.float(), up, down, alpha=layer.scaling[ADAPTER])


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    slots: Any = owner._parameters if isinstance(tensor, nn.Parameter) else owner._buffers
    slots[leaf] = tensor
