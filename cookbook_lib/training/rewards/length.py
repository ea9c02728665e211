"""What a completion loses by nearly filling the room it has: DAPO's soft punishment of overlong answers.

    R(L) = min(-(L - (L_max - L_buf)) / L_buf, 0), at least -1

      0 ────────────────────┐
                             ╲            L: tokens of the completion
     -1                       ╲________   L_max: rollout.max_new_tokens, L_buf: reward.overlong_buffer
              L_max - L_buf  L_max

The penalty, reward.overlong_penalty, is this part's weight, so that it keeps its meaning when parts are normalised.
Equation 13 of https://arxiv.org/abs/2503.14476.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cookbook_lib.training.rewards.base import RewardFunction, Sample


def overlong(lengths: np.ndarray, longest: int, buffer: int) -> np.ndarray:
    """R(L) from -1 to 0, float64 (C,). lengths (C,), longest and buffer in tokens."""
    return np.clip(-(lengths - (longest - buffer)) / buffer, -1.0, 0.0)


def shaped(longest: int, buffer: int) -> RewardFunction:
    """The reward function of the formula; it reads no text, so it is never None."""

    def function(samples: Sequence[Sample]) -> list[float | None]:
        lengths = np.array([sample.tokens for sample in samples], dtype=np.float64)
        return list(overlong(lengths, longest, buffer).tolist())

    return function
