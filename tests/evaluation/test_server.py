"""The scoring server as a process on a real port: many clients at once, bad ones among them, and its end."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cookbook_lib.evaluation.score_model import ScoringModel
from tests.evaluation.reward_folders import mixed_conversations

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

MODULE = [sys.executable, "-m", "cookbook_lib.evaluation.server"]
CLOSE = dict(rel=0, abs=1e-5)


class Server:
    """A server process and where it listens."""

    def __init__(self, *arguments: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [*MODULE, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", self.said)
        assert found, self.said + self.end()[1]
        self.host, self.port = found[1], int(found[2])
        self.url = f"http://{self.host}:{self.port}"

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """(exit status, everything on stderr)"""
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error


@pytest.fixture(scope="module")
def server(reward_folder, home) -> Iterator[Server]:
    made = Server(
        "--model", str(reward_folder), "--served-model-name", "tiny-reward", "--max-conversations", "64",
        "--max-body-mb", "1", "--max-tokens", "4096", home=home,
    )  # fmt: skip
    yield made
    status, error = made.end()
    assert status == 0
    assert error == "", "the server met an exception that it did not foresee"


@pytest.fixture(scope="module")
def client(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def model(reward_folder) -> ScoringModel:
    return ScoringModel(reward_folder)


def error_of(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    error: dict = response.json()["error"]
    assert error["code"] == status
    return error


def test_score_of_conversations(client, model):
    conversations = mixed_conversations(10)
    response = client.post("/v1/score", json={"model": "tiny-reward", "messages": conversations})
    body = response.json()
    assert [item["score"] for item in body["data"]] == pytest.approx(model.score(conversations), **CLOSE)
    assert body["data"][3]["scores"] == {"score": body["data"][3]["score"]}
    assert [(item["index"], item["object"]) for item in body["data"]] == [(i, "score") for i in range(10)]
    assert body["usage"]["prompt_tokens"] == sum(found.tokens for found in model.attempt(conversations))
    assert (body["object"], body["model"]) == ("list", "tiny-reward")
    assert body["id"] == "score-" + response.headers["x-request-id"]


def test_one_prompt_and_its_answers_as_vllms_clients_send_them(client, model):
    answers = ["The box is teal.", "Red.", "box " * 20]
    expected = model.score(
        [[{"role": "user", "content": "What?"}, {"role": "assistant", "content": a}] for a in answers]
    )
    for first, second in (("text_1", "text_2"), ("queries", "documents")):
        body = client.post("/score", json={first: "What?", second: answers, "use_activation": False}).json()
        assert [item["score"] for item in body["data"]] == pytest.approx(expected, **CLOSE)
    body = client.post("/score", json={"text_1": ["What?"] * 3, "text_2": answers}).json()
    assert [item["score"] for item in body["data"]] == pytest.approx(expected, **CLOSE)


def test_classify_and_pooling_as_vllms_clients_send_them(client, model, reward_folder):
    from transformers import AutoTokenizer

    conversations = mixed_conversations(4)
    tokenizer = AutoTokenizer.from_pretrained(reward_folder)
    texts = [tokenizer.apply_chat_template(one, tokenize=False) for one in conversations]
    ids = [tokenizer.apply_chat_template(one, return_dict=True)["input_ids"] for one in conversations]
    expected = model.score(conversations)
    for given in (texts, ids):
        body = client.post("/classify", json={"input": given, "use_activation": False}).json()
        assert [item["probs"][-1] for item in body["data"]] == pytest.approx(expected, **CLOSE)
        assert [(item["label"], item["num_classes"]) for item in body["data"]] == [("score", 1)] * 4
        body = client.post("/pooling", json={"input": given, "activation": False, "encoding_format": "float"}).json()
        assert [item["data"][0] for item in body["data"]] == pytest.approx(expected, **CLOSE)
    (item,) = client.post("/v1/classify", json={"messages": conversations[0]}).json()["data"]
    assert item["probs"] == [pytest.approx(expected[0], abs=1e-5)], (
        "config.json calls a score a regression: left as it is"
    )
    (item,) = client.post("/classify", json={"input": texts[0], "use_activation": False}).json()["data"]
    assert item["probs"] == [pytest.approx(expected[0], abs=1e-5)]


def test_fifty_clients_at_once_each_get_their_own(server, client, model):
    """Bad requests among them; batches are common, failures are not."""
    conversations = mixed_conversations(200, seed=3, longest=40)
    expected = model.score(conversations)
    bad = {"messages": [*conversations[:2], [{"role": "robot", "content": "?"}]]}

    async def everyone() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as http:
            good = [http.post("/score", json={"messages": conversations[4 * i : 4 * i + 4]}) for i in range(50)]
            wrong = [http.post("/score", json=bad) for _ in range(5)]
            return await asyncio.gather(*good, *wrong)

    found = asyncio.run(everyone())
    for i, response in enumerate(found[:50]):
        scores = [item["score"] for item in response.json()["data"]]
        assert scores == pytest.approx(expected[4 * i : 4 * i + 4], **CLOSE)
    assert len({response.headers["x-request-id"] for response in found}) == 55
    for response in found[50:]:
        error = error_of(response, 400)
        assert error["param"] == "messages[2]"
        assert "messages[2]: messages[0].role is 'robot', but a role is one of" in error["message"]


ASK = [{"role": "user", "content": "What?"}]
WHOLE = [*ASK, {"role": "assistant", "content": "That."}]
REFUSED = {
    "no object": ([], "body is [], but a request is a JSON object"),
    "nothing to score": ({}, "messages, or text_1"),
    "both": ({"messages": WHOLE, "text_1": "a", "text_2": "b"}, "give one or the other"),
    "half a pair": ({"text_1": "a"}, "give one or the other"),
    "unknown field": ({"messages": WHOLE, "temperature": 1}, "temperature is 1, but this server reads messages"),
    "truncation": ({"messages": WHOLE, "truncate_prompt_tokens": 9}, "truncate_prompt_tokens is 9, but"),
    "unequal": (
        {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]},
        "text_1 is '2 texts', but text_1 has one text for all",
    ),
    "empty list": ({"text_1": "a", "text_2": []}, "text_2 is [], but it is a text or a list of texts"),
    "no answer": (
        {"messages": ASK},
        "messages: messages[0].role is 'user', but what is scored is the assistant's answer",
    ),
    "no message": ({"messages": [WHOLE, []]}, "messages[1]: "),
    "no conversation": ({"messages": [WHOLE, "x"]}, "messages[1] is 'x', but the first is a list of messages"),
    "half a character": ({"messages": [*ASK, {"role": "assistant", "content": "\ud83d"}]}, "surrogate"),
    "activation": ({"messages": WHOLE, "use_activation": True}, "/score gives the reward itself"),
    "no boolean": ({"messages": WHOLE, "use_activation": "no"}, "use_activation is 'no', but it is true or false"),
    "too many": ({"messages": [WHOLE] * 65}, "messages has 65 items, but a request may have 64"),
    "too long": ({"text_1": "a", "text_2": ["b", "word " * 9000]}, "text_2[1]: it has "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_told_what_and_where(client, name):
    body, said = REFUSED[name]
    response = client.post("/score", content=json.dumps(body), headers={"content-type": "application/json"})
    error = error_of(response, 400)
    assert said in error["message"]
    assert error["type"] == "BadRequestError"
    if name == "too long":
        assert error["param"] == "text_2[1]"
        assert re.search(r"it has [\d,]+ tokens, and 1 to 4,096 can be scored; shorten it", error["message"])


def test_inputs_that_are_neither_text_nor_tokens(client):
    for value in ([], [["a"]], [1, "a"], [[1], [True]], {"a": 1}, 7, [[]]):
        assert "input" in error_of(client.post("/classify", json={"input": value}), 400)["param"]
    assert "has token 99999" in error_of(client.post("/classify", json={"input": [[1, 2], [99999]]}), 400)["message"]
    assert "1 to 4,096" in error_of(client.post("/classify", json={"input": ""}), 400)["message"]


BROKEN = {
    "empty": b"",
    "cut": b"{",
    "no text": b"\xff\xfe",
    "NaN": b'{"messages": NaN}',
    "deep": b"[" * 200_000,
    "digits": b'{"a": 1' + b"0" * 9000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_json(client, name):
    body = BROKEN[name]
    assert "the body is no JSON" in error_of(client.post("/score", content=body), 400)["message"]


def test_other_failures_have_the_same_form(client):
    error = error_of(client.post("/score", json={"model": "gpt", "messages": WHOLE}), 404)
    assert error["message"] == "model is 'gpt', but this server has 'tiny-reward'; leave it out, or give that."
    assert "Not Found" in error_of(client.get("/nowhere"), 404)["message"]
    assert "Method Not Allowed" in error_of(client.get("/score"), 405)["message"]


def test_bodies_that_are_too_large(client, server, model):
    huge = json.dumps({"text_1": "a", "text_2": "b" * (2 << 20)})
    assert "more than 1,048,576 bytes" in error_of(client.post("/score", content=huge), 413)["message"]
    with pytest.raises((httpx.HTTPError, AssertionError)):  # one that never ends is cut off

        def endless() -> Iterator[bytes]:
            for _ in range(1000):
                yield b"x" * (1 << 20)

        assert client.post("/score", content=endless()).status_code == 200
    assert client.post("/score", json={"messages": WHOLE}).status_code == 200


def test_clients_that_go_away(client, server):
    body = json.dumps({"messages": mixed_conversations(60, longest=60)}).encode()
    head = f"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for sent in (head[:20], head, head + body[:500], head + body):
        for _ in range(5):
            with socket.create_connection((server.host, server.port)) as connection:
                connection.sendall(sent)
    assert client.post("/score", json={"messages": WHOLE}, timeout=30).status_code == 200
    assert client.get("/health").json() == {"status": "ok"}


def test_health_models_and_request_ids(client, reward_folder):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["root"], model["max_model_len"]) == ("tiny-reward", str(reward_folder), 4096)
    assert client.get("/health", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert len(client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]) == 32
    assert set(client.get("/openapi.json").json()["paths"]) >= {"/classify", "/v1/score", "/pooling", "/health"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_is_under_way_is_answered_before_the_end(reward_folder, home, how):
    server = Server("--model", str(reward_folder), home=home)
    body = {"messages": mixed_conversations(400, longest=60)}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx.post, f"{server.url}/score", json=body, timeout=60)
        time.sleep(0.3)
        assert not answer.done()
        status, error = server.end(how)
    assert len(answer.result().json()["data"]) == 400
    assert status == (0 if how == signal.SIGINT else -signal.SIGTERM)
    assert error == ""


@pytest.mark.slow
def test_what_cannot_be_served(base, reward_folder, home):
    def said(*arguments: str) -> str:
        done = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, cwd=home)
        assert done.returncode == 2
        return done.stderr

    assert re.match(r"error: .* is no reward model", said("--model", str(base), "--port", "0"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert said("--model", str(reward_folder), "--port", str(port)).startswith(f"error: 127.0.0.1:{port} cannot be")


@pytest.mark.slow
def test_the_script_is_the_same(home):
    environment = os.environ | {"COLUMNS": "200"}
    helped = [
        subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment, check=True).stdout
        for command in ([*MODULE, "--help"], [sys.executable, "scripts/serve_reward_model.py", "--help"])
    ]
    assert helped[0].partition("options:")[2] == helped[1].partition("options:")[2] != ""


def test_keep_alive_survives_an_error(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    for body, status in ((b"{", 400), (json.dumps({"messages": WHOLE}).encode(), 200)):
        connection.request("POST", "/score", body)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
