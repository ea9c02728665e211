"""Prompts over the ranks: everybody gets everything, in order; what fails on one fails on all."""

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.rollouts.answering import Asking, answer, together
from cookbook_lib.training.rollouts.engine import Generated
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


WANTED = [[[seed, len(prompt)] for seed in own] for prompt, own in zip(PROMPTS, SEEDS, strict=True)]


def test_one_process_answers_all_in_the_order_of_the_prompts():
    found, asked = everybody()
    assert found == WANTED
    assert asked == [9, 9, 4, 3, 1]


@pytest.mark.slow
def test_ranks_share_the_prompts_and_all_get_all():
    results = run_ranks(everybody, 2)
    assert [found for found, _ in results] == [WANTED, WANTED]
    assert [asked for _, asked in results] == [[9, 4, 1], [9, 3]]


@pytest.mark.slow
def test_more_ranks_than_prompts_and_a_failure_on_one():
    assert run_ranks(one_fails, 2) == ["CookbookError: MemoryError: no more (on rank 1)", "MemoryError: no more"]


def test_a_failure_here_is_raised_as_it_is():
    with pytest.raises(CookbookError, match="^nobody answers$"):
        together(make_mesh(device="cpu"), lambda: _refuse())


def _refuse() -> None:
    raise CookbookError("nobody answers")
