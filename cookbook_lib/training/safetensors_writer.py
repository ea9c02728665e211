"""Storage for torch's distributed checkpoint (DCP) in which every rank writes its part of one plain safetensors file.

    file      | header: name -> dtype, shape, byte range | tensor 0 ........ | tensor 1 ........ | ...
    ranks     | 0                                        | 0 | 1 | 2 | 3     | 0 | 1 | 2 | 3     |

FSDP cuts a tensor along its first dimension, and rows of a row-major tensor are neighbours in the file: a shard is a byte
range. So nothing is gathered, nothing is written twice, no rank holds more than its own shard, and the file is the same
whatever the number of ranks was: `from_pretrained` opens it, and DCP's own `HuggingFaceStorageReader` reads it back into
any layout.

DCP plans who writes what (a tensor that several ranks hold is written once); this module only places bytes. All ranks
need the same file system.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

MAX_FILE_BYTES = 4 << 30
ONE_WRITE = 1 << 30  # Linux writes at most 2 GiB at a time
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a whole tensor lies: `begin` bytes into `file`."""

    file: str
    begin: int


@dataclass(frozen=True)
class Whole:
    """A tensor as the file knows it."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class SafetensorsWriter(StorageWriter):
    """dcp.save(tensors, storage_writer=SafetensorsWriter(folder, "model")) writes folder/model.safetensors.

    Over `max_file_bytes`, files are model-00001-of-00003.safetensors, ... with Hugging Face's index beside them.
    Tensors only. Raises OSError as the disk does.
    """

    def __init__(self, folder: Path, stem: str, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self.folder, self.stem, self.max_file_bytes = folder, stem, max_file_bytes

    def reset(self, checkpoint_id: Any = None) -> None:
        """DCP's hook for another folder; ours is fixed."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        if is_coordinator:
            self.folder.mkdir(parents=True, exist_ok=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """On rank 0, before anybody writes: lay the tensors out, make the files, and tell every rank its places."""
        wholes = {item.index.fqn: _whole(item) for plan in plans for item in plan.items}
        files = _divide(wholes, self.max_file_bytes)
        names = [_file_name(self.stem, i, len(files)) for i in range(len(files))]
        places: dict[str, Place] = {}
        for name, tensors in zip(names, files, strict=True):
            places |= _make_file(self.folder / name, tensors)
        if len(files) > 1:
            _write_index(self.folder / f"{self.stem}.safetensors.index.json", wholes, places)
        return [
            replace(plan, storage_data={item.index.fqn: places[item.index.fqn] for item in plan.items})
            for plan in plans
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        by_file: dict[str, list[WriteItem]] = {}
        for item in plan.items:
            by_file.setdefault(plan.storage_data[item.index.fqn].file, []).append(item)
        for file, items in by_file.items():
            handle = os.open(self.folder / file, os.O_WRONLY)
            try:
                for item in items:
                    _write_part(handle, plan.storage_data[item.index.fqn].begin, item, planner.resolve_data(item))
                os.fsync(handle)
            finally:
                os.close(handle)
        done: Future[list[WriteResult]] = Future()
        done.set_result(
            [WriteResult(item.index, _whole(item).nbytes, plan.storage_data[item.index.fqn]) for item in plan.items]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Nothing is left to write: the headers say everything."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


def _whole(item: WriteItem) -> Whole:
    if item.tensor_data is None:
        raise TypeError(f"{item.index.fqn} is not a tensor; safetensors files hold tensors only")
    return Whole(tuple(item.tensor_data.size), item.tensor_data.properties.dtype)


def _divide(wholes: Mapping[str, Whole], limit: int) -> list[dict[str, Whole]]:
    """Consecutive tensors into files of at most `limit` bytes (a larger tensor has a file of its own)."""
    files: list[dict[str, Whole]] = []
    room = 0
    for name, whole in wholes.items():
        if not files or whole.nbytes > room:
            files.append({})
            room = limit
        files[-1][name] = whole
        room -= whole.nbytes
    return files


def _file_name(stem: str, index: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{index + 1:05d}-of-{count:05d}.safetensors"


def _make_file(path: Path, tensors: dict[str, Whole]) -> dict[str, Place]:
    """The header, and room for the rest. Wide types first, so that every tensor is aligned to its own."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, whole in sorted(tensors.items(), key=lambda entry: -entry[1].dtype.itemsize):
        header[name] = {"dtype": DTYPES[whole.dtype], "shape": whole.shape, "data_offsets": (end, end + whole.nbytes)}
        end += whole.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        data = file.tell()
        file.truncate(data + end)
    return {name: Place(path.name, data + header[name]["data_offsets"][0]) for name in tensors}


def _write_index(path: Path, wholes: Mapping[str, Whole], places: Mapping[str, Place]) -> None:
    weight_map = {name: place.file for name, place in places.items()}
    total = sum(whole.nbytes for whole in wholes.values())
    path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n")


def _write_part(handle: int, begin: int, item: WriteItem, tensor: Any) -> None:
    """This rank's rows of one tensor, at their place in the file."""
    assert item.tensor_data is not None
    chunk, shape = item.tensor_data.chunk, item.tensor_data.size
    if any(chunk.offsets[1:]) or chunk.sizes[1:] != shape[1:]:
        raise ValueError(
            f"{item.index.fqn} is cut along another dimension than the first; its shard is no single byte range"
        )
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    row = shape[1:].numel() * tensor.dtype.itemsize
    _write_at(handle, data, begin + (chunk.offsets[0] * row if shape else 0))


def _write_at(handle: int, data: Any, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view[:ONE_WRITE], position)
        view, position = view[written:], position + written
