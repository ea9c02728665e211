r"""The tokens of a pair's answers: where they stand, what predicts them, and from which one on the two differ.

    row       | prompt q r | a b c | d e |        cu_seqlens and continues tell the segments, `ends` which are answers
    places      0      1 2   3 4 5   6 7
    sources                  2 3 4   2 6          of a token whose segment continues another: its last one

Answers that share no computed beginning (padded, or share_prompts off) are whole documents; the tokens that they begin with
in common are left out here, so that a layout never changes what is summed.

Shapes: U pairs, n tokens of all their answers: of the first pair's chosen one, of its rejected one, of the next pair's ...
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.data.reward.packing import CandidateBatch
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.collectives import add_up
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.completion_tokens import told


@dataclass(frozen=True)
class AnswerTokens:
    """Seen from the whole batch, whose token is row * T + column; int64 on the CPU."""

    places: torch.Tensor  # (n,) of each token
    sources: torch.Tensor  # (n,) of what predicts it; -1 for the first token of a document, which nothing does
    answer: torch.Tensor  # (n,) 2 u + a
    partners: torch.Tensor  # (n,) the equally far token of the pair's other answer: index into these n; -1 for none

    @classmethod
    def of(cls, batch: CandidateBatch, width: int) -> "AnswerTokens":
        """width: T of the whole batch."""
        spans = [_span(batch, int(row), int(last), width) for row, last in batch.ends.reshape(-1, 2)]
        lengths = np.array([len(places) for places, _ in spans], np.int64)
        starts = np.cumsum(lengths) - lengths
        others = np.arange(len(spans)) ^ 1
        partners = [
            np.where(np.arange(n) < lengths[other], starts[other] + np.arange(n), -1)
            for n, other in zip(lengths, others, strict=True)
        ]
        answer = np.repeat(np.arange(len(spans)), lengths)
        columns = [[places for places, _ in spans], [sources for _, sources in spans], [answer], partners]
        return cls(*(torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *parts])) for parts in columns))

    def apart(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of the tokens (n,) come after all that the two answers begin with in common. ids (B * T,) of the whole batch."""
        own = ids[self.places.to(ids.device)]
        partners = self.partners.to(ids.device)
        differs = ((partners < 0) | (own != own[partners])).long()
        seen, answer = differs.cumsum(0), self.answer.to(ids.device)
        lengths = torch.bincount(self.answer)
        before = (seen - differs)[(lengths.cumsum(0) - lengths).to(ids.device)]  # those of the answers before
        return seen > before[answer]


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of answers, summed over the tokens in which a pair's two differ, and how many those are: (U, 2) each,
    chosen and rejected, the same on every rank of a Ulysses group."""

    sums: torch.Tensor
    counts: torch.Tensor


def pair_logps(model: PackedModel, batch: CandidateBatch, mesh: Mesh) -> PairLogps:
    """Of each answer given its prompt, differentiable. A batch without pairs goes through the model as well."""
    tokens = AnswerTokens.of(batch, batch.input_ids.shape[1] * mesh.sp)
    ids = _whole_row(batch.input_ids, mesh)
    predicted = (tokens.sources >= 0).nonzero().squeeze(1)
    places, answer = (x[predicted].to(ids.device, non_blocking=True) for x in (tokens.places, tokens.answer))
    logps = told(model, batch, mesh, tokens.sources[predicted], ids[places]).logps
    counted = tokens.apart(ids)[predicted.to(ids.device, non_blocking=True)].float()
    none = logps.new_zeros(2 * len(batch.ends))
    sums, counts = (none.index_add(0, answer, x).view(-1, 2) for x in (logps * counted, counted))
    return PairLogps(sums, counts)


def _span(batch: CandidateBatch, row: int, last: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places and sources of one answer's tokens."""
    if batch.cu_seqlens is None:
        start, before = row * width, -1
        last += start
    else:
        bounds = batch.cu_seqlens
        segment = int(np.searchsorted(bounds, last, side="right")) - 1
        start = bounds[segment]
        root = -1 if batch.continues is None else batch.continues[segment]
        before = bounds[root + 1] - 1 if root >= 0 else -1
    places = np.arange(start, last + 1)
    return places, np.concatenate([[before], places[:-1]])


def _whole_row(ids: torch.Tensor, mesh: Mesh) -> torch.Tensor:
    """The ids of the whole batch, (B * T,), from each rank's slice (B, t)."""
    slices = ids.new_zeros(ids.shape[0], mesh.sp, ids.shape[1])
    slices[:, mesh.sp_rank] = ids
    return add_up(slices, mesh.sp_group).flatten()
