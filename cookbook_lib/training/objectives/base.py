"""The contract that makes one loop enough.

    loss of a step = (sum over every unit of the step, on every rank) / (number of those units)

An objective returns the sum and counts its units; the loop adds counts over the world and divides once. No mean is taken
per micro-batch or per rank, so how a step is cut never changes what it means.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

Stats = dict[str, tuple[torch.Tensor, float]]


@dataclass(frozen=True)
class Loss:
    """`total`: a differentiable sum over this rank's units, in nats. `stats`: name -> (sum, count), added up over the world.

    Every batch gives the same names, an empty one too. Beside a stat `x`, `x_square` is reported as `x_std`.
    """

    total: torch.Tensor
    stats: Stats


class Objective(Protocol):
    unit: str  # "token" | "response" | "pair" | "completion"

    def count(self, batch: Any) -> float:
        """Units that this rank owns in the batch (the sum of their weights)."""

    def __call__(self, model: Any, batch: Any) -> Loss: ...
