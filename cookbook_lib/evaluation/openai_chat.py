"""A chat model behind an OpenAI-compatible server, called as LocalChatModel is: `await model.acomplete(messages)`.

    transformers serve checkpoints/sft-final        POST /v1/chat/completions {model, messages, max_tokens, temperature, ...}
    vllm serve, sglang, a hosted API                -> choices[0].message.content

Only the standard library: a small pool of threads makes the requests, so that the model belongs to no event loop and works in
JupyterLab's running one. The server does the batching; `concurrency` bounds how many requests it gets at once.
"""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from itertools import count
from types import TracebackType
from typing import Any, Self

from cookbook_lib.config import CookbookError
from cookbook_lib.data import messages as schema
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.rendering import for_template
from cookbook_lib.data.spellings import normalise

Message = dict[str, Any]
BUSY = {429, 502, 503, 504}
REFUSED = {400, 413, 422}
LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Reply:
    """What came back; `finished` False when the server cut it at max_tokens. Cut while thinking, the text may be empty."""

    text: str
    finished: bool


class RequestRefused(CookbookError):
    """The server took offence at this one request, too long a prompt for one; others may pass."""


class OpenAIChatModel:
    """Answers conversations with the model of a server.

    base_url: http://localhost:8000, with or without /v1. model: its name there; None lets the server choose, where it can.
    max_new_tokens, temperature, thinking as LocalChatModel's; thinking None leaves it to the server, True and False are sent
    as `chat_template_kwargs.enable_thinking`, which hosted APIs do not know. When it samples, the n-th request has the seed
    `seed` + n. A busy or unreachable server is asked again, `retries` times. Raises CookbookError for everything else.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        thinking: bool | None = None,
        seed: int = 0,
        concurrency: int = 16,
        timeout_s: float = 600.0,
        retries: int = 2,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise CookbookError(f"base_url is {base_url!r}: give the server's address, http://localhost:8000 for one.")
        root = base_url.rstrip("/")
        self.url = (root if root.endswith("/v1") else f"{root}/v1") + "/chat/completions"
        self.model, self._key = model, api_key
        self.max_new_tokens, self.temperature, self.thinking = max_new_tokens, temperature, thinking
        self.timeout_s, self.retries = timeout_s, retries
        self._seeds = count(seed)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="openai chat")

    async def acomplete(self, messages: Sequence[Message], **options: Any) -> str:
        """The assistant's answer to `messages` ({role, content}, the last one not the assistant's); empty if it said nothing.

        options: tools, max_new_tokens, temperature, thinking, seed.
        """
        return (await asyncio.wrap_future(self.submit(messages, **options))).text

    def complete(self, messages: Sequence[Message], **options: Any) -> str:
        """The same, waiting for it; in a notebook too."""
        return self.submit(messages, **options).result().text

    def close(self) -> None:
        """Wait for what is under way, fail what has not begun."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        thinking: bool | None = None,
        seed: int | None = None,
    ) -> "Future[Reply]":
        """The same again, without waiting: the future's result is a Reply, or the error is raised there."""
        heat = self.temperature if temperature is None else temperature
        thinks = self.thinking if thinking is None else thinking
        drawn = next(self._seeds)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _prompt(messages),
            "tools": list(tools) if tools else None,
            "max_tokens": self.max_new_tokens if max_new_tokens is None else max_new_tokens,
            "temperature": heat,
            "seed": (drawn if seed is None else seed) if heat else None,
            "chat_template_kwargs": None if thinks is None else {"enable_thinking": thinks},
        }
        given = {name: value for name, value in body.items() if value is not None}
        try:
            return self._pool.submit(self._ask, given)
        except RuntimeError as error:
            raise CookbookError(f"the chat model at {self.url} is closed: make a new one.") from error

    # -- asking, in a thread of the pool -----------------------------------------------------------------------------

    def _ask(self, body: dict[str, Any]) -> Reply:
        for left in range(self.retries, -1, -1):
            pause = min(0.5 * 2.0 ** (self.retries - left), LONGEST_PAUSE_S)
            try:
                return self._answer(self._post(body))
            except urllib.error.HTTPError as error:
                if error.code not in BUSY or not left:
                    kind = RequestRefused if error.code in REFUSED else CookbookError
                    raise kind(f"{self.url} answered {error.code}: {_told(error)}.") from error
                pause = _asked_pause(error) or pause
            except (OSError, HTTPException) as error:
                if not left:
                    reason = getattr(error, "reason", None) or error or type(error).__name__
                    raise CookbookError(
                        f"{self.url} gave no answer ({reason}): is the server running there?"
                    ) from error
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
            text = response.read()
        try:
            return json.loads(text)
        except ValueError:
            raise CookbookError(
                f"{self.url} answered no JSON ({text[:80]!r}): is it an OpenAI-compatible server?"
            ) from None

    def _answer(self, response: Any) -> Reply:
        try:
            choice = response["choices"][0]
            message, ended = choice["message"], choice.get("finish_reason")
            content, calls = message.get("content"), message.get("tool_calls")
        except (LookupError, TypeError, AttributeError):
            found = json.dumps(response)[:80]
            raise CookbookError(
                f"{self.url} answered {found}, without choices[0].message: is it such a server?"
            ) from None
        if content is None and not calls:  # where a server takes the reasoning out of the text: nothing came after it
            content = ""
        if isinstance(content, str):
            return Reply(content, ended != "length")
        what = "a tool call" if calls else "no text"
        raise RequestRefused(f"{self.url} answered with {what}: ask without tools, or read the calls yourself.")


def _prompt(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as OpenAI's format has them. Raises RowError for what LocalChatModel would refuse, too."""
    given = normalise(messages)
    schema.check(given)
    if given[-1]["role"] == "assistant":
        place = f"messages[{len(given) - 1}].role"
        refuse(place, "assistant", "a model answers a user or a tool", "leave the answer out")
    return for_template(given, arguments_as_text=True)


def _told(error: urllib.error.HTTPError) -> str:
    """What the server says of its refusal, in any of the forms that are in use."""
    text = error.read().decode("utf-8", "replace")
    try:
        found = json.loads(text)
        found = found.get("error") or found.get("detail") or found.get("message") or found
        found = found.get("message", found) if isinstance(found, dict) else found
    except (ValueError, AttributeError):
        found = text
    return str(found).strip().rstrip(".")[:500] or error.reason


def _asked_pause(error: urllib.error.HTTPError) -> float | None:
    """Seconds of the header Retry-After, where it has seconds."""
    given = (error.headers.get("Retry-After") or "").strip()
    return min(float(given), LONGEST_PAUSE_S) if given.isdecimal() else None
