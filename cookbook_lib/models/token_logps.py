r"""The log-probabilities of given tokens, each with a gradient of its own, without ever holding the logits.

    z_i = W h_i / T         logp_i = z_iy - lse(z_i)          H_i = lse(z_i) - sum_v p_iv z_iv           p = softmax(z)

    d logp_i / d z_iv = 1[v = y] - p_iv                       d H_i / d z_iv = - p_iv (log p_iv + H_i)

SFT's loss (token_loss.py) is a sum whose gradient is known as soon as the logits are. What a policy's loss makes of a
log-probability is known only after all of them: the logits, some rows of them at a time, are made a second time in the
backward pass. All but the matrix products is fp32, whatever the compute dtype.

Shapes: N tokens, c of them at a time, D model dim, V vocab.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from cookbook_lib.config import CookbookError
from cookbook_lib.models.logit_chunks import Scratch, SumOfProducts, cap_, rows_at_once


@dataclass(frozen=True)
class _Head:
    """From the products of hidden states and output embedding to z, and back."""

    temperature: float
    softcap: float | None

    def apply_(self, logits: torch.Tensor) -> torch.Tensor | None:
        """logits (c, V) fp32 become z, in place; returns the cap's slope where there is a cap."""
        slope = None if self.softcap is None else cap_(logits, self.softcap)
        if self.temperature != 1:
            logits.div_(self.temperature)
        return slope

    def undo_(self, grad: torch.Tensor, slope: torch.Tensor | None) -> None:
        """The gradient by z (c, V) becomes that by the products, in place."""
        if slope is not None:
            grad.mul_(slope)
        if self.temperature != 1:
            grad.div_(self.temperature)


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, head: _Head, entropy: bool,
                chunk: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        logps, lse, entropies = (torch.empty(len(targets), device=hidden.device) for _ in range(3))
        scratch = Scratch(chunk, len(targets), weight)
        for start in range(0, len(targets), chunk):
            logits = scratch.logits(hidden[start : start + chunk])
            for few in scratch.blocks(len(logits)):
                rows = slice(start + few.start, start + few.stop)
                z = scratch.exact(logits[few])
                head.apply_(z)
                logps[rows], lse[rows], entropies[rows] = _measured_(z, targets[rows, None])
        ctx.save_for_backward(hidden, weight, targets, lse, entropies)
        ctx.head, ctx.entropy, ctx.chunk = head, entropy, chunk
        if not entropy:
            ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor, grad_entropy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, targets, lse, entropies = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = SumOfProducts(weight) if wants_weight else None
        scratch = Scratch(ctx.chunk, len(targets), weight)
        for start in range(0, len(targets), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = scratch.logits(hidden[part])
            for few in scratch.blocks(len(logits)):
                rows = slice(start + few.start, start + few.stop)
                z = scratch.exact(logits[few])
                slope = ctx.head.apply_(z)
                z.sub_(lse[rows, None])
                if ctx.entropy:
                    _both_gradients_(z, grad[rows, None], grad_entropy[rows, None], entropies[rows, None])
                else:
                    z.exp_().mul_(-grad[rows, None])
                z.scatter_add_(1, targets[rows, None], grad[rows, None])
                ctx.head.undo_(z, slope)
                scratch.keep(z, logits[few])
            g = scratch.compute(logits)
            if grad_hidden is not None:
                torch.mm(g, weight, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight.add(g, hidden[part])
        whole = None if grad_weight is None else grad_weight.result().to(weight.dtype)
        return grad_hidden, whole, None, None, None, None


def _measured_(z: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """logp, lse and entropy of each row, (c); z (c, V) is used up. targets (c, 1)."""
    top = z.amax(1, keepdim=True)
    picked = z.sub_(top).gather(1, targets).squeeze(1)
    powers = z.exp()
    total = powers.sum(1)
    lse = total.log()  # above `top`
    return picked - lse, lse + top.squeeze(1), lse - powers.mul_(z).sum(1) / total


def _both_gradients_(log_p: torch.Tensor, grad: torch.Tensor, by_entropy: torch.Tensor, entropy: torch.Tensor) -> None:
    """log p (c, V) becomes - p (grad + by_entropy (log p + H)), in place. The others (c, 1)."""
    powers = log_p.exp()
    log_p.add_(entropy).mul_(by_entropy).add_(grad).mul_(powers).neg_()


def token_logps(
    hidden: torch.Tensor,
    output_weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    chunk: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """log P(target) of each row, and the entropy of what it was chosen from: (logps (N,), entropies (N,)), fp32, in nats.

    hidden (N, D) in compute dtype, output_weight (V, D) same dtype, targets (N,) int64. Both are of the distribution at
    `temperature`, the one that was sampled from: softmax(logits / temperature), after the model's own `softcap` c, c * tanh(
    logits / c). The entropies have a gradient with `entropy` alone. `chunk`: rows of logits at once. Raises CookbookError
    for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise CookbookError(
            f"the temperature of log-probabilities is {temperature}; it must be above 0, the one that was sampled with: for "
            "greedy answers, give 1."
        )
    head = _Head(temperature, softcap)
    return _TokenLogps.apply(hidden, output_weight, targets, head, entropy, chunk or rows_at_once(output_weight))
