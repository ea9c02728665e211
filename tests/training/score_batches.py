"""Batches whose scores a test decides: a model that reads off each last token what it is told to."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import CandidateBatch, pack_candidates, pad_candidates
from cookbook_lib.models.score_head import ScoreHead

ONE_RANK: Any = SimpleNamespace(sp_rank=0, sp_group=None)


class Told:
    """A stand-in for ScoreModel: the head's outputs are `raw` (n, L), in the order of the answers; a leaf with a gradient."""

    def __init__(self, raw: Any, head: ScoreHead | None = None) -> None:
        self.head = head or ScoreHead()
        self.raw = torch.tensor(raw, dtype=torch.float32).reshape(-1, self.head.num_labels).requires_grad_()

    def __call__(self, input_ids, position_ids, cu_seqlens, read, continues=None):
        """Token n + 10 is the last one of answer n; no other token may be read."""
        known = torch.cat([torch.full((10, self.raw.shape[1]), torch.nan, device=self.raw.device), self.raw])
        return read(known[input_ids], torch.nn.Identity())

    def to(self, device: str) -> "Told":
        self.raw = self.raw.detach().to(device).requires_grad_()
        return self


def batch_of(targets: Any, answers: int, *, padded: bool = False) -> CandidateBatch:
    """Units with these targets (U, A): a shared beginning of some tokens, answers of one to three."""
    examples = []
    for unit, row in enumerate(targets):
        rests = [[1] * ((unit + a) % 3) + [10 + unit * answers + a] for a in range(answers)]
        examples.append(
            Candidates(
                np.full(unit % 4, 2, np.int32), tuple(np.array(r, np.int32) for r in rests), np.array(row, np.float32)
            )
        )
    return (pad_candidates if padded else pack_candidates)(examples, range(len(examples)))


def asks_nothing_of_its_device(objective: Any, model: Told, batch: CandidateBatch) -> bool:
    """True when the loss and its counts come about without a number from the device, as a tensor without numbers shows; a GPU
    would otherwise be waited for in every forward."""
    there = torch.device("meta")
    loss = objective(model.to("meta"), batch.to(there))
    counts = [objective.count(batch.to(there)), *(count for _, count in loss.stats.values())]
    totals = [loss.total, *(total for total, _ in loss.stats.values())]
    return all(type(count) is float for count in counts) and all(total.device == there for total in totals)


def means(loss) -> dict[str, float]:
    return {name: float(total) / count if count else float("nan") for name, (total, count) in loss.stats.items()}
