"""What a step of the parity table is, how it is dealt out, and SFT's: twelve very unequal conversations.

plain    each conversation alone through the Hugging Face model, its own logits, F.cross_entropy, one mean; float64
deal     the longest rows in one micro-batch, single short ones in others, none at all in the last
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import Batch, pack, pad, shift
from cookbook_lib.models.attention import Attend
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.sft import SFT

Truth = tuple[float, dict[str, torch.Tensor]]  # loss per unit; gradients by name


@dataclass(frozen=True)
class Step:
    """One optimizer step, and its truth. All functions are module-level: the step travels to other processes."""

    name: str
    forms: tuple[str, ...]  # ways to lay rows into a batch
    base: Callable[[Path, Path], Path]  # a language model's folder, a scratch folder -> the folder to start from
    examples: Callable[[Path], list[Any]]
    plain: Callable[[Path, Sequence[Any]], Truth]  # what transformers alone makes of it, in float64
    build: Callable[[Path, Attend], PackedModel]
    objective: Callable[[Mesh], Objective]
    tokens: Callable[[Any], int]  # of an example
    lay: Callable[[str, Sequence[Any], Sequence[int], int], Any]  # form, examples, their numbers, multiple -> a batch


def deal(step: Step, examples: Sequence[Any], mesh: Mesh, *, form: str, accumulation: int) -> list[Any]:
    """This rank's micro-batches: longest rows first, and nothing left for the last one of the last group."""
    ordered = sorted(range(len(examples)), key=lambda i: -step.tokens(examples[i]))
    hands = max(mesh.dp * accumulation - 1, 1)
    dealt = [list(part) for part in np.array_split(ordered, hands)] + [[]]
    mine = [dealt[mesh.dp_rank + mesh.dp * i] for i in range(accumulation)]
    return [take_shard(step.lay(form, [examples[i] for i in rows], rows, mesh.sp), mesh) for rows in mine]


# ------------------------------------------------------------------------------------------------------------------ SFT


def unequal_examples(folder: Path, seed: int = 0) -> list[Example]:
    """Twelve made-up conversations of 2 to 90 tokens with whole, half and no weights; the first token is never learned."""
    rng, vocabulary = np.random.default_rng(seed), AutoConfig.from_pretrained(folder).get_text_config().vocab_size
    lengths = (90, 3, 41, 7, 64, 5, 11, 29, 2, 17, 53, 6)
    return [
        Example(
            input_ids=rng.integers(0, vocabulary, n).astype(np.int32),
            weights=np.concatenate([[0], rng.choice([0.0, 0.5, 1.0], n - 2), [1]]).astype(np.float32),
        )
        for n in lengths
    ]


def plain_step(folder: Path, examples: Sequence[Example]) -> Truth:
    """The step as transformers alone would take it, one conversation at a time."""
    transformers.utils.logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    units, total = sum(float(e.weights.sum()) for e in examples), 0.0
    for example in examples:
        labels, weights = shift(np.asarray(example.input_ids), np.asarray(example.weights))
        logits = model(torch.from_numpy(example.input_ids.astype(np.int64))[None]).logits[0]
        nll = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
        loss = (nll * torch.from_numpy(weights)).sum() / units
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _lay(form: str, examples: Sequence[Example], rows: Sequence[int], multiple: int) -> Batch:
    return (pack if form == "packed" else pad)(examples, rows, multiple=multiple)


def _as_it_is(folder: Path, scratch: Path) -> Path:
    return folder


def _objective(mesh: Mesh) -> Objective:
    return SFT()


def _tokens(example: Example) -> int:
    return len(example.input_ids)


SFT_STEP = Step(
    "sft", ("packed", "padded"), _as_it_is, unequal_examples, plain_step, build_model, _objective, _tokens, _lay
)
