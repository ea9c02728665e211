"""Supervised fine-tuning: next-token cross-entropy on what the assistant says.

    L = - sum_t w_t log P(y_t | y_<t, x) / sum_t w_t        t over the supervised tokens of the whole step

y_t a token of an assistant turn (its end-of-turn token included), x everything before it, w_t its weight (1 unless a
message says otherwise). Others average averages; why that is another loss: docs/concepts/objectives.md.
"""

from functools import partial

from cookbook_lib.data.packing import Batch
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.token_loss import summed_nll
from cookbook_lib.training.objectives.base import Loss


class SFT:
    unit = "token"

    def count(self, batch: Batch) -> float:
        return float(batch.weights.sum())

    def __call__(self, model: PackedModel, batch: Batch) -> Loss:
        read = partial(summed_nll, labels=batch.labels, weights=batch.weights, softcap=model.final_softcap)
        total, _ = model(batch.input_ids, batch.position_ids, batch.cu_seqlens, read)
        return Loss(total, {"loss": (total.detach(), self.count(batch))})
