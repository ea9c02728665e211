r"""The scores of a batch's answers, wherever in the row, and on whichever rank, their last tokens are.

    rank 0   | ... chosen ^ ... rejec |      each rank reads the ends in its slice of the row,
    rank 1   | ted ^ ...              |      the sum over the Ulysses group gives every score to every rank

A unit (a pair, a response) is owned by the rank that holds its first answer's end: it alone counts it and adds its loss.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.data.reward.packing import CandidateBatch
from cookbook_lib.models.score_head import ScoreModel
from cookbook_lib.parallel.collectives import add_up
from cookbook_lib.parallel.mesh import Mesh


@dataclass(frozen=True)
class Ends:
    """Where the ends of a batch's answers are, seen from this rank: known on the CPU. U units, k answers each."""

    here: NDArray[np.bool_]  # (U, k): in this rank's slice
    places: NDArray[np.int64]  # (those here): index into the slice's flattened (B, t) tokens
    owned: NDArray[np.bool_]  # (U,)

    @classmethod
    def of(cls, batch: CandidateBatch, mesh: Mesh) -> "Ends":
        width = batch.input_ids.shape[1]
        row, column = batch.ends[..., 0], batch.ends[..., 1] - mesh.sp_rank * width
        here = (column >= 0) & (column < width)
        return cls(here, (row * width + column)[here], here[:, 0] if here.size else np.zeros(0, np.bool_))


def raw_scores(model: ScoreModel, batch: CandidateBatch, mesh: Mesh, answers: int) -> torch.Tensor:
    """The head's outputs for every answer, (U, answers, L) fp32, the same on every rank of a Ulysses group; differentiable.

    A batch without units goes through the model as well: other ranks wait in its collectives.
    """
    return read_ends(model, batch, mesh, answers)


def read_ends(model: ScoreModel, batch: CandidateBatch, mesh: Mesh, answers: int, *, head: bool = True) -> torch.Tensor:
    """raw_scores, or, without the head, the hidden states (U, answers, D) that it would read."""
    ends = Ends.of(batch, mesh)
    places = sent(ends.places, batch.input_ids)

    def read(hidden: torch.Tensor, score: torch.nn.Module) -> torch.Tensor:
        last = hidden.flatten(0, 1).index_select(0, places)
        out: torch.Tensor = score(last) if head else last
        return out

    mine = model(batch.input_ids, batch.position_ids, batch.cu_seqlens, read, batch.continues).float()
    slots = sent(np.flatnonzero(ends.here), batch.input_ids)
    whole = mine.new_zeros(ends.here.size, mine.shape[1]).index_copy(0, slots, mine)
    return add_up(whole.reshape(-1, answers, mine.shape[1]), mesh.sp_group)


def counted(batch: CandidateBatch, mesh: Mesh) -> NDArray[np.bool_]:
    """(U,) the units that this rank counts. On the CPU, as all counts are: asking a device for one would wait for its queue."""
    return Ends.of(batch, mesh).owned


def sent(values: NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    """The values where `like` is, in its dtype, without waiting for the device."""
    return torch.from_numpy(values).to(like.device, like.dtype, non_blocking=True)
