"""What is evaluated, and against what: a model folder, where it came from, and the run that it belongs to.

checkpoints/sft/            the run:          config.yaml (resolved)
    best/                   the model:        config.json, weights, tokenizer
        cookbook.json       where it is from: {"base": "/models/qwen", "recipe": "sft", "step": 500}
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import shown

ORIGIN, RUN = "cookbook.json", "config.yaml"
LISTED = 12
ELSEWHERE = f"correct it, or keep the model in a folder that no foreign {RUN} lies beside"


@dataclass(frozen=True)
class Checkpoint:
    """A model folder; `origin` is its cookbook.json and `run` its run's config, both {} where there is none.

    `run` is read when it is asked for: a file of its name may be another program's, which concerns nobody until then.
    """

    folder: Path
    origin: dict[str, Any]

    @cached_property
    def run_file(self) -> Path | None:
        """The config of the run folder that holds this one, links followed or not."""
        folders = (self.folder.absolute().parent, self.folder.resolve().parent)
        return next((folder / RUN for folder in folders if (folder / RUN).is_file()), None)

    @cached_property
    def run(self) -> dict[str, Any]:
        """Raises CookbookError for a file that holds no config of a run."""
        if self.run_file is None:
            return {}
        try:
            found = yaml.safe_load(self.run_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = " ".join(str(error).split())
            raise CookbookError(f"{self.run_file} cannot be read as YAML ({why}); {ELSEWHERE}.") from None
        return self._keys(found, "it")

    def section(self, *names: str) -> dict[str, Any]:
        """A part of the run's config ("data", "multiturn"), {} where it has none. Raises CookbookError where it holds no keys."""
        found = self.run
        for depth, name in enumerate(names, start=1):
            found = self._keys(found.get(name), ".".join(names[:depth]))
        return found

    def files(self, key: str) -> list[str]:
        """What data.train_files or data.val_files of the run names, there or not. Raises CookbookError for other than paths."""
        named = self.section("data").get(key)
        files = [named] if isinstance(named, str) else named or []
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise CookbookError(f"{self.run_file}: data.{key} is {shown(named)}, but it names files; {ELSEWHERE}.")
        return files

    def _keys(self, found: Any, name: str) -> dict[str, Any]:
        if found is not None and not isinstance(found, dict):
            rule = "but in the config of a run it is keys with values"
            raise CookbookError(f"{self.run_file}: {name} is {shown(found)}, {rule}; {ELSEWHERE}.")
        return found or {}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Raises CookbookError, with the models that are there, when `path` is no folder with a model."""
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        what = "is not there" if not folder.exists() else "holds no config.json, so no model"
        raise CookbookError(f"{folder} {what}; {_nearby(folder)}.")
    return Checkpoint(folder, _json(folder / ORIGIN))


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
    files = checkpoint.files("val_files")
    if not files:
        raise CookbookError(f"{checkpoint.folder}: no run beside it names held-out data; give it with --data FILE.")
    missing = [file for file in files if not file.startswith("hub:") and not Path(file).exists()]
    if missing:
        raise CookbookError(f"{missing[0]}, the validation data of this model's run, is not there; give --data FILE.")
    return files


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        why = f"it holds {shown(found)}"
    except ValueError as error:
        why = str(error)
    raise CookbookError(f"{path} is no JSON object ({why}); delete it, or write it anew.")


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
