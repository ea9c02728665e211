"""What training reads: one conversation as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Example:
    """One conversation of T tokens."""

    input_ids: NDArray[np.int32]  # (T,)
    weights: NDArray[np.float32]  # (T,): loss weight of token t as a target, 0 = not learned; weights[0] = 0
    roles: NDArray[np.uint8] | None = None  # (T,): who speaks (speakers.py); for looking at, not for training
