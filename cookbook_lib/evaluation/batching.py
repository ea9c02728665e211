"""Requests of many threads or tasks, answered together by one thread that owns what answers.

    task ──┐                       ┌── one thread ──────────────────────────┐
    task ──┼──▶ waiting requests ──▶ │ all that wait, up to `most` ▶ answers │ ──▶ each task gets its own
    task ──┘                       └────────────────────────────────────────┘

While one batch is computed the next one gathers: alone, a request waits for nobody; under load, batches grow by themselves.
A request that is cancelled before its turn costs nothing. When a batch fails, each of its requests is tried alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cookbook_lib.config import CookbookError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Unavailable(CookbookError):
    """Too many wait already, or nobody answers any more: ask again later."""


@dataclass
class _Request(Generic[Asked, Answer]):
    asked: Asked
    weight: int
    answer: "Future[Answer]" = field(default_factory=Future)


class Batcher(Generic[Asked, Answer]):
    """answer(requests) -> an answer for each, called in the thread `name`. weigh: what a request counts against `most` (of
    one batch, a single request may count more) and `most_waiting` (of those that wait)."""

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer]],
        *,
        weigh: Callable[[Asked], int],
        most: int,
        most_waiting: int,
        name: str,
    ) -> None:
        self._answer, self._weigh, self.most, self.most_waiting = answer, weigh, most, most_waiting
        self._waiting: deque[_Request[Asked, Answer]] = deque()
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._closed

    def submit(self, asked: Asked) -> "Future[Answer]":
        """Raises Unavailable, at once, when too many wait or after `close`."""
        request: _Request[Asked, Answer] = _Request(asked, self._weigh(asked))
        with self._changed:
            if self._closed:
                raise Unavailable("the server is shutting down: ask another one.")
            waiting = sum(other.weight for other in self._waiting if not other.answer.cancelled())
            if self._waiting and waiting + request.weight > self.most_waiting:
                raise Unavailable(
                    f"{waiting:,} items wait already, at most {self.most_waiting:,} may: ask again later."
                )
            self._waiting.append(request)
            self._changed.notify()
        return request.answer

    def close(self) -> None:
        """Answer what is under way, fail what waits, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._settle(batch)
        for request in self._waiting:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(Unavailable("the server was shut down before this was answered."))

    def _take(self) -> list[_Request[Asked, Answer]] | None:
        """The oldest requests, as many as one batch may hold; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            batch: list[_Request[Asked, Answer]] = []
            room = self.most
            while self._waiting and (self._waiting[0].weight <= room or not batch):
                request = self._waiting.popleft()
                if request.answer.set_running_or_notify_cancel():
                    batch.append(request)
                    room -= request.weight
            return batch

    def _settle(self, batch: Sequence[_Request[Asked, Answer]]) -> None:
        try:
            answers = self._answer([request.asked for request in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for request in batch:
                self._settle([request])
            return
        for request, answer in zip(batch, answers, strict=True):
            request.answer.set_result(answer)
