"""The scoring server's application: requests in, one batcher over one model, responses out.

    POST /classify, /pooling, /score (and under /v1)     wire.py
    GET  /health, /v1/models

A request is refused as a whole, with a status of 400 and the name of its first bad item; the requests that it was computed
with are not touched by it. Every response carries an X-Request-Id: the client's own, or a new one.
"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import shown
from cookbook_lib.evaluation import wire
from cookbook_lib.evaluation.batching import Batcher, Unavailable
from cookbook_lib.evaluation.score_model import Conversation, Scored, ScoringModel
from cookbook_lib.evaluation.wire import Asked, Refused

Found = list[Scored | CookbookError]
Write = Callable[[Asked, Sequence[Scored]], list[dict[str, Any]]]
LOOK_S = 1.0  # how often a request that waits looks whether its client is still there
CLIENT_GONE = 499  # what proxies log for it; nobody reads the response
NAME = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the server, and all of them together."""

    conversations: int = 512  # of one request
    body_bytes: int = 16 << 20
    waiting: int = 8192  # conversations of all requests that wait
    batch: int = 512  # conversations computed together


class ScoreService:
    """A model behind a batcher. `names`: what clients may call it, the first being its own."""

    def __init__(self, model: ScoringModel, names: Sequence[str], limits: Limits) -> None:
        self.model, self.names, self.limits = model, list(names), limits
        self.batcher: Batcher[Sequence[Conversation], Found] = Batcher(
            self._attempt, weigh=len, most=limits.batch, most_waiting=limits.waiting, name=f"score {self.names[0]}"
        )

    def _attempt(self, requests: Sequence[Sequence[Conversation]]) -> list[Found]:
        found = iter(self.model.attempt([conversation for request in requests for conversation in request]))
        return [[next(found) for _ in request] for request in requests]

    async def answer(self, request: Request, kind: str, read: Callable[[Any], Asked], write: Write) -> Response:
        """The response to a POST. Raises Refused, Unavailable, ClientDisconnect."""
        body = await self._body(request)
        asked = read(body)
        self._check(body, asked)
        found = await _unless_gone(request, self.batcher.submit(asked.conversations))
        for place, one in zip(asked.places, found, strict=True):
            if isinstance(one, CookbookError):
                raise Refused(f"{place}: {one}", param=place)
        whole = [one for one in found if isinstance(one, Scored)]
        data, tokens = write(asked, whole), sum(one.tokens for one in whole)
        return _json(wire.envelope(kind, request.state.request_id, self.names[0], data, tokens))

    async def _body(self, request: Request) -> Any:
        text = await _bounded(request, self.limits.body_bytes)
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refused(f"the body is no JSON ({error or 'nested too deeply'}): send a JSON object.") from None

    def _check(self, body: Any, asked: Asked) -> None:
        name, count, most = body.get("model"), len(asked.conversations), self.limits.conversations
        if name is not None and name not in self.names:
            raise Refused(
                f"model is {shown(name)}, but this server has {self.names[0]!r}; leave it out, or give that.",
                status=404,
                param="model",
            )
        if count > most:
            place = asked.places[0].partition("[")[0]
            raise Refused(
                f"{place} has {count:,} items, but a request may have {most:,}; send several requests, they are computed together.",
                param=place,
            )

    def models(self) -> dict[str, Any]:
        """As OpenAI's GET /v1/models."""
        told = {"object": "model", "created": 0, "owned_by": "reward-model-cookbook", "root": str(self.model.folder)}
        own = {"max_model_len": self.model.longest, "attributes": list(self.model.head.attributes)}
        return {"object": "list", "data": [{"id": self.names[0], **told, **own, "notes": self.model.notes}]}


def build_app(model: ScoringModel, names: Sequence[str], limits: Limits | None = None) -> FastAPI:
    """The application; its shutdown ends the batcher."""
    service = ScoreService(model, names, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close)

    app = FastAPI(title="reward model", lifespan=lifespan)
    app.state.service = service
    app.add_middleware(RequestIds)
    _add_errors(app)
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: ScoreService) -> None:
    head, kind, conversation = service.model.head, service.model.problem_type, wire.SINGLE_TURN

    def post(path: str, name: str, read: Callable[[Any], Asked], write: Write, example: dict[str, Any]) -> None:
        async def answer(request: Request) -> Response:
            return await service.answer(request, name, read, write)

        described = {"requestBody": {"content": {"application/json": {"example": example}}}}
        for place in (path, f"/v1{path}"):
            app.add_api_route(place, answer, methods=["POST"], openapi_extra=described, name=name)

    def classified(asked: Asked, found: Sequence[Scored]) -> list[dict[str, Any]]:
        return wire.classify_response(wire.outputs(asked, found, head, kind), head.labels)

    def pooled(asked: Asked, found: Sequence[Scored]) -> list[dict[str, Any]]:
        return wire.pooling_response(wire.outputs(asked, found, head, kind))

    def scored(asked: Asked, found: Sequence[Scored]) -> list[dict[str, Any]]:
        return wire.score_response([service.model.single(one) for one in found], found)

    post("/classify", "classify", wire.read_inputs, classified, {"messages": conversation, "use_activation": False})
    post("/pooling", "pool", wire.read_inputs, pooled, {"messages": conversation, "use_activation": False})
    post("/score", "score", wire.read_scores, scored, {"messages": [conversation]})

    @app.get("/health")
    def health() -> Response:
        alive = service.batcher.alive
        return _json({"status": "ok" if alive else "shutting down"}, 200 if alive else 503)

    @app.get("/v1/models")
    def models() -> Response:
        return _json(service.models())


def _add_errors(app: FastAPI) -> None:
    """Every failure in the one form."""

    async def refused(_: Request, error: Any) -> Response:
        return _json(wire.problem(str(error), error.status, error.param), error.status)

    async def unavailable(_: Request, error: Exception) -> Response:
        return _json(wire.problem(str(error), 503), 503, {"Retry-After": "1"})

    async def gone(_: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    async def http(request: Request, error: Any) -> Response:
        said = f"{request.method} {request.url.path}: {error.detail}; see GET /docs."
        return _json(wire.problem(said, error.status_code), error.status_code, error.headers)

    async def unforeseen(_: Request, error: Exception) -> Response:
        said = f"the model failed ({type(error).__name__}): the server's log says more."
        return _json(wire.problem(said, 500), 500)

    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        Refused: refused, Unavailable: unavailable, ClientDisconnect: gone, HTTPException: http, Exception: unforeseen,
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


class RequestIds:
    """ASGI middleware: request.state.request_id, and the header X-Request-Id of the response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = given if NAME.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            await send(message)

        await self.app(scope, receive, named)


async def _bounded(request: Request, most: int) -> bytes:
    """The body. One that is too large is read on for a while, unkept, so that its sender reads why it is refused."""
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            kept += chunk
        elif size > 4 * most:
            break
    if size > most:
        raise Refused(f"the body has more than {most:,} bytes: send several requests.", status=413)
    return bytes(kept)


async def _unless_gone(request: Request, future: "Future[Found]") -> Found:
    """The result, or the end of it when the client has gone."""
    waiting = asyncio.wrap_future(future)
    while not (await asyncio.wait({waiting}, timeout=LOOK_S))[0]:
        if await request.is_disconnected():
            waiting.cancel()
            raise ClientDisconnect
    return waiting.result()


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """ASCII, so that a text with half a character, quoted in an error, can be sent."""
    return Response(json.dumps(content), status, headers, media_type="application/json")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
