"""Requests answered together: common batches, lonely failures, a bounded queue and an end."""

import threading
from collections.abc import Iterator

import pytest

from cookbook_lib.evaluation.batching import Batcher, Unavailable


class Work:
    """Doubles numbers; waits at a gate while computing, and fails for negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.busy, self.gate = threading.Event(), threading.Event()

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.busy.set()
        assert self.gate.wait(10)
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        return [2 * number for number in numbers]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def batcher(work) -> Iterator[Batcher]:
    made = Batcher(work, weigh=abs, most=10, most_waiting=20, name="test")
    yield made
    work.gate.set()
    made.close()


def started(batcher, work, number: int = 1):
    """A request that is being computed, so that the next ones wait."""
    first = batcher.submit(number)
    assert work.busy.wait(10)
    return first


def test_what_waits_is_answered_together_up_to_the_most(batcher, work):
    futures = [started(batcher, work), *(batcher.submit(n) for n in (4, 5, 6, 3))]
    work.gate.set()
    assert [future.result(10) for future in futures] == [2, 8, 10, 12, 6]
    assert work.batches == [[1], [4, 5], [6, 3]]


def test_one_request_may_weigh_more_than_a_batch(batcher, work):
    started(batcher, work)
    heavy = batcher.submit(50)
    work.gate.set()
    assert heavy.result(10) == 100


def test_a_failure_is_its_own(batcher, work):
    started(batcher, work)
    futures = [batcher.submit(n) for n in (1, -2, 3)]
    work.gate.set()
    assert (futures[0].result(10), futures[2].result(10)) == (2, 6)
    with pytest.raises(ValueError, match="-2 is negative"):
        futures[1].result(10)
    assert work.batches == [[1], [1, -2, 3], [1], [-2], [3]]
    assert batcher.submit(4).result(10) == 8


def test_a_cancelled_request_costs_nothing(batcher, work):
    started(batcher, work)
    assert batcher.submit(2).cancel()
    last = batcher.submit(3)
    work.gate.set()
    assert last.result(10) == 6
    assert work.batches == [[1], [3]]


def test_too_many_are_turned_away_at_once(batcher, work):
    started(batcher, work)
    waiting = [batcher.submit(9), batcher.submit(9)]
    with pytest.raises(Unavailable, match="18 items wait already, at most 20 may: ask again later"):
        batcher.submit(9)
    assert waiting[0].cancel()
    assert batcher.submit(9) is not None  # one that has gone makes room


def test_closing_answers_what_is_under_way_and_fails_what_waits(batcher, work):
    first = started(batcher, work)
    waiting = batcher.submit(2)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.alive:
        pass
    work.gate.set()
    closing.join(10)
    assert first.result(10) == 2
    with pytest.raises(Unavailable, match="shut down before this was answered"):
        waiting.result(10)
    with pytest.raises(Unavailable, match="shutting down"):
        batcher.submit(1)
    batcher.close()  # twice is once
