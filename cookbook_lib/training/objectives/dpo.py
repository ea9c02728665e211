r"""Direct preference optimisation: a policy that prefers what people do, without rewards and without rollouts.

    h = log p(c)/p_ref(c) - log p(r)/p_ref(r)              beta log p/p_ref: the reward that the policy is the best answer to

    sigmoid   - q log sigma(beta h) - (1 - q) log sigma(- beta h)         https://arxiv.org/abs/2305.18290
    ipo       (h' - (2 q - 1) / (2 beta))^2                               https://arxiv.org/abs/2310.12036, eq. 17

c, r the chosen and the rejected answer. q: the share of the preference that c has: 1, 1/2 of a tie, 1 - eps with label
smoothing eps (conservative DPO). h' has log-ratios per token, as IPO's authors meant it. Tokens that both answers begin with
say nothing about which is better: their log-ratios cancel in h, and h' leaves them out. The unit is a pair.

The reference's log-probabilities stand in columns 2 and 3 of the batch's targets (training/reference.py).
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import DpoConfig
from cookbook_lib.data.reward.packing import CandidateBatch
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.answer_tokens import pair_logps
from cookbook_lib.training.objectives.base import Loss, Stats
from cookbook_lib.training.objectives.scoring import counted, sent


class DPO:
    unit = "pair"

    def __init__(self, mesh: Mesh, options: DpoConfig) -> None:
        self.mesh, self.options = mesh, options

    def count(self, batch: CandidateBatch) -> float:
        return float(counted(batch, self.mesh).sum())

    def __call__(self, model: PackedModel, batch: CandidateBatch) -> Loss:
        if len(batch.targets) and batch.targets.shape[1] != 4:
            raise CookbookError(
                "DPO compares with a reference, and these pairs come without its log-probabilities: give those of with_reference."
            )
        said = pair_logps(model, batch, self.mesh)
        targets, mine = batch.targets.reshape(-1, 4), counted(batch, self.mesh)
        preference, reference = sent(targets[:, 1], said.sums), sent(targets[:, 2:], said.sums)
        losses = dpo_losses(said.sums - reference, said.counts, preference, self.options)
        rewards = self.options.beta * (said.sums.detach() - reference)
        stats = _stats(losses.detach(), rewards, said.sums.detach(), mine, mine & (targets[:, 1] == 1))
        return Loss((losses * sent(mine, losses)).sum(), stats)


def dpo_losses(
    ratios: torch.Tensor, counts: torch.Tensor, preference: torch.Tensor, options: DpoConfig
) -> torch.Tensor:
    """Loss of each pair, (U,). ratios (U, 2): log p/p_ref of chosen and rejected; counts (U, 2): tokens of each; preference (U,)."""
    q = torch.where(preference == 1, 1 - options.label_smoothing, preference)
    if options.loss == "ipo":
        chosen, rejected = (ratios / counts.clamp(min=1)).unbind(1)
        return (chosen - rejected - (2 * q - 1) / (2 * options.beta)).square()
    z = options.beta * (ratios[:, 0] - ratios[:, 1])
    return -q * F.logsigmoid(z) - (1 - q) * F.logsigmoid(-z)


def _stats(
    losses: torch.Tensor,
    rewards: torch.Tensor,
    logps: torch.Tensor,
    mine: NDArray[np.bool_],
    decided: NDArray[np.bool_],
) -> Stats:
    """accuracy: share of the pairs that are no ties whose chosen answer has the higher reward, beta log p/p_ref, equal ones
    counting one half; margin: mean difference of the rewards; chosen_logp, rejected_logp: of an answer's own tokens."""
    d = rewards[:, 0] - rewards[:, 1]
    right = (d > 0).to(d.dtype) + 0.5 * (d == 0)
    all_pairs, all_decided = sent(mine, losses), sent(decided, losses)
    means = {
        "loss": losses,
        "chosen_reward": rewards[:, 0],
        "rejected_reward": rewards[:, 1],
        "chosen_logp": logps[:, 0],
        "rejected_logp": logps[:, 1],
    }
    stats = {name: ((x * all_pairs).sum(), float(mine.sum())) for name, x in means.items()}
    some = float(decided.sum())
    return stats | {"accuracy": ((right * all_decided).sum(), some), "margin": ((d * all_decided).sum(), some)}
