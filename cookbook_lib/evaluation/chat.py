"""A local checkpoint as a chat model: `await model.acomplete(messages)`, from as many tasks at once as you like.

    task ──┐                        ┌── one thread ────────────────────────────┐
    task ──┼──▶ waiting requests ──▶ │ all that wait, up to batch_size ▶ answers │ ──▶ each task gets its own
    task ──┘                        └──────────────────────────────────────────┘

The thread owns model and tokenizer, so nothing is shared; the event loop stays free, JupyterLab's running one included.
A request that cannot be answered fails alone. A task that is cancelled before its turn costs nothing.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cookbook_lib.config import CookbookError
from cookbook_lib.data.prompt import prompt_ids, stop_ids
from cookbook_lib.data.written import texts_of
from cookbook_lib.evaluation.checkpoints import open_checkpoint
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.models.generate import generate
from cookbook_lib.models.loading import load_tokenizer

Message = dict[str, Any]


@dataclass
class _Request:
    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] | None
    options: tuple[int, float]  # max_new_tokens, temperature: only equals are generated together
    seed: int
    thinking: bool
    answer: "Future[str]" = field(default_factory=Future)


class LocalChatModel:
    """Answers conversations with the model in a folder.

    Give `max_new_tokens`, `temperature` and `thinking` (see `prompt_ids`) for all requests here, or for one in its call.
    When it samples, the n-th request draws with `seed` + n, so that a run repeats and equal questions get different
    answers. Closing (or leaving the `with` block) answers what is under way and fails what still waits. Raises
    CookbookError when the folder holds no chat model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        thinking: bool = False,
        seed: int = 0,
        batch_size: int = 16,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        folder = open_checkpoint(path).folder
        self.folder, self.batch_size = folder, batch_size
        self.max_new_tokens, self.temperature, self.thinking = max_new_tokens, temperature, thinking
        self._seeds = count(seed)
        self._tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        self._stops = stop_ids(self._tokenizer)
        self._model = open_model(folder, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._held: list[_Request] = []  # taken from the queue, not yet answered
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._work, name=f"chat {folder.name}", daemon=True)
        self._thread.start()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def acomplete(self, messages: Sequence[Message], **options: Any) -> str:
        """The assistant's answer to `messages` ({role, content}, the last one not the assistant's).

        options: tools, max_new_tokens, temperature, thinking, seed. Raises CookbookError for messages that cannot be answered.
        """
        return await asyncio.wrap_future(self._submit(messages, **options))

    def complete(self, messages: Sequence[Message], **options: Any) -> str:
        """The same, waiting for it; in a notebook too."""
        return self._submit(messages, **options).result()

    def close(self) -> None:
        """End the thread. Requests made from now on, and those still waiting, raise CookbookError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        thinking: bool | None = None,
        seed: int | None = None,
    ) -> "Future[str]":
        tokens = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        heat = self.temperature if temperature is None else temperature
        with self._lock:
            own_seed = next(self._seeds) if seed is None else seed
            thinks = self.thinking if thinking is None else thinking
            request = _Request(messages, tools, (tokens, heat), own_seed, thinks)
            if self._closed:
                raise CookbookError(f"the chat model over {self.folder} is closed: make a new one.")
            self._waiting.put(request)
        return request.answer

    # -- answering, in the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._answer(batch)
        error = CookbookError(f"the chat model over {self.folder} was closed before this was answered.")
        for request in self._held:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(error)

    def _next_batch(self) -> list[_Request] | None:
        """The oldest request and those waiting that can share its batch; None when closed."""
        while True:
            try:
                request = self._waiting.get(block=not self._held)
            except queue.Empty:
                break
            if request is None:
                return None
            self._held.append(request)
        options = self._held[0].options
        batch = [request for request in self._held if request.options == options][: self.batch_size]
        self._held = [request for request in self._held if all(request is not taken for taken in batch)]
        return batch

    def _answer(self, batch: list[_Request]) -> None:
        ready = []
        for request in batch:
            if request.answer.set_running_or_notify_cancel() and (ids := self._prompt(request)) is not None:
                ready.append((request, ids))
        try:
            texts = self._generate(ready)
        except Exception as error:
            self._fail(ready, error)
            return
        for (request, _), text in zip(ready, texts, strict=True):
            request.answer.set_result(text)

    def _prompt(self, request: _Request) -> list[int] | None:
        """Token ids, or None when the request has failed for its messages."""
        try:
            return prompt_ids(request.messages, self._tokenizer, request.tools, thinking=request.thinking)
        except Exception as error:
            request.answer.set_exception(error)
            return None

    def _generate(self, ready: list[tuple[_Request, list[int]]]) -> list[str]:
        if not ready:
            return []
        max_new_tokens, temperature = ready[0][0].options
        completions = generate(
            self._model,
            [ids for _, ids in ready],
            stop_ids=self._stops,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=[request.seed for request, _ in ready],
            batch_size=self.batch_size,
        )
        return texts_of(self._tokenizer, (completion.ids for completion in completions))

    def _fail(self, ready: list[tuple[_Request, list[int]]], error: Exception) -> None:
        """One of several failed the batch: ask each alone, so that the others are answered."""
        if len(ready) == 1:
            ready[0][0].answer.set_exception(error)
            return
        for request, ids in ready:
            try:
                request.answer.set_result(self._generate([(request, ids)])[0])
            except Exception as own:
                request.answer.set_exception(own)
