"""Work that all ranks do, or that one does for all: if it fails on one, it fails on every one, with the same sentence.

    together(work)         every rank runs it      -> results by rank, or CookbookError on all ranks
    together.first(work)   rank 0 runs it          -> its result on every rank, or CookbookError on all ranks

Without it, a disk that is full on one machine leaves the others waiting for it. It speaks over a gloo group of its own, so
that a background thread may use it while training uses the others; one thread at a time.
"""

import errno
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from cookbook_lib.config import CookbookError

T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Together:
    """All ranks make one, together; `place` is the folder that the work is about, for its sentences."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.group = dist.new_group(backend="gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if self.size == 1:  # among several, one that closes its sockets might cut off another's last words
            weakref.finalize(self, _end, self.group).atexit = False

    def __call__(self, work: Callable[[], T]) -> list[T]:
        return [result for result, _ in self._exchange(self._attempt(work))]

    def first(self, work: Callable[[], T]) -> T:
        outcome = self._attempt(work) if self.rank == 0 else (None, None)
        result: T = self._exchange(outcome)[0][0]
        return result

    def _attempt(self, work: Callable[[], T]) -> tuple[T | None, str | None]:
        try:
            return work(), None
        except (Exception, CheckpointException) as error:  # that of torch's distributed checkpoint is no Exception
            return None, sentence(error, self.place)

    def _exchange(self, outcome: tuple[Any, str | None]) -> list[tuple[Any, str | None]]:
        outcomes: list[Any] = [None] * self.size
        dist.all_gather_object(outcomes, outcome, group=self.group)
        for rank, (_, problem) in enumerate(outcomes):
            if problem is not None:
                raise CookbookError(problem if rank == 0 else f"{problem} (on rank {rank})")
        return outcomes


def _end(group: dist.ProcessGroup) -> None:
    """Give back a group's threads; torch keeps every group for as long as its world."""
    if dist.is_initialized() and group in dist.distributed_c10d._world.pg_map:
        dist.destroy_process_group(group)


def sentence(error: BaseException, place: Path) -> str:
    """One sentence for the user, out of whatever went wrong while reading or writing under `place`."""
    if isinstance(error, CookbookError):
        return str(error)
    if isinstance(error, CheckpointException):
        cause, _ = min(error.failures.items())[1]
        return sentence(cause, place)
    if isinstance(error, FileNotFoundError):
        return (
            f"{error.filename} is not there: all ranks need {place} on one file system, and nobody else may change it."
        )
    if isinstance(error, OSError) and error.errno in FULL:
        free = shutil.disk_usage(place).free / 2**30
        return f"{place}: no space left for a checkpoint ({free:.2f} GiB free): free some, or lower trainer.max_ckpt_to_keep."
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
        return f"trainer.default_local_dir={place} cannot be written ({error.strerror}): give a folder that you may write to."
    return f"{place}: a checkpoint failed: {type(error).__name__}: {error}"
