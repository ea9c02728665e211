"""Which prompts a round asks: a function of the seed and the round, like a loader's of the step.

    units      prompts; or the two orders of a pair, which are asked together, for a reward may compare them
    round k    the k-th batch of a seeded permutation of the units, epoch after epoch
    batch b    of round k, b > 0: the same of another permutation: what replaces groups without spread
    unshuffled the file's order, and batch b is what round k + b begins with

So what one round needed to replace does not move the prompts of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.data.judge.orders import asked_together
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.loader import Loader

ANOTHER_ORDER = 1_000_003  # between the seeds of the permutations


class TokenTask(Protocol):
    """One prompt: what data.judge.tasks.TaskSet holds."""

    @property
    def ids(self) -> NDArray[np.int32]: ...
    @property
    def task(self) -> JudgeTask: ...


class Tasks(Protocol):
    """Tokenised prompts: data.judge.tasks.TaskSet."""

    @property
    def lengths(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> TokenTask: ...


@dataclass(frozen=True)
class Longest:
    """Prompts as a loader's examples, each with all the tokens that its group can come to."""

    tasks: Tasks
    answers: int  # tokens of the completions of a prompt, at most

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.asarray(self.tasks.lengths, np.int64) + self.answers

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, i: int) -> TokenTask:
        return self.tasks[i]


@dataclass(frozen=True)
class Order:
    """batch_size: prompts of a round; where units are pairs and single prompts, at most."""

    tasks: Tasks
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    _loaders: dict[int, Loader] = field(default_factory=dict)

    def rows(self, number: int, batch: int = 0) -> NDArray[np.int64]:
        """Prompts of a round, or those of its batch `batch`."""
        chosen = self._loader(batch).rows(number) if self.shuffle else self._loader(0).rows(number + batch)
        return np.array([row for unit in chosen for row in self.units[unit]], np.int64)

    def rounds(self, epochs: float) -> int:
        """Rounds in which every prompt is asked `epochs` times, at least."""
        return self._loader(0).steps(epochs)

    @property
    def least(self) -> int:
        """Prompts that every round has: as many as the smallest units come to, which a round over the end of an epoch may have
        twice."""
        sizes, count = [len(unit) for unit in self.units], self._loader(0).batch_size
        return sum(sorted(sizes if len(sizes) % count == 0 else sizes * 2)[:count])

    @cached_property
    def units(self) -> list[list[int]]:
        """Rows that are asked together."""
        return asked_together(self.tasks[row].task for row in range(len(self.tasks)))

    def _loader(self, batch: int) -> Loader:
        """Whose steps are rounds, and whose rows are units."""
        if batch not in self._loaders:
            size = max(self.batch_size // max(map(len, self.units)), 1)
            seed = self.seed + ANOTHER_ORDER * batch
            self._loaders[batch] = Loader(
                _Units(self.units), batch_size=size, max_tokens=1, seed=seed, shuffle=self.shuffle
            )
        return self._loaders[batch]


@dataclass(frozen=True)
class _Units:
    """As a loader's examples, of which nothing but the number is asked."""

    units: Sequence[Sequence[int]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(len(self.units), np.int64)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, i: int) -> Sequence[int]:
        return self.units[i]
