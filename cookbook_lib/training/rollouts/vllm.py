"""vLLM as the one who answers (optional: pip install vllm, CUDA): many times faster than plain transformers on a GPU.

    VllmEngine    an `LLM` inside every rank, on the rank's own GPU, beside the shards; weights are written into it in place
    VllmServer    `vllm serve` on GPUs of its own; weights go by way of the folder that it was started with

Its kernels are not the training's, and its bf16 rounds elsewhere: old log-probabilities are the training's own, how far vLLM's are
off is the stat `mismatch`, and algorithm.tis_cap makes up for it (https://fengyao.notion.site/off-policy-rl).

Tested here against a module that has vLLM's names and not its arithmetic: what is asked of vLLM, and what is made of its answers.
NOT tested: vLLM itself, on any version; sleeping between rounds; tensor parallelism (one GPU answers for one rank); LoRA is sent
merged. What is relied upon, as of vLLM 0.11: LLM(...) in one process, beside other ranks with the backend external_launcher; the
model under llm_engine.model_executor.driver_worker.model_runner, with load_weights; prompts {"prompt_token_ids": ...};
logprobs_mode="processed_logprobs"; of the server, under VLLM_SERVER_DEV_MODE=1, /collective_rpc and /reset_prefix_cache.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rollouts.answering import together
from cookbook_lib.training.rollouts.engine import Generated, Progress
from cookbook_lib.training.rollouts.weights import whole_weights

WEIGHTS = "model.safetensors"
Answer = tuple[list[int], list[float], bool]  # ids with the stop token, their log-probabilities, finished


class VllmEngine:
    """An LLM on this rank's GPU. folder: the base model's, for structure and tokenizer. memory: the share of the GPU that it may
    take, weights and cache together. options: further ones of vllm.LLM. Raises CookbookError without vllm or CUDA."""

    def __init__(
        self,
        folder: Path,
        mesh: Mesh,
        *,
        max_length: int,
        dtype: torch.dtype = torch.bfloat16,
        memory: float = 0.4,
        **options: Any,
    ) -> None:
        self._vllm = _imported()
        self.mesh, self.dtype = mesh, dtype
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # else the weights are in another process
        self.llm = self._vllm.LLM(
            **{
                "model": str(folder),
                "dtype": str(dtype).removeprefix("torch."),
                "max_model_len": max_length,
                "gpu_memory_utilization": memory,
                "tensor_parallel_size": 1,
                **_launched(mesh),
                "enable_prefix_caching": True,  # a prompt's answers share its prefill
                "logprobs_mode": "processed_logprobs",  # at the temperature, as training takes them
                **options,
            }
        )

    def refresh(self, model: PackedModel) -> None:
        """Write the weights into vLLM's, one after another; what it remembers of prompts was computed by the old ones."""
        own = self.llm.llm_engine.model_executor.driver_worker.model_runner.model
        for name, weight in whole_weights(model, self.mesh.device, self.dtype):
            own.load_weights([(name, weight)])
        self.llm.reset_prefix_cache()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        how: Sampling,
        stop_ids: Collection[int],
        seeds: Sequence[Sequence[int]],
        progress: Progress | None = None,
    ) -> list[Generated]:
        """One request for each seed; those of a prompt find its prefill in the cache."""
        asked = [{"prompt_token_ids": list(map(int, p))} for p, own in zip(prompts, seeds, strict=True) for _ in own]
        each = [
            self._vllm.SamplingParams(**_sampling(how, max_new_tokens, stop_ids, seed), logprobs=0, detokenize=False)
            for own in seeds
            for seed in own
        ]
        outputs = self.llm.generate(asked, sampling_params=each, use_tqdm=False) if asked else []
        if progress:
            progress(len(outputs))
        return grouped([_answer_of(output.outputs[0]) for output in outputs], seeds)


