"""The negative log-likelihood of the supervised tokens, without ever holding the logits.

    nll_i = logsumexp_v(h_i . W_v) - h_i . W_{y_i}

Rows without a target never meet the vocabulary. The others meet it some rows at a time: those rows' logits are the largest
tensor made, in memory that is taken once and used again. All but the matrix products is fp32, whatever the compute dtype.

`summed_nll` is SFT's: loss = sum_i w_i nll_i. The gradient of a weighted sum is known as soon as the logits are, so
it is taken in the forward pass (as in Liger, https://arxiv.org/abs/2410.10989) and only scaled in the backward.

Shapes: n supervised rows, c of them at a time, D model dim, V vocab.
"""

from typing import Any

import torch

from cookbook_lib.models.logit_chunks import ROWS_AT_ONCE, Scratch, SumOfProducts, cap_, rows_at_once

IGNORE_INDEX = -100


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor,
                softcap: float | None, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = SumOfProducts(weight) if wants_weight else None
        nll = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        scratch = Scratch(chunk, len(labels), weight)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            h, y, w = hidden[part], labels[part, None], weights[part, None]
            logits = scratch.logits(h)
            for few in scratch.blocks(len(h)):
                exact = scratch.exact(logits[few])
                slope = None if softcap is None else cap_(exact, softcap)
                nll[start + few.start : start + few.stop], total = _nll_(exact, y[few])
                if wants_hidden or wants_weight:
                    scratch.keep(_gradient_(exact, total, y[few], w[few], slope), logits[few])
            if not (wants_hidden or wants_weight):
                continue
            g = scratch.compute(logits)
            if grad_hidden is not None:
                torch.mm(g, weight, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight.add(g, h)
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.result())
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(nll)
        return torch.dot(nll, weights), nll

    @staticmethod
    def backward(ctx: Any, grad_total: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # grad_total, 0-dimensional, stays fp32 in the product: rounded first, it would bend every gradient alike.
        scaled = [None if g is None else _scaled(g, grad_total, ctx.dtype) for g in ctx.saved_tensors]
        return scaled[0], scaled[1], None, None, None, None


def _nll_(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """logits (c, V) fp32, labels (c, 1) -> -log softmax at the labels (c), and the sum (c, 1) of what the logits become: exp(logits - top).

    In place, for a fresh (c, V) tensor costs more than the arithmetic.
    """
    picked, top = logits.gather(1, labels), logits.amax(1, keepdim=True)
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    return (total.log() + top - picked).squeeze(1), total


def _gradient_(
    powers: torch.Tensor, total: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, slope: torch.Tensor | None
) -> torch.Tensor:
    """w (softmax - one_hot), by the capped logits' slope: the gradient of w nll, in place of its powers (c, V)."""
    g = powers.mul_(weights / total).scatter_add_(1, labels, -weights)
    return g if slope is None else g.mul_(slope)


def _scaled(grad: torch.Tensor, by: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """grad * by, in `dtype`."""
    if grad.dtype == dtype:
        return grad * by
    out = torch.empty_like(grad, dtype=dtype)
    for rows, exact in zip(out.split(ROWS_AT_ONCE), grad.split(ROWS_AT_ONCE), strict=True):
        rows.copy_(exact * by)
    return out


def summed_nll(
    hidden: torch.Tensor,
    output_weight: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    softcap: float | None = None,
    chunk: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the supervised tokens' negative log-likelihoods, and each one's own value.

    hidden (B, T, D) in compute dtype, output_weight (V, D) same dtype, labels (B, T) already shifted with IGNORE_INDEX,
    weights (B, T) fp32 -> (total () fp32 in nats, differentiable; nll (n,) fp32 of the n supervised tokens in row order).
    `softcap` c: logits are c * tanh(logits / c) (Gemma 2, https://arxiv.org/abs/2408.00118). `chunk`: rows of logits at
    once, by default as many as logit_chunks.LOGIT_BYTES allows.
    """
    valid = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
    if not torch.is_grad_enabled():  # a Function sees requires_grad and not the mode: validation would pay for it
        hidden, output_weight = hidden.detach(), output_weight.detach()
    rows = hidden.flatten(0, 1).index_select(0, valid)
    picked = labels.flatten().index_select(0, valid)
    chunk = chunk or rows_at_once(output_weight)
    return _SummedNLL.apply(rows, output_weight, picked, weights.flatten().index_select(0, valid), softcap, chunk)
