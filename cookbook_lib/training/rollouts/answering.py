"""The prompts of a round, answered by all ranks at once, each a part of them, without waiting for one another.

    prompts, longest first     0 1 2 3 4 5 6 7
    rank 0 generates           0   2   4   6        every rank is dealt as many, of like lengths
    rank 1                       1   3   5   7
    then                       everybody gets everything: rewards and advantages look at the whole round

Where prompts do not divide so, above all where ranks are more than prompts, a prompt's completions are dealt in parts.

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
from cookbook_lib.training.rollouts.forwards import EVEN
from cookbook_lib.training.stop import WorkLeft, stop_asked

T = TypeVar("T")
Share = tuple[int, tuple[int, ...]]  # (place of a prompt, which of its seeds)
_LEFT = ""  # what one rank says to the others of work that it left, having been asked to stop


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

    What fails on one rank is raised on all, as a CookbookError on the others; WorkLeft where one was asked to stop amid it.
    """
    mine = dealt(prompts, seeds, mesh.world_size)[mesh.rank]
    total = sum(len(some) for _, some in mine)

    def work() -> dict[Share, Generated]:
        with _bar(total, title, mesh) as bar:
            made = engine.generate(
                [prompts[i] for i, _ in mine],
                max_new_tokens=asking.max_new_tokens,
                how=asking.how,
                stop_ids=asking.stop_ids,
                seeds=[[seeds[i][k] for k in some] for i, some in mine],
                progress=lambda finished: _count(bar, finished),
            )
        return dict(zip(mine, made, strict=True))

    found = {share: generated for part in together(mesh, work) for share, generated in part.items()}
    parts: list[list[Generated]] = [[] for _ in prompts]
    for share in sorted(found):
        parts[share[0]].append(found[share])
    return [_joined(own) for own in parts]


def dealt(prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], ranks: int) -> list[list[Share]]:
    """[rank] -> prompts, longest first, and which of their seeds: all; but where the busiest rank would then have over a tenth more
    completions than the mean, each prompt in as few parts as prevent it, or come nearest."""
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    total, tried = sum(map(len, seeds)), []
    for parts in range(1, max(map(len, seeds), default=1) + 1):
        shares = _in_parts(order, seeds, parts)
        tried.append([shares[rank::ranks] for rank in range(ranks)])
        if _busiest(tried[-1]) * ranks <= EVEN * total:
            return tried[-1]
    return min(tried, key=_busiest)


def _in_parts(order: Sequence[int], seeds: Sequence[Sequence[int]], parts: int) -> list[Share]:
    """Each prompt's seeds in `parts` runs, or one each where there are fewer."""
    runs = [(i, np.array_split(np.arange(len(seeds[i])), parts)) for i in order]
    return [(i, tuple(run.tolist())) for i, own in runs for run in own if len(run)]


def _busiest(hands: Sequence[Sequence[Share]]) -> int:
    """Completions of the rank that has most."""
    return max(sum(len(some) for _, some in hand) for hand in hands)


def _joined(parts: Sequence[Generated]) -> Generated:
    """Of one prompt, in the order of its seeds."""
    return Generated(
        tuple(ids for part in parts for ids in part.completions),
        tuple(finished for part in parts for finished in part.finished),
        tuple(logps for part in parts for logps in part.logps),
    )


def _count(bar: tqdm, finished: int) -> None:
    bar.update(finished)
    if stop_asked():
        raise WorkLeft


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
    """Every rank's `work()`, by rank, on every rank, however long it takes. Collective.

    A failure on one is a failure on all; where none failed, WorkLeft on one is WorkLeft on all.
    """
    failure: Exception | None = None
    outcome: tuple[T | None, str | None] = (None, _LEFT)
    try:
        outcome = (work(), None)
    except WorkLeft:
        pass
    except Exception as error:
        failure = error
        outcome = (None, str(error) if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}")
    mesh.meet()
    outcomes = mesh.gather(outcome)
    if failure is not None:
        raise failure
    for rank, (_, problem) in enumerate(outcomes):
        if problem:
            raise CookbookError(f"{problem} (on rank {rank})")
    if any(problem == _LEFT for _, problem in outcomes):
        raise WorkLeft
    return [result for result, _ in outcomes]  # type: ignore[misc]  # those that failed have raised


def seeds_of(*whence: int, n: int) -> list[int]:
    """n seeds from these numbers (of the run, the round, the prompt; none below 0), as good as unrelated."""
    return [int(np.random.SeedSequence([*whence, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(n)]
