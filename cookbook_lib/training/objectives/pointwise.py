r"""Pointwise scores: each answer's own value, not only its place beside another.

    mse              (y - o)^2                            y = (score - mean) / scale, o the head's output
    huber            |y - o| < delta: (y - o)^2 / 2,  else delta (|y - o| - delta / 2)
    ordinal          - sum_j [t_j log sigma(o_j) + (1 - t_j) log sigma(-o_j)]      t_j = 1 if the level is above j
    classification   - log softmax(o)_level

Several attributes are averaged, those that a row does not know left out. The unit is a response. Ordinal by cumulative
logits: https://arxiv.org/abs/0704.1028; Huber, 1964.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cookbook_lib.config.schema import PointwiseConfig
from cookbook_lib.data.reward.packing import CandidateBatch
from cookbook_lib.models.score_head import ScoreHead, ScoreModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Loss, Stats
from cookbook_lib.training.objectives.scoring import counted, raw_scores, sent


class Pointwise:
    unit = "response"

    def __init__(self, mesh: Mesh, options: PointwiseConfig) -> None:
        self.mesh, self.options = mesh, options

    def count(self, batch: CandidateBatch) -> float:
        return float(counted(batch, self.mesh).sum())

    def __call__(self, model: ScoreModel, batch: CandidateBatch) -> Loss:
        raw = raw_scores(model, batch, self.mesh, answers=1)[:, 0]  # (U, L)
        truth, mine = batch.targets.reshape(-1, len(model.head.attributes)), counted(batch, self.mesh)
        known = ~np.isnan(truth)  # (U, A)
        given, shares = sent(np.nan_to_num(truth), raw), sent(known / known.sum(1, keepdims=True).clip(min=1), raw)
        each = attribute_losses(raw, given, model.head, self.options.loss, self.options.huber_delta)
        total = ((each * shares).sum(1) * sent(mine, raw)).sum()
        stats = _stats(model.head, raw.detach(), given, known & mine[:, None])
        return Loss(total, {"loss": (total.detach(), float(mine.sum())), **stats})


def attribute_losses(
    raw: torch.Tensor, truth: torch.Tensor, head: ScoreHead, loss: str, huber_delta: float = 1.0
) -> torch.Tensor:
    """Loss of each response and attribute, (U, A). raw (U, L) head outputs, truth (U, A) on the scale of the data."""
    outputs = raw.unflatten(1, (len(head.attributes), head.outputs_each))  # (U, A, L / A)
    if loss in ("mse", "huber"):
        mean, scale = (sent(np.array(x), raw) for x in (head.mean, head.scale))
        y, o = (truth - mean) / scale, outputs.squeeze(-1)
        return (y - o).square() if loss == "mse" else F.huber_loss(o, y, reduction="none", delta=huber_delta)
    level = truth.round() - head.lowest
    if loss == "ordinal":
        above = (level[..., None] > torch.arange(head.outputs_each, device=raw.device)).to(raw.dtype)
        return F.binary_cross_entropy_with_logits(outputs, above, reduction="none").sum(-1)
    nll = -outputs.log_softmax(-1).gather(-1, level.long()[..., None].clamp(0, head.levels - 1))
    return nll.squeeze(-1)


def _stats(head: ScoreHead, raw: torch.Tensor, truth: torch.Tensor, told: NDArray[np.bool_]) -> Stats:
    """mae: mean |score - truth|, in the data's own steps; exact: share whose rounded score is the truth; score, score_square."""
    scores, total, own = head.scores(raw), float(told.sum()), sent(told, raw)
    return {
        "mae": (((scores - truth).abs() * own).sum(), total),
        "exact": (((scores.round() == truth) * own).sum(), total),
        "score": ((scores * own).sum(), total),
        "score_square": ((scores.square() * own).sum(), total),
    }
