"""What a run began from: the same folder, given another model to begin with, is another run.

    step_00000500/state/trainer.json    began: {recipe, base: the folder it was given, weights: a digest of the files there}

A run that finds a save of another beginning would go on from it, or find nothing left to do, and leave the first run's model
behind as if it were the second's.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cookbook_lib.config import CookbookError

SAMPLE = 1 << 16  # bytes, at the beginning, in the middle and at the end of a file


def beginning(recipe: str, base: Path) -> dict[str, str]:
    """recipe and base as they are told to people, and a digest by which the weights are known wherever they lie."""
    files = sorted(path for kind in ("*.safetensors", "*.bin") for path in base.glob(kind))
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        _sample(path, digest)
    return {"recipe": recipe, "base": str(base.resolve()), "weights": digest.hexdigest()[:16]}


def refuse_another(saved: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Raises CookbookError where the save in `folder` began as another run than this one; saves that do not say pass."""
    for name, what in (("recipe", "recipe"), ("weights", "base")):
        if saved and now and saved[name] != now[name]:
            changed = saved[what] == now[what]
            raise CookbookError(
                f"{folder} holds a run that began from {saved[what]}{' as it was then' if changed else ''}, and this one begins from "
                f"{'what is there now' if changed else now[what]}: give it a folder of its own (SAVE_PATH, "
                "trainer.default_local_dir), or start anew in this one with trainer.resume_mode=disable."
            )


def _sample(path: Path, digest: "hashlib._Hash") -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        for place in (0, size // 2, max(size - SAMPLE, 0)):
            file.seek(place)
            digest.update(file.read(SAMPLE))
