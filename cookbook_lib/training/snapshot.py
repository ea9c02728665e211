"""What a checkpoint holds of a run in memory (weights, optimizer state, random state), in copies that training leaves be.

weights            "model.layers.0.mlp.up_proj.weight"               Hugging Face names, each tensor once (tied ones too);
                                                                     under LoRA what learns, by the names of peft's files
optimizer state    "exp_avg/model.layers.0.mlp.up_proj.weight"       this rank's shard, as the weight is cut
random state       python, numpy, torch, CUDA                        of this rank
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.lora import adapter_weights, lora_of
from cookbook_lib.training.tensor_files import Tensors

MOMENTS = "state/optimizer"  # folder of the optimizer's state, in a checkpoint


@dataclass(frozen=True)
class Snapshot:
    """This rank's part of a save, in host memory: about 12 bytes per parameter that learns of its shard under AdamW."""

    weights: Tensors
    optimizer: Tensors
    random: dict[str, Any]


def take_snapshot(model: PackedModel, optimizer: torch.optim.Optimizer) -> Snapshot:
    weights = weights_of(model)
    return Snapshot(_copies(weights), _copies(optimizer_state(weights, optimizer)), random_state())


def weights_of(model: PackedModel) -> Tensors:
    """Parameters and persistent buffers as they are (no copies), each once, under the names that Hugging Face files use.

    Of a model with adapters, what learns: its base is on disk already.
    """
    if lora_of(model) is not None:
        return adapter_weights(model)
    first: dict[int, str] = {}
    tensors = model.hf.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in tensors.items() if first.setdefault(id(tensor), name) == name}


def optimizer_state(weights: Tensors, optimizer: torch.optim.Optimizer) -> Tensors:
    """{"exp_avg/<weight>": tensor, ...} of every weight that the optimizer has state for."""
    names = {id(tensor): name for name, tensor in weights.items()}
    return {f"{key}/{names[id(p)]}": value for p, entry in optimizer.state.items() for key, value in entry.items()}


def random_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def random_file(folder: Path, rank: int) -> Path:
    return folder / "state" / f"random_{rank:05d}.pt"


@torch.no_grad()
def _copies(tensors: Tensors) -> Tensors:
    """A DTensor's copy has its shard in host memory and keeps its place in the mesh."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
