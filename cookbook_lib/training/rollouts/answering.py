"""The prompts of a round, answered by all ranks at once, each a part of them, without waiting for one another.

    prompts, longest first     0 1 2 3 4 5 6 7
    rank 0 generates           0   2   4   6        every rank is dealt as many, of like lengths
    rank 1                       1   3   5   7
    then                       everybody gets everything: rewards and advantages look at the whole round

What completion i of prompt r says in round k is drawn from (seed, k, r, i) alone: not from how many ranks there are, nor from
what shares its batch (but for rounding).
"""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rollouts.engine import Engine, Generated

T = TypeVar("T")


@dataclass(frozen=True)
class Asking:
    """How prompts are answered. how: temperature, top_p, top_k. stop_ids: tokens that end a completion."""

    max_new_tokens: int
    how: Sampling
    stop_ids: Collection[int]


def answer(
    engine: Engine,
    mesh: Mesh,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    asking: Asking,
    title: str,
) -> list[Generated]:
    """A completion for each seed of each prompt, in their order, the same on every rank. Collective.

    What fails on one rank is raised on all, as a CookbookError on the others.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    mine = order[mesh.rank :: mesh.world_size]
    total = sum(len(seeds[i]) for i in mine)

    def work() -> dict[int, Generated]:
        with _bar(total, title, mesh) as bar:
            made = engine.generate(
                [prompts[i] for i in mine],
                max_new_tokens=asking.max_new_tokens,
                how=asking.how,
                stop_ids=asking.stop_ids,
                seeds=[seeds[i] for i in mine],
                progress=bar.update,
            )
        return dict(zip(mine, made, strict=True))

    found = {i: generated for part in together(mesh, work) for i, generated in part.items()}
    return [found[i] for i in range(len(prompts))]


def _bar(total: int, title: str, mesh: Mesh) -> tqdm:
    """Gone when the round is: in a log or a notebook, rounds of some seconds leave no line."""
    pause = 1 if sys.stdout.isatty() else 10
    return tqdm(
        total=total,
        desc=title,
        unit=" completions",
        file=sys.stdout,
        delay=pause,
        mininterval=pause,
        leave=False,
        disable=not mesh.is_main,
    )


def together(mesh: Mesh, work: Callable[[], T]) -> list[T]:
    """Every rank's `work()`, by rank, on every rank; a failure on one is a failure on all. Collective."""
    failure: Exception | None = None
    outcome: tuple[T | None, str] = (None, "")
    try:
        outcome = (work(), "")
    except Exception as error:
        failure = error
        outcome = (None, str(error) if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}")
    outcomes = mesh.gather(outcome)
    if failure is not None:
        raise failure
    for rank, (_, problem) in enumerate(outcomes):
        if problem:
            raise CookbookError(f"{problem} (on rank {rank})")
    return [result for result, _ in outcomes]  # type: ignore[misc]  # those that failed have raised


def seeds_of(*whence: int, n: int) -> list[int]:
    """n seeds from these numbers (of the run, the round, the prompt; none below 0), as good as unrelated."""
    return [int(np.random.SeedSequence([*whence, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(n)]