class VllmServer:
    """`vllm serve FOLDER` at `url`, FOLDER being a copy of the base model that every rank 0 and the server see on one disk:

        VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --served-model-name policy --logprobs-mode processed_logprobs \\
            --generation-config vllm

    The last option keeps FOLDER/generation_config.json from bounding max_tokens; its penalties do not count, since every request
    names its own. refresh writes FOLDER/model.safetensors whole, and has the server read it again. at_once: requests under way
    from one rank.
    """

    def __init__(
        self, url: str, folder: Path, mesh: Mesh, *, name: str = "policy", dtype: torch.dtype = torch.bfloat16,
        at_once: int = 64, timeout_s: float = 3600.0,
    ) -> None:  # fmt: skip
        self.url, self.folder, self.mesh, self.name = url.rstrip("/").removesuffix("/v1"), folder, mesh, name
        self.dtype, self.at_once, self.timeout_s = dtype, at_once, timeout_s

    def refresh(self, model: PackedModel) -> None:
        kept: dict[str, torch.Tensor] = {}
        for name, weight in whole_weights(model, self.mesh.device, self.dtype):
            if self.mesh.is_main:  # the others take part in the gathering alone
                kept[name] = weight.to("cpu", copy=True).contiguous()
        together(self.mesh, lambda: self._take(kept) if self.mesh.is_main else None)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        how: Sampling,
        stop_ids: Collection[int],
        seeds: Sequence[Sequence[int]],
        progress: Progress | None = None,
    ) -> list[Generated]:
        def ask(prompt: Sequence[int], seed: int) -> Answer:
            body = {"model": self.name, "prompt": list(map(int, prompt)), "logprobs": 0, "return_token_ids": True}
            told = self._post("/v1/completions", body | _sampling(how, max_new_tokens, stop_ids, seed))
            if progress:
                progress(1)
            return _answer_told(told, self.url)

        with ThreadPoolExecutor(self.at_once) as pool:
            waiting = [pool.submit(ask, p, seed) for p, own in zip(prompts, seeds, strict=True) for seed in own]
            try:
                return grouped([one.result() for one in waiting], seeds)
            finally:
                pool.shutdown(cancel_futures=True)

    def _take(self, weights: Mapping[str, torch.Tensor]) -> None:
        if not (self.folder / "config.json").is_file():
            raise CookbookError(
                f"{self.folder} has no config.json: copy the base model there, and start vllm serve on it."
            )
        partial = self.folder / f".writing-{WEIGHTS}"
        save_file(dict(weights), partial, metadata={"format": "pt"})
        os.replace(partial, self.folder / WEIGHTS)
        for other in (*self.folder.glob("model-*-of-*.safetensors"), self.folder / f"{WEIGHTS}.index.json"):
            other.unlink(missing_ok=True)
        self._post("/collective_rpc", {"method": "reload_weights"})
        self._post("/reset_prefix_cache", {})

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            said = error.read(300).decode(errors="replace")
            hint = " (is VLLM_SERVER_DEV_MODE=1 set there?)" if error.code == 404 else ""
            raise CookbookError(f"{self.url}{path} answers {error.code}{hint}: {said}") from None
        except OSError as error:
            raise CookbookError(
                f"{self.url}{path} does not answer ({error}): start vllm serve, or set rollout.engine=own."
            ) from None
        return json.loads(text) if text else None


def grouped(answers: Sequence[Answer], seeds: Sequence[Sequence[int]]) -> list[Generated]:
    """Answers in the order of the seeds, by prompt."""
    rest = iter(answers)
    own = [[next(rest) for _ in seeds_] for seeds_ in seeds]
    return [
        Generated(
            tuple(np.array(ids, np.int32) for ids, _, _ in group),
            tuple(finished for _, _, finished in group),
            tuple(np.array(logps, np.float32) for _, logps, _ in group),
        )
        for group in own
    ]


def _imported() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise CookbookError(
            "rollout.engine=vllm needs the package vllm (pip install vllm, CUDA): install it, or set rollout.engine=own."
        ) from error
    return vllm


def _launched(mesh: Mesh) -> dict[str, str]:
    """How vLLM finds its place: from torchrun's environment, which one process in a kernel does not have, nor need."""
    told = {"RANK", "LOCAL_RANK"} <= os.environ.keys()
    return {"distributed_executor_backend": "external_launcher"} if mesh.world_size > 1 or told else {}


def _sampling(how: Sampling, max_new_tokens: int, stop_ids: Collection[int], seed: int) -> dict[str, Any]:
    """The options that vllm.SamplingParams and its server's completions have in common. What changes the distribution is named
    also where it is off: of what a request leaves open the server takes the model's generation_config.json."""
    return {
        "temperature": how.temperature,
        "top_p": how.top_p,
        "top_k": how.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": max_new_tokens,
        "stop_token_ids": sorted(stop_ids),
        "seed": seed,
    }


def _answer_of(output: Any) -> Answer:
    """Of an LLM's completion: the stop token is among its ids."""
    ids = list(output.token_ids)
    return (
        ids,
        [of[token].logprob for token, of in zip(ids, output.logprobs, strict=True)],
        output.finish_reason == "stop",
    )


def _answer_told(told: Any, url: str) -> Answer:
    """Of a server's completion."""
    try:
        choice = told["choices"][0]
        ids, logps = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        if len(ids) != len(logps):
            raise ValueError(f"{len(ids)} ids and {len(logps)} log-probabilities")
        return list(map(int, ids)), list(map(float, logps)), choice["finish_reason"] == "stop"
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise CookbookError(
            f"{url} answers without token ids or log-probabilities ({type(error).__name__}: {error}): it must be a vLLM that knows "
            "return_token_ids (0.11 or later)."
        ) from None
