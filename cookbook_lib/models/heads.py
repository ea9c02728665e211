"""PackedModel: a transformers decoder that reads packed rows, and a place for whatever reads its hidden states.

    input_ids (B, T) -> decoder -> hidden (B, T, D) -> read(hidden, output embedding) -> a loss, scores, ...

What an objective wants of the hidden states is a function, `read`, that runs inside this forward, because that is where the
sharded output embedding is whole. The decoder's own code is untouched: the boundaries travel as keywords to our attention.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from cookbook_lib.models.attention import Attend, Segments

Read = Callable[[torch.Tensor, Any], Any]
CRITIC = (
    "value_head.weight"  # of a critic (value_head.py): a language model's folder may hold it, and nobody else reads it
)


class PackedModel(nn.Module):
    """`hf`, a transformers causal language model under our attention. Files name its weights without the prefix `hf.`"""

    auto_class: Any = AutoModelForCausalLM  # what reads the folders that it is saved to
    task = "CAUSAL_LM"  # what peft calls that
    new_weights: frozenset[str] = frozenset()  # weights that no language model has
    may_lack: frozenset[str] = frozenset()  # of those, the ones that this model's folder may lack: they begin at zero

    def __init__(self, hf: Any, attend: Attend) -> None:
        super().__init__()
        self.hf = hf
        self.attend = attend

    @property
    def layers(self) -> list[nn.Module]:
        """The decoder layers, in order: the units of sharding and of gradient checkpointing."""
        return list(self.hf.get_decoder().layers)

    @property
    def exact_modules(self) -> list[nn.Module]:
        """Parts outside the layers that compute in fp32, whatever the others do: units of sharding of their own."""
        return []

    def facts(self) -> dict[str, Any]:
        """What its numbers mean, beside its weights, in plain values: a checkpoint keeps it."""
        return {}

    def recall(self, facts: dict[str, Any]) -> None:
        """Take up the facts that a checkpoint kept. Raises CookbookError where they are of another model."""

    @property
    def output(self) -> Any:
        """What `read` gets beside the hidden states: the output embedding's weight (V, D)."""
        return self.hf.get_output_embeddings().weight

    @property
    def final_softcap(self) -> float | None:
        return final_softcap(self.hf.config)

    @property
    def logit_scale(self) -> float:
        return logit_scale(self.hf.config)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seqlens: tuple[int, ...] | None,
        read: Read | None = None,
        continues: tuple[int, ...] | None = None,
    ) -> Any:
        """input_ids, position_ids (B, T); cu_seqlens the boundaries of a packed row (B = 1), or None for one document a row;
        continues: which segment of the row each one continues (attention.Segments).

        Returns read(hidden (B, T, D), output_weight (V, D)), whose product is the logits before a final softcap, or the logits
        (B, T, V) by transformers' own code without `read`.
        Under sequence parallelism T is this rank's slice and cu_seqlens those of the whole row.
        """
        segments = None if cu_seqlens is None else Segments.of(cu_seqlens, input_ids.device, continues)
        body = self.hf if read is None else self.hf.get_decoder()
        out = body(
            input_ids=input_ids, position_ids=position_ids, use_cache=False, attend=self.attend, segments=segments
        )
        if read is None:
            return out.logits
        hidden = out.last_hidden_state if self.logit_scale == 1 else out.last_hidden_state * self.logit_scale
        return read(hidden, self.output)


def freeze(parameter: nn.Parameter, dtype: torch.dtype) -> None:
    """It learns nothing any more, and so rests in what it computes in: under bf16 half the memory, and the same numbers."""
    parameter.requires_grad_(False)
    parameter.data = parameter.data.to(dtype)


def final_softcap(config: Any) -> float | None:
    return getattr(config.get_text_config(), "final_logit_softcapping", None)


def logit_scale(config: Any) -> float:
    """What transformers' head multiplies its logits by (Cohere) or divides them by (Granite); 1 for the others."""
    text = config.get_text_config()
    return getattr(text, "logit_scale", None) or 1 / (getattr(text, "logits_scaling", None) or 1)
