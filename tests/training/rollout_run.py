"""Reinforcement learning small enough for a test: a random Qwen3 that answers in numbers and earns by the even ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import CompletionBatch
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.fsdp import clip_grad_norm, shard_model, synchronise_gradients
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard, ulysses
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.rewards.base import RewardResult, Sample
from cookbook_lib.training.rollouts.answering import Asking
from cookbook_lib.training.rollouts.columns import policy_columns
from cookbook_lib.training.rollouts.engine import OwnEngine
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.rounds import Policy, Rules
from cookbook_lib.training.rollouts.settling import advantages_by
from cookbook_lib.training.rollouts.stream import RolloutStream

VOCAB, STOP, MOST = 61, 3, 8
TEMPERATURE = 0.9
ALGORITHM = AlgorithmConfig()


class Numbers:
    """A tokenizer whose words are the ids."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join(str(int(i)) for i in ids)


@dataclass(frozen=True)
class Prompt:
    ids: np.ndarray
    task: JudgeTask


class Prompts(list):
    """Prompts of 2 to 12 tokens; `pairs`: neighbours are two orders of one pair."""

    fingerprint = "prompts"

    @classmethod
    def of(cls, count: int = 8, *, pairs: bool = False) -> "Prompts":
        draw = np.random.default_rng(0)
        return cls(
            Prompt(draw.integers(4, VOCAB, draw.integers(2, 13)).astype(np.int32), _task(i, pairs))
            for i in range(count)
        )

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(prompt.ids) for prompt in self])


def _task(i: int, pairs: bool) -> JudgeTask:
    about: dict[str, Any] = {"prompt": ({"role": "user", "content": str(i)},), "data_source": "numbers"}
    if pairs:
        return JudgeTask(kind="preference", truth="A", pair_id=f"pair {i // 2}", order=("ab", "ba")[i % 2], **about)
    return JudgeTask(kind="answer", truth="even", **about)


def evens(samples: Sequence[Sample]) -> RewardResult:
    """The share of even numbers; parsed where there is one at all."""
    numbers = [[int(word) for word in sample.text.split()] for sample in samples]
    paid = np.array([np.mean([n % 2 == 0 for n in own]) if own else 0.0 for own in numbers], np.float32)
    return RewardResult(paid, paid, {"evens": paid}, np.array([bool(own) for own in numbers]))


def model_of(mesh: Mesh, seed: int = 0, **shape: Any) -> PackedModel:
    torch.manual_seed(seed)
    config = Qwen3Config(**{
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "eos_token_id": STOP, "pad_token_id": 0,
        "bos_token_id": None, "initializer_range": 0.3, "attn_implementation": ATTENTION, **shape,
    })  # fmt: skip
    model = PackedModel(Qwen3ForCausalLM(config), ulysses(varlen_attention, mesh.sp_group))
    shard_model(model, mesh, layers=model.layers, compute_dtype=torch.float32)
    return model


def rules(**other: Any) -> Rules:
    asking = Asking(MOST, Sampling(TEMPERATURE), (STOP,))
    return replace(Rules(batch_size=4, n=4, asking=asking, seed=5), **other)


def stream_of(
    mesh: Mesh, model: PackedModel, *, prompts: Prompts | None = None, own: Rules | None = None, reward: Any = evens,
    forwards: dict[str, Any] | None = None, algorithm: AlgorithmConfig = ALGORITHM, **other: Any,
) -> RolloutStream:  # fmt: skip
    laid = {"ranks": mesh.dp, "max_tokens": 48, "multiple": mesh.sp} | (forwards or {})
    policy = Policy(
        model,
        other.pop("engine", None) or OwnEngine(model, mesh.device, batch_size=8),
        [policy_columns(model, mesh, temperature=TEMPERATURE)],
        advantages_by(algorithm),
    )
    return RolloutStream(
        Prompts.of() if prompts is None else prompts, Numbers(), reward, policy, mesh, own or rules(), Forwards(**laid),
        place=lambda batch: take_shard(batch.to(mesh.device), mesh), **other,
    )  # fmt: skip


def objective_of(mesh: Mesh) -> PolicyGradient:
    return PolicyGradient(mesh, ALGORITHM, temperature=TEMPERATURE, horizon=MOST)


def learn(model: PackedModel, optimizer: Any, mesh: Mesh, batches: list[CompletionBatch]) -> tuple[float, float]:
    """One optimizer step as `fit` takes it: loss and gradient norm, of the world."""
    objective = objective_of(mesh)
    units = mesh.sum(sum(map(objective.count, batches)))
    total = 0.0
    for batch in batches:
        synchronise_gradients(model, last=batch is batches[-1])
        loss = objective(model, batch)
        (loss.total / units).backward()
        total += float(loss.total.detach())
    norm = clip_grad_norm(model.parameters(), None)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return mesh.sum(total) / units, norm


def run_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
