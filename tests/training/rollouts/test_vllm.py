"""vLLM's engines against a module that has its names: what it is asked, what it is given, what is made of its answers."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.rollouts.vllm import VllmEngine, VllmServer
from cookbook_lib.training.rollouts.weights import whole_weights
from tests.training.rollout_run import learn, model_of, stream_of
from tests.training.tiny_run import optimizer_of

PROMPTS, SEEDS = [[5, 6, 7], [8]], [[1, 2], [3, 40]]
ASKED: dict[str, Any] = {"max_new_tokens": 4, "how": Sampling(0.5, top_p=0.9), "stop_ids": {3, 2}, "seeds": SEEDS}


def answer_to(prompt: list[int], seed: int) -> tuple[list[int], list[float], str]:
    """What the stand-in says: the prompt's first token and the seed, ended by 3 when the seed is odd."""
    ids = [prompt[0], seed % 50 + 4, *([3] if seed % 2 else [9, 9])]
    return ids, [-0.5 * (i + 1) for i in range(len(ids))], "stop" if seed % 2 else "length"


PLAIN = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
WANTED = [([5, 5, 3], True), ([5, 6, 9, 9], False), ([8, 7, 3], True), ([8, 44, 9, 9], False)]


def flat(made: list[Generated]) -> list[tuple[list[int], bool]]:
    for one in made:
        assert [len(logps) for logps in one.logps] == [len(ids) for ids in one.completions]
        assert all(logps.tolist() == [-0.5 * (i + 1) for i in range(len(logps))] for logps in one.logps)
    return [(ids.tolist(), done) for one in made for ids, done in zip(one.completions, one.finished, strict=True)]


# ------------------------------------------------------------------------------------------------------------- colocated


class LLM:
    made: "LLM"

    def __init__(self, **options: Any) -> None:
        LLM.made, self.options, self.resets, self.asked = self, options, 0, []
        self.weights: dict[str, torch.Tensor] = {}
        model = SimpleNamespace(load_weights=lambda pairs: self.weights.update({n: w.clone() for n, w in pairs}))
        runner = SimpleNamespace(model_runner=SimpleNamespace(model=model))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=runner))

    def reset_prefix_cache(self) -> None:
        self.resets += 1

    def generate(self, prompts: list[Any], *, sampling_params: list[Any], use_tqdm: bool) -> list[Any]:
        self.asked += [vars(one) for one in sampling_params]
        outputs = []
        for prompt, how in zip(prompts, sampling_params, strict=True):
            ids, logps, reason = answer_to(prompt["prompt_token_ids"], how.seed)
            told = [{token: SimpleNamespace(logprob=logp)} for token, logp in zip(ids, logps, strict=True)]
            outputs.append(
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, logprobs=told, finish_reason=reason)])
            )
        return outputs


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


@pytest.fixture
def mesh() -> Mesh:
    return make_mesh(device="cpu")


