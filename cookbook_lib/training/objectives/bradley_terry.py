r"""Bradley-Terry: the better answer gets the higher score.

    P(c > r) = sigma(s_c - s_r)
    L = - p log sigma(d) - (1 - p) log sigma(-d)  +  gamma (s_c + s_r)^2        d = s_c - s_r - a m

s_c, s_r the scores of the chosen and the rejected answer, m the pair's margin and a its scale (Llama 2,
https://arxiv.org/abs/2307.09288, eq. 2); p = 1 - eps with label smoothing eps, p = 1/2 for a tie, which has no margin;
gamma centres the scores on zero (https://arxiv.org/abs/2312.09244). The unit is a pair. The model: Bradley and Terry, 1952.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import BradleyTerryConfig
from cookbook_lib.data.reward.packing import CandidateBatch
from cookbook_lib.models.score_head import ScoreModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Loss, Stats
from cookbook_lib.training.objectives.scoring import counted, raw_scores, sent

Mask = NDArray[np.bool_]  # (U,)


class BradleyTerry:
    unit = "pair"

    def __init__(self, mesh: Mesh, options: BradleyTerryConfig) -> None:
        self.mesh, self.options = mesh, options

    def count(self, batch: CandidateBatch) -> float:
        return float(counted(batch, self.mesh).sum())

    def __call__(self, model: ScoreModel, batch: CandidateBatch) -> Loss:
        if model.head.kind != "scalar":
            raise CookbookError(
                f"Bradley-Terry compares one number, and this model has a {model.head.kind} head: give a scalar one."
            )
        scores = raw_scores(model, batch, self.mesh, answers=2)[..., 0]  # (U, 2)
        targets, mine = batch.targets.reshape(-1, 2), counted(batch, self.mesh)
        margin, p = sent(targets, scores).unbind(1)
        losses = pair_losses(
            scores[:, 0],
            scores[:, 1],
            margin=self.options.margin_scale * margin if self.options.use_margin else None,
            preference=torch.where(p == 1, 1 - self.options.label_smoothing, p),
            center_coefficient=self.options.center_coefficient,
        )
        decided = mine & (targets[:, 1] == 1)
        total = (losses * sent(mine, scores)).sum()
        return Loss(total, _stats(scores.detach(), total.detach(), mine, decided))


def pair_losses(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    margin: torch.Tensor | None = None,
    preference: torch.Tensor | float = 1.0,
    center_coefficient: float = 0.0,
) -> torch.Tensor:
    """Loss of each pair, nats. chosen, rejected, margin, preference (share of the preference that chosen has): (U,)."""
    d = chosen - rejected if margin is None else chosen - rejected - margin
    p = preference
    return -p * F.logsigmoid(d) - (1 - p) * F.logsigmoid(-d) + center_coefficient * (chosen + rejected).square()


def _stats(scores: torch.Tensor, loss: torch.Tensor, mine: Mask, decided: Mask) -> Stats:
    """accuracy: share of the pairs that are no ties in which chosen scores higher, equal scores counting one half;
    margin: mean of s_c - s_r; brier: mean of (1 - P(c > r))^2, 1/4 where nothing is known; score, score_square: of all answers."""
    d = scores[:, 0] - scores[:, 1]
    right = (d > 0).to(d.dtype) + 0.5 * (d == 0)
    own, clear = sent(mine, scores)[:, None], sent(decided, scores)
    count, pairs = float(decided.sum()), float(mine.sum())
    return {
        "loss": (loss, pairs),
        "accuracy": ((right * clear).sum(), count),
        "margin": ((d * clear).sum(), count),
        "brier": (((1 - d.sigmoid()).square() * clear).sum(), count),
        "score": ((scores * own).sum(), 2 * pairs),
        "score_square": ((scores.square() * own).sum(), 2 * pairs),
    }
