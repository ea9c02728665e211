"""What the model that a run starts from says of its pairs: taken once, before the first step, and kept beside the rows.

    targets of a pair   margin, preference | log p_ref(chosen), log p_ref(rejected)

The numbers travel with their rows, through any order, any rank and validation; no second model is held.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.data.loader import Loader
from cookbook_lib.data.reward.candidates import CandidateSet
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.fsdp import rest
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.answer_tokens import pair_logps
from cookbook_lib.training.objectives.scoring import counted


@dataclass(frozen=True, kw_only=True)
class ReferencedPairs(CandidateSet):
    """Pairs whose targets have two columns more."""

    reference: NDArray[np.float32]  # (n, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "targets", np.concatenate([self.targets, self.reference], axis=1))


def with_reference(pairs: CandidateSet, model: PackedModel, loader: Loader, mesh: Mesh) -> ReferencedPairs:
    """The same pairs, beside each what `model` says of its answers now. `loader` yields these pairs. A collective call."""
    reference = reference_logps(model, loader, mesh, rows=len(pairs))
    return ReferencedPairs(pairs.tokens, pairs.sharing, reference=reference)


@torch.no_grad()
def reference_logps(model: PackedModel, loader: Loader, mesh: Mesh, *, rows: int) -> NDArray[np.float32]:
    """log p(chosen), log p(rejected) of each of the loader's rows, (rows, 2), on every rank."""
    training = model.training
    model.eval()
    found = np.zeros((rows, 2))
    for batch in loader.epoch():
        mine, sums = counted(batch, mesh), pair_logps(model, batch, mesh).sums
        found[np.array(batch.rows, np.int64)[mine]] = sums.cpu().numpy()[mine]
    model.train(training)
    rest(model)
    return mesh.sum(torch.from_numpy(found)).float().numpy()
