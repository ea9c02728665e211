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

IGNORE_INDEX = -100
LOGITS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 28}  # 64 MiB and 1 GiB of fp32: few passes over the (V, D) gradient
FEWEST_ROWS = 256
ROWS_ADDED = 4096  # of the (V, D) gradient at once


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor,
                softcap: float | None, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wants_weight else None
        nll = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        scratch = _Scratch(min(chunk, len(labels)), weight)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            h, y, w = hidden[part], labels[part, None], weights[part, None]
            logits = scratch.logits(h)
            slope = None if softcap is None else _cap(logits, softcap)
            picked, top = logits.gather(1, y), logits.amax(1, keepdim=True)
            powers = logits.sub_(top).exp_()  # in place: a fresh (c, V) tensor costs more than the arithmetic
            total = powers.sum(1, keepdim=True)
            nll[part] = (total.log() + top - picked).squeeze(1)
            if not (wants_hidden or wants_weight):
                continue
            g = powers.mul_(w / total).scatter_add_(1, y, -w)  # w (softmax - one_hot)
            g = scratch.compute(g if slope is None else g.mul_(slope))
            if grad_hidden is not None:
                torch.mm(g, weight, out=grad_hidden[part])
            if grad_weight is not None:
                scratch.add_product(grad_weight, g, h)
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(nll)
        return torch.dot(nll, weights), nll

    @staticmethod
    def backward(ctx: Any, grad_total: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        # grad_total, 0-dimensional, stays fp32 in the product: rounded first, it would bend every gradient alike.
        scaled = [None if g is None else g * grad_total for g in (grad_hidden, grad_weight)]
        return scaled[0], scaled[1], None, None, None, None


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
    once, by default as many as LOGITS_AT_ONCE allows.
    """
    valid = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
    if not torch.is_grad_enabled():  # a Function sees requires_grad and not the mode: validation would pay for it
        hidden, output_weight = hidden.detach(), output_weight.detach()
    rows = hidden.flatten(0, 1).index_select(0, valid)
    picked = labels.flatten().index_select(0, valid)
    chunk = chunk or max(FEWEST_ROWS, LOGITS_AT_ONCE.get(hidden.device.type, 1 << 24) // output_weight.shape[0])
    return _SummedNLL.apply(rows, output_weight, picked, weights.flatten().index_select(0, valid), softcap, chunk)


class _Scratch:
    """Memory for the logits of one chunk, in compute dtype and in fp32, taken once.

    On a CPU a fresh tensor of this size comes from the system page by page, at several times the cost of writing to it.
    """

    def __init__(self, rows: int, weight: torch.Tensor) -> None:
        self.weight, self.exact = weight, weight.dtype == torch.float32
        self.raw = weight.new_empty(rows, weight.shape[0])
        copied = 0 if weight.is_cuda else rows  # a CUDA product is fp32 already, in memory of its own
        self.fp32 = self.raw if self.exact else weight.new_empty(copied, weight.shape[0], dtype=torch.float32)
        self.product: torch.Tensor | None = None

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """h (c, D) -> (c, V) fp32. On CUDA the product leaves the tensor cores in fp32, elsewhere in compute dtype."""
        if h.is_cuda and not self.exact:
            return torch.mm(h, self.weight.T, out_dtype=torch.float32)
        raw = torch.mm(h, self.weight.T, out=self.raw[: len(h)])
        return raw if self.exact else self.fp32[: len(h)].copy_(raw)

    def compute(self, g: torch.Tensor) -> torch.Tensor:
        """(c, V) fp32 -> compute dtype."""
        return g if self.exact else self.raw[: len(g)].copy_(g)

    def add_product(self, total: torch.Tensor, g: torch.Tensor, h: torch.Tensor) -> None:
        """total (V, D) fp32 += g^T h, for g (c, V) and h (c, D)."""
        if self.exact:
            total.addmm_(g.T, h)
            return
        self.product = torch.empty_like(self.weight) if self.product is None else self.product
        product = torch.mm(g.T, h, out=self.product)
        for rows, more in zip(total.split(ROWS_ADDED), product.split(ROWS_ADDED), strict=True):
            rows.add_(more)  # of unlike types, so by way of a copy: a small one stays in the cache


def _cap(logits: torch.Tensor, softcap: float) -> torch.Tensor:
    """Cap in place; the slope d capped / d raw, (c, V)."""
    logits.div_(softcap).tanh_()
    slope = 1 - logits.square()
    logits.mul_(softcap)
    return slope
