"""manifest.json: what a complete checkpoint consists of. It is written last: a folder without one was never finished.

    {"format": 1, "step": 500, "serial": 7, "best": false, "metric": 1.23, "world_size": 2,
     "files": {"model.safetensors": {"bytes": 6412288, "sha256": "..."}, ...}}

`serial` counts the saves of a run folder: after going back to an earlier step, the highest step is not the newest save.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cookbook_lib.config import CookbookError

NAME = "manifest.json"
FORMAT = 1
BLOCK = 1 << 22
Sums = dict[str, dict[str, int | str]]  # file -> bytes, sha256


@dataclass(frozen=True)
class Manifest:
    step: int
    serial: int
    best: bool
    metric: float | None
    world_size: int
    files: Sums
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        path = folder / NAME
        with path.open("w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Raises CookbookError when there is none, or none that can be read."""
    try:
        manifest = Manifest(**json.loads((folder / NAME).read_bytes()))
    except FileNotFoundError:
        raise CookbookError(
            f"{folder} holds no {NAME}: it is no complete checkpoint; give a folder such as .../step_00000500."
        ) from None
    except (ValueError, TypeError) as error:
        raise CookbookError(
            f"{folder / NAME} cannot be read ({error}): the checkpoint is damaged; use an earlier one."
        ) from None
    if manifest.format != FORMAT:
        raise CookbookError(
            f"{folder / NAME} has format {manifest.format}, this version reads {FORMAT}: use the version that wrote it."
        )
    return manifest


def files_in(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest, by its relative path, sorted: the same list on every rank."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != NAME)


def seal(folder: Path, names: Sequence[str]) -> Sums:
    """Bring the files to the disk and take their sums."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name, sync=True)} for name in names
    }


def damage(folder: Path, manifest: Manifest, names: Sequence[str]) -> list[str]:
    """What is wrong with these files, a phrase each; sizes first, because they cost nothing."""
    found = []
    for name in names:
        path, entry = folder / name, manifest.files[name]
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            found.append(f"{name} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}")
        elif _sha256(path) != entry["sha256"]:
            found.append(f"{name} does not match its checksum")
    return found


def _sha256(path: Path, sync: bool = False) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
