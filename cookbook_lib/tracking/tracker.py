"""Where metrics go: one protocol, five places, and none.

    fit -> log(step, {"train/loss": 2.31, ...}) -> rank 0: Trackers -> console, metrics.jsonl, swanlab, tensorboard, wandb
                                                -> others: NullTracker

A tracker sees plain numbers, and the same step at most twice in a row (training, then validation). An optional package
that is missing is an error before training begins.
"""

import importlib.util
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cookbook_lib.config import CookbookError


@runtime_checkable
class Tracker(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of an optimizer step (0: before the first). Steps never go back."""

    def finish(self) -> None:
        """Flush and close. Nothing is logged after it; a second call does nothing."""


class NullTracker:
    """What ranks other than the first log to."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def finish(self) -> None:
        pass


class Trackers:
    """Several as one, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()


@dataclass(frozen=True)
class About:
    """What a tracker may want to know of the run."""

    folder: Path
    project: str
    experiment: str
    config: Mapping[str, Any]  # the resolved recipe, nested plain values
    total_steps: int
    resumed_step: int | None = None  # the step that was restored, None for a new run
    say: Callable[[str], None] = print

    @property
    def resumed(self) -> bool:
        return self.resumed_step is not None


PACKAGES = {"console": None, "jsonl": None, "swanlab": "swanlab", "tensorboard": "tensorboard", "wandb": "wandb"}


def start_trackers(
    names: Sequence[str],
    folder: Path | str,
    project: str,
    experiment: str,
    config: Mapping[str, Any],
    is_main: bool,
    total_steps: int,
    *,
    resumed_step: int | None = None,
    say: Callable[[str], None] = print,
) -> Tracker:
    """Start the trackers of `trainer.logger` for one run; metrics.jsonl in `folder` is always among them.

    resumed_step: the step that was restored, None for a new run. What was logged after it will be logged again: it is cut.
    config: the resolved recipe, nested plain values. Every rank calls it; only the main one tracks.
    Raises CookbookError, on all ranks, for an unknown name or a missing package.
    """
    chosen = tuple(dict.fromkeys((*names, "jsonl")))
    _check(chosen)
    if not is_main:
        return NullTracker()
    about = About(Path(folder), project, experiment, config, total_steps, resumed_step, say)
    about.folder.mkdir(parents=True, exist_ok=True)
    return Trackers([_start(name, about) for name in chosen])


def run_id(about: About, service: str) -> str:
    """The id under which a service knows this run; kept in the folder, so that a resumed run continues its curve."""
    path = about.folder / f".{service}_id"
    if not (about.resumed and path.is_file()):
        path.write_text(secrets.token_hex(8))
    return path.read_text()


def _check(names: Sequence[str]) -> None:
    for name in names:
        if name not in PACKAGES:
            raise CookbookError(f"trainer.logger: {name!r} is no tracker; there are {', '.join(PACKAGES)}.")
        package = PACKAGES[name]
        if package is not None and importlib.util.find_spec(package) is None:
            raise CookbookError(
                f"trainer.logger has {name!r}, but its package is missing: pip install {package}, or leave it out."
            )


def _start(name: str, about: About) -> Tracker:
    """Import late: a package that is not asked for need not be there, and some take seconds to load."""
    if name == "console":
        from cookbook_lib.tracking.console import Console

        return Console(about.total_steps)
    if name == "jsonl":
        from cookbook_lib.tracking.jsonl import Jsonl

        return Jsonl(about.folder, about.resumed_step)
    if name == "swanlab":
        from cookbook_lib.tracking.swanlab import SwanLab

        return SwanLab(about)
    if name == "tensorboard":
        from cookbook_lib.tracking.tensorboard import TensorBoard

        return TensorBoard(about)
    from cookbook_lib.tracking.wandb import Wandb

    return Wandb(about)
