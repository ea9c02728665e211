"""Who answers the prompts of a round.

    Engine.refresh(model)     take the policy's weights as they are now        every rank, together
    Engine.generate(...)      n completions of each prompt                     every rank for itself: its own prompts

The engine here is a plain transformers model on each rank, whole, beside the shards that are trained: generation needs every
layer for every token, and gathering them anew for each would make the ranks wait for one another at every one of them.
Memory: one copy of the model in compute dtype on each rank, none on one process that computes in fp32 (rollouts/weights.py).
"""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from cookbook_lib.models.generate import Completion, generate
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.training.rollouts.weights import refresh

Ids = NDArray[np.int32]
# Completions just finished; called often, with 0 too. What it raises ends the generation.
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Generated:
    """What one prompt was answered, by completion. Ids and log-probabilities hold the stop token where it came."""

    completions: tuple[Ids, ...]
    finished: tuple[bool, ...]
    logps: tuple[
        NDArray[np.float32], ...
    ]  # at the temperature, of the whole distribution; as the generator computes them


class Engine(Protocol):
    """What a stream asks of whoever generates."""

    def refresh(self, model: PackedModel) -> None:
        """Take the weights of `model` as they are now. Collective."""

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
        """A completion for each seed of each prompt, in their order. seeds decide what is drawn, not the company."""


class OwnEngine:
    """A plain transformers model that answers with the policy's weights.

    Made on every rank alike, from the model that is trained; it has no weights before the first `refresh`. folder: the base's,
    whose generation config may name further end tokens. dtype: what training computes in. batch_size: completions at a time, fewer
    where they would have more than max_batch_tokens together, each with its prompt and at its longest.
    """

    def __init__(
        self,
        model: PackedModel,
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        batch_size: int = 64,
        max_batch_tokens: int | None = None,
        folder: Path | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.batch_size, self.max_batch_tokens = batch_size, max_batch_tokens
        config = copy.deepcopy(model.hf.config)
        with torch.device("meta"):
            self.hf: Any = AutoModelForCausalLM.from_config(
                config, attn_implementation=_attention(config), dtype=dtype, trust_remote_code=trust_remote_code
            )
        if folder is not None and (folder / GENERATION_CONFIG_NAME).is_file():
            self.hf.generation_config = GenerationConfig.from_pretrained(folder)

    def refresh(self, model: PackedModel) -> None:
        refresh(self.hf, model, self.device, self.dtype)

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
        asked = [list(map(int, prompt)) for prompt, own in zip(prompts, seeds, strict=True) for _ in own]
        made = iter(
            generate(
                self.hf,
                asked,
                stop_ids=stop_ids,
                max_new_tokens=max_new_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                top_k=how.top_k,
                seed=[seed for own in seeds for seed in own],
                batch_size=self.batch_size,
                max_batch_tokens=self.max_batch_tokens,
                exact=True,
                progress=progress,
            )
        )
        return [generated([next(made) for _ in own]) for own in seeds]


def generated(completions: Sequence[Completion]) -> Generated:
    """Completions of one prompt, each with its stop token at its end."""
    ids = [(*c.ids, c.stop) if c.stop is not None else c.ids for c in completions]
    return Generated(
        tuple(np.array(own, np.int32) for own in ids),
        tuple(c.finished for c in completions),
        tuple(np.array(c.logps, np.float32) for c in completions),
    )


def _attention(config: Any) -> str:
    """sdpa does not know the softcap that Gemma 2 trains with; eager does."""
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) else "sdpa"
