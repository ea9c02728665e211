"""From a checkpoint to the final model: the Hugging Face folder without the training state, in the type to be shipped.

A critic (value_head.py) is training's too: checkpoints keep it, and what is shipped is a language model that vLLM and others read,
who refuse weights that they do not know.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cookbook_lib.models.heads import CRITIC
from cookbook_lib.models.lora import PREFIX

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
LEFT_OUT = frozenset({CRITIC, PREFIX + CRITIC})


def export_model(source: Path, target: Path, files: Sequence[str], dtype: str) -> None:
    """Copy these files of a checkpoint, weights converted to `dtype` (one file, at most 4 GiB, in memory at a time)."""
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors") and (dtype != "fp32" or _names(source / name) & LEFT_OUT):
            if tensors := converted(load_file(source / name), dtype):
                save_file(tensors, target / name, metadata={"format": "pt"})
        elif name in (INDEX, ADAPTER_CONFIG):
            told = _without_critic(json.loads((source / name).read_text()))
            (target / name).write_text(json.dumps(told, indent=2) + "\n")
        else:
            shutil.copyfile(source / name, target / name)


def set_dtype(folder: Path, dtype: str) -> None:
    """Let config.json (and the index of several weight files) say what the weights are: `from_pretrained` believes it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)  # its name before transformers 5
    config["dtype"] = str(DTYPES[dtype]).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2) + "\n")
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text())
        index["metadata"]["total_size"] = sum(_data_bytes(folder / file) for file in set(index["weight_map"].values()))
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def converted(tensors: dict[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """What is shipped: numbers with a fraction in `dtype`, the others as they are."""
    shipped = {name: t for name, t in tensors.items() if name not in LEFT_OUT}
    return {name: t.to(DTYPES[dtype]) if t.is_floating_point() else t for name, t in shipped.items()}


def _without_critic(told: dict[str, Any]) -> dict[str, Any]:
    """Of an index the weight, of an adapter's config the module that peft would look for."""
    told = dict(told)
    if "weight_map" in told:
        told["weight_map"] = {name: file for name, file in told["weight_map"].items() if name not in LEFT_OUT}
    if modules := told.get("modules_to_save"):
        told["modules_to_save"] = [name for name in modules if f"{name}.weight" != CRITIC] or None
    return told


def _names(path: Path) -> set[str]:
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def _data_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
