"""The client of OpenAI-compatible servers: against one made up here, and against transformers' own."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.chat import LocalChatModel
from cookbook_lib.evaluation.openai_chat import OpenAIChatModel, Reply


class Fake(ThreadingHTTPServer):
    """Answers with the last message in capitals; `script` are (status, headers, body) to give instead, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict] = []
        self.headers: list[dict] = []
        self.script: list[tuple[int, dict, bytes]] = []
        self.most, self.now, self.lock = 0, 0, threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            self.server.seen.append(body | {"path": self.path})
            self.server.headers.append(dict(self.headers))
            planned = self.server.script.pop(0) if self.server.script else None
        time.sleep(0.02)
        text = body["messages"][-1]["content"].upper()
        usual = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        status, headers, payload = planned or (200, {}, usual)
        with self.server.lock:
            self.server.now -= 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(fake, monkeypatch) -> Iterator[OpenAIChatModel]:
    monkeypatch.setattr("cookbook_lib.evaluation.openai_chat.LONGEST_PAUSE_S", 0.01)
    with OpenAIChatModel(fake.url, "judge", api_key="key", max_new_tokens=7) as made:
        yield made


def says(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_a_question_on_the_wire(model, fake):
    assert asyncio.run(model.acomplete(says("hi"))) == "HI"
    assert fake.seen == [
        {"path": "/v1/chat/completions", "model": "judge", "messages": says("hi"), "max_tokens": 7, "temperature": 0.0}
    ]
    assert fake.headers[0]["Authorization"] == "Bearer key"


def test_options_and_what_the_loss_knows_of_messages(model, fake):
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"x": 1}}}
    messages = [
        *says("a"),
        {"role": "assistant", "content": None, "tool_calls": [call], "weight": 0.5, "train": True},
        {"role": "tool", "content": "b", "tool_call_id": "1"},
    ]
    assert model.complete(messages, temperature=0.7, seed=5, max_new_tokens=9, thinking=False) == "B"
    (seen,) = fake.seen
    assert (seen["temperature"], seen["seed"], seen["max_tokens"]) == (0.7, 5, 9)
    assert seen["chat_template_kwargs"] == {"enable_thinking": False}
    assert seen["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert not {"weight", "train"} & set(seen["messages"][1])


def test_many_at_once_each_get_their_own_and_no_more_than_allowed(fake):
    async def everyone(model) -> list[str]:
        return await asyncio.gather(*(model.acomplete(says(f"number {i}")) for i in range(40)))

    with OpenAIChatModel(f"{fake.url}/v1/", concurrency=5, temperature=1.0, seed=100) as model:
        assert asyncio.run(everyone(model)) == [f"NUMBER {i}" for i in range(40)]
        assert model.complete(says("in another loop")) == "IN ANOTHER LOOP"
    assert 1 < fake.most <= 5
    seeds = {body["messages"][0]["content"]: body["seed"] for body in fake.seen}
    assert [seeds[f"number {i}"] for i in range(40)] == list(range(100, 140))


def test_a_busy_server_is_asked_again(model, fake):
    fake.script += [(503, {"Retry-After": "1"}, b"{}"), (429, {}, b"slow down")]
    assert model.complete(says("hi")) == "HI"
    assert len(fake.seen) == 3
    fake.script += [(503, {}, b'{"error": {"message": "loading."}}')] * 3
    with pytest.raises(CookbookError, match=r"/v1/chat/completions answered 503: loading\.$"):
        model.complete(says("hi"))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"error": {"message": "too long", "code": 400}}', "answered 400: too long."),
        (422, b'{"detail": "no such model"}', "answered 422: no such model."),
        (500, b"<html>oops</html>", "answered 500: <html>oops</html>."),
        (404, b"", "answered 404: Not Found."),
        (200, b"<html>", "answered no JSON"),
        (200, b"[]", "without choices[0].message"),
        (200, b'{"choices": [{"message": {"content": null, "tool_calls": [{}]}}]}', "answered with a tool call"),
        (200, b'{"choices": [{"message": {"content": [{"text": "hi"}]}}]}', "answered with no text"),
    ],
)
def test_what_goes_wrong_is_said_once(model, fake, status, body, said):
    fake.script += [(status, {}, body)]
    with pytest.raises(CookbookError, match=re.escape(said)):
        model.complete(says("hi"))
    assert len(fake.seen) == 1


@pytest.mark.parametrize(("reason", "finished"), [("length", False), ("stop", True)])
def test_nothing_after_the_reasoning_is_an_empty_answer(model, fake, reason, finished):
    """`vllm serve --reasoning-parser` has the reasoning beside the content, which is null where nothing follows."""
    message = {"role": "assistant", "content": None, "reasoning_content": "Well, ...", "tool_calls": []}
    body = json.dumps({"choices": [{"message": message, "finish_reason": reason}]}).encode()
    fake.script += [(200, {}, body)]
    assert model.submit(says("hi")).result() == Reply("", finished)


def test_what_is_refused_before_it_is_sent(model, fake):
    for messages, said in (
        ([], "messages"),
        ([{"role": "robot", "content": "?"}], "'robot'"),
        ([{"role": "assistant", "content": "I begin"}], "a model answers a user"),
    ):
        with pytest.raises(CookbookError, match=said):
            asyncio.run(model.acomplete(messages))
    assert fake.seen == []
    with pytest.raises(CookbookError, match="give the server's address"):
        OpenAIChatModel("localhost:8000")


def test_nobody_there_and_closed():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    model = OpenAIChatModel(f"http://127.0.0.1:{port}", retries=0)
    with pytest.raises(CookbookError, match="gave no answer .*: is the server running there"):
        model.complete(says("hi"))
    model.close()
    with pytest.raises(CookbookError, match="is closed: make a new one"):
        model.complete(says("hi"))


# ------------------------------------------------------------------------------------------------- transformers serve


@pytest.fixture
def served(checkpoint: Path, tmp_path: Path) -> Iterator[str]:
    """`transformers serve FOLDER`, as docs/how-to/serve.md has it."""
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("transformers serve needs fastapi, uvicorn and openai: pip install -e '.[serve]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", checkpoint, "--host", "127.0.0.1", "--port"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*map(str, command), str(port)], stdout=log, stderr=log, env=environment)
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}", process, tmp_path / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_transformers_serve_says_what_the_local_model_says(served, checkpoint):
    questions = [says(f"What is the colour of the {thing}?") for thing in ("box", "door", "lamp", "cup")]
    with LocalChatModel(checkpoint, max_new_tokens=16) as local:
        expected = [local.complete(question) for question in questions]

    async def everyone(model) -> list[str]:
        return await asyncio.gather(*(model.acomplete(question) for question in questions))

    with OpenAIChatModel(served, str(checkpoint), max_new_tokens=16, thinking=False) as model:
        assert asyncio.run(everyone(model)) == expected
    with OpenAIChatModel(served, "another", retries=0) as model, pytest.raises(CookbookError, match="answered 400"):
        model.complete(questions[0])
