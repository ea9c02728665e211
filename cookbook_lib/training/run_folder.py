"""The folder of a run, as one process (rank 0) sees it: which saves are there, and changes that are all or nothing.

    step_00000400/  step_00000500/        complete checkpoints
    latest -> step_00000500               links, replaced by renaming
    best   -> step_00000400
    sft-final/                            the final model
    .writing-step_00000600/               in progress, or left by a killed process: never read, removed by the next save

A folder becomes visible by one rename after everything in it is on the disk, and is renamed away before it is removed.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cookbook_lib.config import CookbookError
from cookbook_lib.training.manifest import Manifest, read_manifest

WRITING, LEAVING = ".writing-", ".leaving-"
STEP = re.compile(r"step_(\d{8,})")


@dataclass(frozen=True)
class Save:
    """A checkpoint on disk whose manifest says that it was finished."""

    folder: Path
    manifest: Manifest


def step_name(step: int) -> str:
    return f"step_{step:08d}"


def make_run_folder(run: Path) -> None:
    """Raises OSError unless it is there now and can be written."""
    run.mkdir(parents=True, exist_ok=True)
    probe = run / f"{WRITING}probe"
    probe.write_bytes(b"")
    probe.unlink()


def saves(run: Path) -> Iterator[Save | CookbookError]:
    """Newest first; in place of one whose manifest is missing or unreadable, the error that says so."""
    found, broken = [], []
    for folder in run.glob("step_*"):
        if STEP.fullmatch(folder.name):
            try:
                found.append(Save(folder, read_manifest(folder)))
            except CookbookError as error:
                broken.append(error)
    yield from broken
    yield from sorted(found, key=lambda save: -save.manifest.serial)


def complete_saves(run: Path) -> list[Save]:
    """Newest first."""
    return [save for save in saves(run) if isinstance(save, Save)]


def begin_writing(run: Path, name: str) -> Path:
    """An empty hidden folder for `name`; what a killed process left is removed first, as its room may be needed."""
    for pattern in (f"{WRITING}*", f"{LEAVING}*"):
        for left in run.glob(pattern):
            _remove(left)
    folder = run / f"{WRITING}{name}"
    folder.mkdir(parents=True)
    return folder


def put_in_place(written: Path, name: str) -> Path:
    """Publish what `begin_writing` gave; an older folder of that name makes room."""
    for folder in (*filter(Path.is_dir, written.rglob("*")), written):
        _sync(folder)
    place = written.parent / name
    old = _rename_away(place) if place.exists() else None
    os.rename(written, place)
    _sync(place.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return place


def point(run: Path, link: str, folder: Path) -> None:
    """run/link -> folder, by renaming a new link over the old one."""
    fresh = run / f"{WRITING}{link}"
    fresh.unlink(missing_ok=True)
    os.symlink(folder.name, fresh)
    os.replace(fresh, run / link)


def repair_links(run: Path, newest: Save) -> None:
    """Make `latest` and `best` what they were after `newest`: a kill may have come between a save and its links."""
    point(run, "latest", newest.folder)
    best = [s for s in complete_saves(run) if s.manifest.best and s.manifest.serial <= newest.manifest.serial]
    if best:
        point(run, "best", best[0].folder)


def prune(run: Path, keep: int) -> list[str]:
    """Remove all but the `keep` newest saves; what `latest` and `best` point to stays. Returns the names removed."""
    needed = {(run / link).resolve() for link in ("latest", "best")}
    old = [save.folder for save in complete_saves(run)[keep:] if save.folder.resolve() not in needed]
    for folder in old:
        shutil.rmtree(_rename_away(folder), ignore_errors=True)
    return [folder.name for folder in old]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _rename_away(folder: Path) -> Path:
    hidden = folder.with_name(f"{LEAVING}{folder.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(folder, hidden)
    return hidden


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
