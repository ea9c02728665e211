"""The parity table's steps of reward models: pairs and scored answers of very unequal lengths, under every option of the loss.

truth     each answer with its prompt alone through AutoModelForSequenceClassification, its own logits, the loss written out,
          one mean over the units; float64
base      the language model's decoder under a head that is not zero: a zero one would send no gradient into the decoder
forms     packed with shared prompts, packed, padded: the two answers of a pair in one row, and in two
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForSequenceClassification

from cookbook_lib.config.schema import BradleyTerryConfig, PointwiseConfig
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import CandidateBatch, pack_candidates, pad_candidates
from cookbook_lib.models.attention import Attend, varlen_attention
from cookbook_lib.models.loading import load_tokenizer, load_weights
from cookbook_lib.models.score_head import ScoreHead, ScoreModel, build_score_model
from cookbook_lib.models.tiny import quiet
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.bradley_terry import BradleyTerry
from cookbook_lib.training.objectives.pointwise import Pointwise
from cookbook_lib.training.parity_step import Step, Truth

SHARED, PACKED, PADDED = "packed, shared prompts", "packed", "padded"
TERMS = BradleyTerryConfig(use_margin=True, margin_scale=0.5, label_smoothing=0.1, center_coefficient=0.05)
SCALE = PointwiseConfig(loss="mse", attributes=["help", "tone"])
REGRESSION = ScoreHead("regression", ("help", "tone"), mean=(1.5, 2.5), scale=(0.8, 1.25))
# tokens of a prompt, of its first answer, of its second
SIZES = ((50, 40, 9), (2, 1, 3), (31, 10, 12), (0, 4, 3), (40, 3, 24), (4, 1, 1), (9, 2, 5), (17, 12, 30), (1, 1, 2),
         (3, 14, 6), (33, 20, 1), (2, 4, 4))  # fmt: skip


def pairs(folder: Path, seed: int = 0) -> list[Candidates]:
    """Twelve made-up pairs, some with a margin, some ties, one whose answers have no beginning in common."""
    rng = np.random.default_rng(seed)
    known = [(0.0, 1.0), (2.0, 1.0), (0.0, 0.5), (1.0, 1.0)]
    return [_candidates(folder, rng, size, known[i % len(known)]) for i, size in enumerate(SIZES)]


def scored_answers(folder: Path, seed: int = 0) -> list[Candidates]:
    """Twelve made-up answers with two attributes, of which some rows know one."""
    rng = np.random.default_rng(seed)
    known = [(3.0, 1.0), (np.nan, 4.0), (0.0, np.nan), (2.0, 2.0)]
    return [_candidates(folder, rng, (0, sum(size[:2])), known[i % len(known)]) for i, size in enumerate(SIZES)]


def _candidates(folder: Path, rng: np.random.Generator, size: Sequence[int], targets: Sequence[float]) -> Candidates:
    config = transformers.AutoConfig.from_pretrained(folder)
    ids = rng.integers(0, config.vocab_size - 1, sum(size))
    ids += ids >= config.pad_token_id  # plain transformers would look for the end of the answer before its padding
    shared, *rests = np.split(ids.astype(np.int32), np.cumsum(size)[:-1])
    return Candidates(shared, tuple(rests), np.array(targets, np.float32))


# ---------------------------------------------------------------------------------------------------------- the truth


def plain_pairs(folder: Path, examples: Sequence[Candidates]) -> Truth:
    """The step as transformers alone would take it, one answer at a time."""

    def loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        chosen, rejected, (margin, p) = scores[0, 0], scores[1, 0], targets
        p = torch.where(p == 1, 1 - TERMS.label_smoothing, p)
        d = chosen - rejected - TERMS.margin_scale * margin
        nll = -p * F.logsigmoid(d) - (1 - p) * F.logsigmoid(-d)
        return nll + TERMS.center_coefficient * (chosen + rejected) ** 2

    return _plain(folder, examples, loss)


def plain_scores(folder: Path, examples: Sequence[Candidates]) -> Truth:
    def loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        columns = zip(scores[0], targets, REGRESSION.mean, REGRESSION.scale, strict=True)
        known = [((t - mean) / scale - o) ** 2 for o, t, mean, scale in columns if not t.isnan()]
        return torch.stack(known).mean()

    return _plain(folder, examples, loss)


def _plain(
    folder: Path, examples: Sequence[Candidates], loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Truth:
    """loss_of(outputs of the answers (k, L), targets (A,)) -> the loss of a unit."""
    transformers.utils.logging.disable_progress_bar()
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    )
    total = 0.0
    for example in examples:
        answers = (np.concatenate([example.shared, rest]).astype(np.int64) for rest in example.rests)
        scores = torch.cat([model(torch.from_numpy(ids)[None]).logits for ids in answers])
        loss = loss_of(scores, torch.from_numpy(example.targets).double()) / len(examples)
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


# ----------------------------------------------------------------------------------------------------------- the steps


def random_head(head: ScoreHead, folder: Path, scratch: Path) -> Path:
    """A reward model's folder in `scratch`: the decoder of `folder`, and a head that says something."""
    tokenizer, target = load_tokenizer(folder), scratch / "model"
    made = build_score_model(folder, varlen_attention, tokenizer, head)
    load_weights(made, folder, torch.device("cpu"))
    torch.nn.init.normal_(made.hf.score.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    with quiet():
        made.hf.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def lay(form: str, examples: Sequence[Candidates], rows: Sequence[int], multiple: int) -> CandidateBatch:
    """A batch in one of the three forms."""
    given = examples if form == SHARED else [_unshared(example) for example in examples]
    return (pad_candidates if form == PADDED else pack_candidates)(given, rows, multiple=multiple)


def _unshared(example: Candidates) -> Candidates:
    whole = tuple(np.concatenate([example.shared, rest]) for rest in example.rests)
    return Candidates(example.shared[:0], whole, example.targets)


def _build(folder: Path, attend: Attend) -> ScoreModel:
    return build_score_model(folder, attend, load_tokenizer(folder))


def _tokens(example: Candidates) -> int:
    return len(example.shared) + sum(map(len, example.rests))


def _bradley_terry(mesh: Mesh) -> Objective:
    return BradleyTerry(mesh, TERMS)


def _pointwise(mesh: Mesh) -> Objective:
    return Pointwise(mesh, SCALE)


BRADLEY_TERRY_STEP = Step(
    "bradley_terry", (SHARED, PACKED, PADDED), partial(random_head, ScoreHead()), pairs, plain_pairs, _build, _bradley_terry,
    _tokens, lay,
)  # fmt: skip
POINTWISE_STEP = Step(
    "pointwise", (PACKED, PADDED), partial(random_head, REGRESSION), scored_answers, plain_scores, _build, _pointwise, _tokens,
    lay,
)  # fmt: skip
