"""Sharded tensors to and from a folder of safetensors files, by torch's distributed checkpoint (DCP).

write_tensors   every rank writes its shards at their place in files that are the same for any number of ranks
read_tensors    every rank reads, of whatever layout wrote the files, the slices that it holds now, in place
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from cookbook_lib.config import CookbookError
from cookbook_lib.training.safetensors_writer import SafetensorsWriter

Tensors = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]


def write_tensors(
    tensors: Tensors, folder: Path, stem: str, group: dist.ProcessGroup, *, one_file: bool = False
) -> None:
    """folder/stem.safetensors, or numbered files with an index. Collective; all ranks hold the same names."""
    limit = {"max_file_bytes": sys.maxsize} if one_file else {}
    save(tensors, storage_writer=SafetensorsWriter(folder, stem, **limit), process_group=group)


def read_tensors(tensors: Tensors, folder: Path, group: dist.ProcessGroup) -> None:
    """Fill `tensors` (plain, or DTensors) from the files, which `check_same` has found to hold them. Collective."""
    if tensors:
        targets = {name: tensor.detach() for name, tensor in tensors.items()}
        load(targets, storage_reader=HuggingFaceStorageReader(str(folder)), process_group=group)


def stored_shapes(folder: Path) -> Shapes:
    """{tensor name: shape} of a folder's safetensors files, from their headers alone."""
    shapes: Shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return shapes


def check_same(tensors: Tensors, folder: Path) -> None:
    """Raise CookbookError, with the first differences, unless the files hold exactly these names in these shapes."""
    stored, wanted = stored_shapes(folder), {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - stored.keys())]
    problems += [f"{name} is unknown to the model" for name in sorted(stored.keys() - wanted.keys())]
    both = sorted(wanted.keys() & stored.keys())
    problems += [
        f"{name} is {stored[name]}, in the model {wanted[name]}" for name in both if stored[name] != wanted[name]
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CookbookError(
            f"{folder} is of another model: {'; '.join(problems[:3])}{more}; "
            "resume with the model that was trained there, or start anew with trainer.resume_mode=disable."
        )