def test_without_vllm_one_sentence_says_so(mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(CookbookError, match=r"rollout.engine=vllm needs the package vllm \(pip install vllm, CUDA\)"):
        VllmEngine(Path("base"), mesh, max_length=64)


def test_what_it_is_made_with_and_asked(vllm, mesh) -> None:
    engine = VllmEngine(Path("base"), mesh, max_length=64, memory=0.3, max_num_seqs=128)
    options = LLM.made.options
    assert (options["model"], options["dtype"], options["max_model_len"]) == ("base", "bfloat16", 64)
    assert options["logprobs_mode"] == "processed_logprobs" and options["enable_prefix_caching"]
    assert (options["gpu_memory_utilization"], options["max_num_seqs"]) == (0.3, 128)
    seen: list[int] = []
    assert flat(engine.generate(PROMPTS, progress=seen.append, **ASKED)) == WANTED
    assert sum(seen) == 4
    assert LLM.made.asked[0] == {
        "temperature": 0.5, "top_p": 0.9, "top_k": -1, "max_tokens": 4, "stop_token_ids": [2, 3], "seed": 1, "logprobs": 0,
        "detokenize": False, **PLAIN,
    }  # fmt: skip
    assert engine.generate([], **(ASKED | {"seeds": []})) == []


def test_the_launcher_s_environment_is_read_where_there_is_one(vllm, mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's external_launcher takes RANK and LOCAL_RANK from it, and a kernel's only process has neither."""

    def backend(mesh: Mesh) -> str | None:
        VllmEngine(Path("base"), mesh, max_length=64)
        return LLM.made.options.get("distributed_executor_backend")

    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert backend(mesh) is None
    assert backend(replace(mesh, world_size=2)) == "external_launcher"
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    assert backend(mesh) == "external_launcher"


def test_its_weights_are_the_policy_s_after_every_refresh(vllm, mesh) -> None:
    model = model_of(mesh)
    engine = VllmEngine(Path("base"), mesh, max_length=64, dtype=torch.float32)
    for turn in (1, 2):
        engine.refresh(model)
        wanted = dict(whole_weights(model, mesh.device))
        assert LLM.made.resets == turn and LLM.made.weights.keys() == wanted.keys()
        assert all(torch.equal(LLM.made.weights[name], weight) for name, weight in wanted.items())
        with torch.no_grad():
            next(iter(model.parameters())).to_local().add_(1)


def test_a_round_and_an_update_with_it(vllm, mesh) -> None:
    model = model_of(mesh)
    stream = stream_of(mesh, model, engine=VllmEngine(Path("base"), mesh, max_length=64))
    batches = stream.step(0)
    told = [group.stats["mismatch"] for group in stream.round.groups]
    assert min(x for own in told for x in own) > 0.1, "its numbers are made up, and it shows"
    loss, norm = learn(model, optimizer_of(model), mesh, batches)
    assert abs(loss) < 10 and norm > 0


# ------------------------------------------------------------------------------------------------------------- a server


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, Any]] = []
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        if self.path == "/v1/completions":
            ids, logps, reason = answer_to(body["prompt"], body["seed"])
            choice = {"token_ids": ids, "logprobs": {"token_logprobs": logps}, "finish_reason": reason}
            self._reply(200, {"choices": [choice | ({"token_ids": None} if self.server.broken else {})]})
        elif self.path in ("/collective_rpc", "/reset_prefix_cache"):
            self._reply(404 if self.server.broken else 200, {})
        else:
            self._reply(500, {"error": "no such path"})

    def _reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_server_is_asked_by_ids_and_answers_by_ids(server, mesh, tmp_path: Path) -> None:
    engine = VllmServer(server.url, tmp_path, mesh)
    assert flat(engine.generate(PROMPTS, **ASKED)) == WANTED
    path, body = next(one for one in server.seen if one[1]["seed"] == 1)
    assert path == "/v1/completions" and body["model"] == "policy" and body["prompt"] == [5, 6, 7]
    assert body["return_token_ids"] and body["stop_token_ids"] == [2, 3] and body["logprobs"] == 0
    assert body.items() >= PLAIN.items(), "else Qwen2.5-7B-Instruct's generation_config.json has it repeat itself less"


def test_a_server_reads_the_weights_from_its_folder(server, mesh, tmp_path: Path) -> None:
    model = model_of(mesh)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    VllmServer(server.url, tmp_path, mesh, dtype=torch.float32).refresh(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    stored, wanted = load_file(tmp_path / "model.safetensors"), dict(whole_weights(model, mesh.device))
    assert stored.keys() == wanted.keys() and all(torch.equal(stored[name], wanted[name]) for name in wanted)
    assert server.seen == [("/collective_rpc", {"method": "reload_weights"}), ("/reset_prefix_cache", {})]


def test_what_a_server_can_get_wrong_is_told(server, mesh, tmp_path: Path) -> None:
    engine = VllmServer(server.url, tmp_path, mesh)
    with pytest.raises(CookbookError, match="has no config.json: copy the base model there"):
        engine.refresh(model_of(mesh))
    server.broken = True
    with pytest.raises(CookbookError, match="answers without token ids or log-probabilities"):
        engine.generate(PROMPTS, **ASKED)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CookbookError, match=r"/collective_rpc answers 404 \(is VLLM_SERVER_DEV_MODE=1 set there\?\)"):
        engine.refresh(model_of(mesh))
    with pytest.raises(CookbookError, match="does not answer .* start vllm serve, or set rollout.engine=own"):
        VllmServer("http://127.0.0.1:1", tmp_path, mesh).generate(PROMPTS, **ASKED)
