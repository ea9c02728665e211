"""From a checkpoint to the final model: the Hugging Face folder without the training state, in the type to be shipped."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
INDEX = "model.safetensors.index.json"


def export_model(source: Path, target: Path, files: Sequence[str], dtype: str) -> None:
    """Copy these files of a checkpoint, weights converted to `dtype` (one file, at most 4 GiB, in memory at a time)."""
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors") and dtype != "fp32":
            save_file(converted(load_file(source / name), dtype), target / name, metadata={"format": "pt"})
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
    """Numbers with a fraction in `dtype`, the others as they are."""
    return {name: t.to(DTYPES[dtype]) if t.is_floating_point() else t for name, t in tensors.items()}


def _data_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
