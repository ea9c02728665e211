"""What is evaluated, and against what: a model folder, where it came from, and the run that it belongs to.

checkpoints/sft/            the run:          config.yaml (resolved)
    best/                   the model:        config.json, weights, tokenizer
        cookbook.json       where it is from: {"base": "/models/qwen", "recipe": "sft", "step": 500}
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cookbook_lib.config import CookbookError

ORIGIN, RUN = "cookbook.json", "config.yaml"
LISTED = 12


@dataclass(frozen=True)
class Checkpoint:
    """A model folder; `origin` is its cookbook.json and `run` its run's config, both {} where there is none."""

    folder: Path
    origin: dict[str, Any]
    run: dict[str, Any]


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Raises CookbookError, with the models that are there, when `path` is no folder with a model."""
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        what = "is not there" if not folder.exists() else "holds no config.json, so no model"
        raise CookbookError(f"{folder} {what}; {_nearby(folder)}.")
    return Checkpoint(folder, _json(folder / ORIGIN), _run_of(folder))


def find_base(checkpoint: Checkpoint, given: str | None) -> tuple[Path | None, str]:
    """The model that the checkpoint was trained from, and a sentence that says how it is known (or why it is not).

    given: a folder named by the user, which goes before the recorded one. Raises CookbookError when it is no model.
    """
    if given is not None:
        return open_checkpoint(given).folder, f"base: {given}, as given"
    recorded = checkpoint.origin.get("base")
    if not recorded:
        return None, f"no base: {checkpoint.folder / ORIGIN} names none; give --base-path to compare"
    if not (Path(recorded) / "config.json").is_file():
        return (
            None,
            f"no base: {recorded}, which this model was trained from, is not there; give --base-path to compare",
        )
    return Path(recorded), f"base: {recorded}, which this model was trained from"


def held_out_files(checkpoint: Checkpoint) -> list[str]:
    """The validation files of the run. Raises CookbookError when it had none, or they are gone."""
    named = checkpoint.run.get("data", {}).get("val_files") or []
    files = [named] if isinstance(named, str) else list(named)
    if not files:
        raise CookbookError(f"{checkpoint.folder}: no run beside it names held-out data; give it with --data FILE.")
    missing = [file for file in files if not file.startswith("hub:") and not Path(file).exists()]
    if missing:
        raise CookbookError(f"{missing[0]}, the validation data of this model's run, is not there; give --data FILE.")
    return files


def _run_of(folder: Path) -> dict[str, Any]:
    """The config of the run folder that holds this one, links followed or not."""
    for parent in (folder.absolute().parent, folder.resolve().parent):
        if (parent / RUN).is_file():
            return yaml.safe_load((parent / RUN).read_text(encoding="utf-8")) or {}
    return {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CookbookError(f"{path} is no JSON object ({error}); delete it, or write it anew.") from None


def _nearby(folder: Path) -> str:
    """Models under the nearest folder that exists."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    found = [str(model.relative_to(place)) for model in _models(place)]
    if not found:
        return f"there is no model under {place} either: train one, or give the folder that a model was saved to"
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return f"models under {place}: {', '.join(found[:LISTED])}{more}"


def _models(place: Path) -> Iterator[Path]:
    """Folders with a config.json, at most three levels down."""
    for pattern in ("*", "*/*", "*/*/*"):
        yield from sorted(path.parent for path in place.glob(f"{pattern}/config.json"))
