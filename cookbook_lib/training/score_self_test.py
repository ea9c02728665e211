"""self_test.py for a reward model: two short pairs, before the first step.

    alone      each answer behind its prompt, in a row of its own        the reference
    packed     both pairs in one row, their prompts shared               a leak, or a prompt that is not seen, shows here
    whole      the packed row on one rank, when Ulysses splits it        a wrong exchange of heads shows here

What is compared is the hidden state that the head reads: a new head is zero, and all scores would agree.
"""

from dataclasses import replace

import numpy as np
import torch

from cookbook_lib.config import Config, CookbookError
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import CandidateBatch, pack_candidates
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.score_head import ScoreModel
from cookbook_lib.parallel.fsdp import rest
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard
from cookbook_lib.training.objectives.scoring import read_ends
from cookbook_lib.training.self_test import compute_dtype

PAIRS = ((11, (5, 9)), (14, (1, 7)))  # tokens of a prompt, and of its answers
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # |difference| / |hidden state|


@torch.no_grad()
def score_self_test(model: ScoreModel, mesh: Mesh, config: Config) -> dict[str, float]:
    """Relative differences by name. Raises CookbookError unless they are within the compute type's. A collective call."""
    model.eval()
    rng = np.random.default_rng(0)
    vocabulary = model.hf.get_input_embeddings().weight.shape[0]

    def tokens(count: int) -> np.ndarray:
        return rng.integers(0, vocabulary, count).astype(np.int32)

    nothing = np.zeros(0, np.float32)
    pairs = [Candidates(tokens(prompt), tuple(map(tokens, answers)), nothing) for prompt, answers in PAIRS]
    both = pack_candidates(pairs, [0, 1], multiple=mesh.sp).to(mesh.device)
    ordinary, one = model.attend, replace(mesh, sp=1, sp_rank=0, sp_group=None)
    model.attend = varlen_attention
    alone = torch.cat([_read(model, pack_candidates([row], [0]).to(mesh.device), one) for row in _unshared(pairs)])
    packed = _read(model, both, one)
    model.attend = ordinary
    found = {"packed_against_alone": _relative(packed, alone, mesh)}
    if mesh.sp > 1:
        found["sequence_parallel_against_one_rank"] = _relative(
            _read(model, take_shard(both, mesh), mesh), packed, mesh
        )
    model.train()
    rest(model)
    _refuse(found, TOLERANCE[compute_dtype(config)], model)
    return found


def _unshared(pairs: list[Candidates]) -> list[Candidates]:
    documents = [np.concatenate([pair.shared, rest]) for pair in pairs for rest in pair.rests]
    return [Candidates(document[:0], (document,), np.zeros(0, np.float32)) for document in documents]


def _read(model: ScoreModel, batch: CandidateBatch, mesh: Mesh) -> torch.Tensor:
    """(answers, D): the hidden states that the head would read."""
    return read_ends(model, batch, mesh, answers=batch.ends.shape[1], head=False).flatten(0, 1)


def _relative(found: torch.Tensor, wanted: torch.Tensor, mesh: Mesh) -> float:
    return mesh.sum(float((found - wanted).norm() / wanted.norm())) / mesh.world_size


def _refuse(found: dict[str, float], tolerance: float, model: ScoreModel) -> None:
    reasons = {
        "packed_against_alone": "two pairs packed side by side, their prompts shared, against each answer alone: use another "
        "model, or report this one",
        "sequence_parallel_against_one_rank": "sequence parallelism against one rank: set ulysses_sequence_parallel_size=1 "
        "for this model",
    }
    for name, value in found.items():
        if not value <= tolerance:  # written so that a NaN refuses too
            raise CookbookError(
                f"{type(model.hf).__name__}: what the head reads differs by {value:.3g} (at most {tolerance:g} allowed), {reasons[name]}."
            )
