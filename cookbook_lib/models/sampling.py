"""The next token of each row, from its logits: the likeliest, or one drawn.

    logits / temperature -> log softmax -> top_k, top_p leave some tokens -> u ~ U(0, 1), row by row -> the token where the
                                                                             summed chances pass u times their sum

One uniform number decides a token, so rows draw from generators of their own and are still drawn together, on the device.

Shapes: B rows, V vocab.
"""

from dataclasses import dataclass

import torch

from cookbook_lib.config import CookbookError


@dataclass(frozen=True)
class Sampling:
    """temperature 0: the likeliest token. top_k: only the k likeliest, 0 for all. top_p: only the fewest likeliest that have
    at least this chance together (nucleus sampling, https://arxiv.org/abs/1904.09751), of what top_k leaves."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise CookbookError(
                f"cannot draw with temperature={self.temperature}, top_p={self.top_p}, top_k={self.top_k}: the first is at "
                "least 0, the second above 0 and at most 1, the third at least 0 (for all tokens)."
            )


def choose(logits: torch.Tensor, uniform: torch.Tensor, how: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B,) int64, -1 where logits are not finite, and their log-probabilities (B,) fp32.

    logits (B, V); uniform (B,) fp64 in [0, 1), unused at temperature 0. A log-probability is that of the whole distribution
    at the temperature (at 1 where it is 0), whatever top_k and top_p leave: what a training pass computes for the token.
    """
    logs = (logits.float() / how.temperature if how.temperature else logits.float()).log_softmax(-1)
    if how.temperature:
        tokens, finite = _drawn(_kept(logs, how).exp(), uniform)
    else:
        best, tokens = logs.max(-1)
        finite = best.isfinite()
    chosen = logs.gather(1, tokens[:, None]).squeeze(1)
    return tokens.where(finite, -1), chosen


def _drawn(chances: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """chances (B, V), which need not sum to 1. In fp64: 150,000 fp32 chances would sum to something else."""
    summed = chances.cumsum(-1, dtype=torch.float64)
    total = summed[:, -1:]
    passed = torch.searchsorted(summed, uniform[:, None] * total, right=True)  # first sum above it: its chance is not 0
    return passed.squeeze(1).clamp(max=chances.shape[1] - 1), total.squeeze(1).isfinite()


def _kept(logs: torch.Tensor, how: Sampling) -> torch.Tensor:
    """The same with -inf for what top_k and top_p leave out."""
    if 0 < how.top_k < logs.shape[1]:
        least = logs.topk(how.top_k, dim=-1).values[:, -1:]
        logs = logs.masked_fill(logs < least, float("-inf"))
    if how.top_p < 1:
        ordered, places = logs.sort(-1, descending=True)
        chances = ordered.softmax(-1)
        beyond = chances.cumsum(-1) - chances >= how.top_p  # what is before the first is 0: it always stays
        logs = logs.masked_fill(beyond.scatter(1, places, beyond), float("-inf"))
    return logs
