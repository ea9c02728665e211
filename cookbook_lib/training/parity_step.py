"""The step that the parity table takes: twelve very unequal conversations, and what plain transformers makes of them.

truth    each conversation alone through the Hugging Face model, its own logits, F.cross_entropy, one mean; float64
deal     the longest conversations in one micro-batch, single short ones in others, none at all in the last
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import Batch, pack, pad, shift
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard

Truth = tuple[float, dict[str, torch.Tensor]]  # loss per unit; gradients by name


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


def deal(examples: Sequence[Example], mesh: Mesh, *, packed: bool, accumulation: int) -> list[Batch]:
    """This rank's micro-batches: longest conversations first, and nothing left for the last one of the last group."""
    ordered = sorted(range(len(examples)), key=lambda i: -len(examples[i].input_ids))
    hands = max(mesh.dp * accumulation - 1, 1)
    dealt = [list(part) for part in np.array_split(ordered, hands)] + [[]]
    mine = [dealt[mesh.dp_rank + mesh.dp * i] for i in range(accumulation)]
    form = pack if packed else pad
    return [take_shard(form([examples[i] for i in rows], rows, multiple=mesh.sp), mesh) for rows in mine]
