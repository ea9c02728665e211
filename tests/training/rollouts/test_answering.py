"""Prompts over the ranks: everybody gets everything, in order; what fails on one fails on all."""

import time
from datetime import timedelta

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel import world
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.rollouts.answering import Asking, answer, dealt, together
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.stop import StopRequest, WorkLeft
from tests.ranks import run_ranks

PROMPTS = [[1] * n for n in (3, 9, 1, 4, 9)]
SEEDS = [[10 * i + j for j in range(3)] for i in range(5)]
ASKING = Asking(4, Sampling(1.0), (0,))


class Echo:
    """Answers with its seed and the prompt's length; notes which lengths it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def refresh(self, model) -> None: ...

    def generate(self, prompts, *, max_new_tokens, how, stop_ids, seeds, progress=None):
        self.asked += [len(prompt) for prompt in prompts]
        return [
            Generated(
                tuple(np.array([seed, len(prompt)], np.int32) for seed in own),
                (False,) * len(own),
                (np.zeros(2, np.float32),) * len(own),
            )
            for prompt, own in zip(prompts, seeds, strict=True)
        ]


def everybody() -> tuple[list[list[list[int]]], list[int]]:
    engine = Echo()
    made = answer(engine, make_mesh(device="cpu"), PROMPTS, SEEDS, ASKING, "answers")
    return [[ids.tolist() for ids in one.completions] for one in made], engine.asked


def one_fails() -> str:
    mesh = make_mesh(device="cpu")

    def work() -> int:
        if mesh.rank == 1:
            raise MemoryError("no more")
        return 1

    try:
        together(mesh, work)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def one_is_asked_to_stop(and_fails: bool) -> str:
    mesh = make_mesh(device="cpu")

    def work() -> int:
        if mesh.rank == 1:
            raise WorkLeft
        if and_fails:
            raise MemoryError("no more")
        return 1

    try:
        together(mesh, work)
    except Exception as error:
        return type(error).__name__
    return "nothing"


def one_takes_longer_than_a_collective_may(patience: float) -> list[int]:
    world.TIMEOUT = timedelta(seconds=patience)
    mesh = make_mesh(device="cpu")

    def work() -> int:
        time.sleep(2 * patience * mesh.rank)
        return mesh.rank

    return together(mesh, work)


WANTED = [[[seed, len(prompt)] for seed in own] for prompt, own in zip(PROMPTS, SEEDS, strict=True)]


def test_one_process_answers_all_in_the_order_of_the_prompts():
    found, asked = everybody()
    assert found == WANTED
    assert asked == [9, 9, 4, 3, 1]


@pytest.mark.slow
def test_ranks_share_the_prompts_and_all_get_all():
    results = run_ranks(everybody, 2)
    assert [found for found, _ in results] == [WANTED, WANTED]
    assert [asked for _, asked in results] == [[9, 9, 9, 4, 4, 3, 1, 1], [9, 9, 9, 4, 3, 3, 1]]


def test_prompts_are_dealt_whole_where_every_rank_has_as_many():
    assert dealt(PROMPTS[:4], SEEDS[:4], 2) == [[(1, (0, 1, 2)), (0, (0, 1, 2))], [(3, (0, 1, 2)), (2, (0, 1, 2))]]
    assert [len(hand) for hand in dealt([[1]] * 21, [[0] * 8] * 21, 2)] == [11, 10], "nearly as many will do"


@pytest.mark.parametrize(
    ("prompts", "ranks", "most", "parts"), [(96, 64, 12, 192), (96, 128, 6, 384), (8, 64, 1, 64), (3, 64, 1, 24)]
)
def test_completions_of_a_prompt_are_dealt_apart_where_ranks_would_wait(prompts, ranks, most, parts):
    hands = dealt([[1]] * prompts, [range(8)] * prompts, ranks)
    assert max(sum(len(some) for _, some in hand) for hand in hands) == most and sum(map(len, hands)) == parts
    given = sorted((i, k) for hand in hands for i, some in hand for k in some)
    assert given == [(i, k) for i in range(prompts) for k in range(8)]


@pytest.mark.slow
def test_more_ranks_than_prompts_and_a_failure_on_one():
    assert run_ranks(one_fails, 2) == ["CookbookError: MemoryError: no more (on rank 1)", "MemoryError: no more"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "raised"), [(False, ["WorkLeft", "WorkLeft"]), (True, ["MemoryError", "CookbookError"])]
)
def test_a_stop_on_one_leaves_the_work_of_all_and_a_failure_comes_first(fails, raised):
    assert run_ranks(one_is_asked_to_stop, 2, fails) == raised


@pytest.mark.slow
def test_ranks_wait_for_one_another_however_long():
    assert run_ranks(one_takes_longer_than_a_collective_may, 2, 2.0) == [[0, 1], [0, 1]]


def test_who_answers_is_asked_to_stop_between_two_tokens():
    class Endless(Echo):
        def generate(self, prompts, *, progress, **_):
            while True:
                progress(0)
                loop.request()

    with StopRequest() as loop, pytest.raises(WorkLeft):
        answer(Endless(), make_mesh(device="cpu"), PROMPTS, SEEDS, ASKING, "answers")


def test_a_failure_here_is_raised_as_it_is():
    with pytest.raises(CookbookError, match="^nobody answers$"):
        together(make_mesh(device="cpu"), lambda: _refuse())


def _refuse() -> None:
    raise CookbookError("nobody answers")
