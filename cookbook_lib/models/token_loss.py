"""The negative log-likelihood of the supervised tokens, without ever holding the logits.

    nll_i = logsumexp_v(h_i . W_v) - h_i . W_{y_i}

Rows without a target never meet the vocabulary. The others meet it some rows at a time: those rows' logits are the largest
tensor made, in memory that is taken once and used again. All but the matrix products is fp32, whatever the compute dtype.

`summed_nll` is SFT's: loss = sum_i w_i nll_i. The gradient of a weighted sum is known as soon as the logits are, so
it is taken in the forward pass (as in Liger, https://arxiv.org/abs/2410.10989) and only scaled in the backward.

Shapes: n supervised rows, c of them at a time, D model dim, V vocab.
"""

import functools
from typing import Any

import torch

IGNORE_INDEX = -100
LOGIT_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}  # of one chunk: few passes over the (V, D) gradient
FEWEST_ROWS = 256
IN_CACHE = 1 << 19  # logits that a CPU turns into their gradient at once: 2 MiB of fp32
ROWS_AT_ONCE = 4096  # of the (V, D) gradient, likewise


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor,
                softcap: float | None, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = _SumOfProducts(weight) if wants_weight else None
        nll = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        scratch = _Scratch(chunk, len(labels), weight)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            h, y, w = hidden[part], labels[part, None], weights[part, None]
            logits = scratch.logits(h)
            for few in scratch.blocks(len(h)):
                exact = scratch.exact(logits[few])
                slope = None if softcap is None else _cap(exact, softcap)
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
    once, by default as many as LOGIT_BYTES allows.
    """
    valid = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
    if not torch.is_grad_enabled():  # a Function sees requires_grad and not the mode: validation would pay for it
        hidden, output_weight = hidden.detach(), output_weight.detach()
    rows = hidden.flatten(0, 1).index_select(0, valid)
    picked = labels.flatten().index_select(0, valid)
    chunk = chunk or _rows_at_once(output_weight)
    return _SummedNLL.apply(rows, output_weight, picked, weights.flatten().index_select(0, valid), softcap, chunk)


def _rows_at_once(weight: torch.Tensor) -> int:
    each = weight.shape[0] * (4 if weight.is_cuda else weight.element_size())
    return max(FEWEST_ROWS, LOGIT_BYTES.get(weight.device.type, 64 << 20) // each)


class _Scratch:
    """Memory for the logits of one chunk, in compute dtype, and of a few rows in fp32.

    On a CPU a fresh tensor of this size comes from the system page by page, at several times the cost of writing to it: it
    is kept from one loss to the next. What is larger than the cache is read from memory at every pass: a few rows at a time
    stay in it. A CUDA product is fp32 already, in memory of its own, and is read whole.
    """

    def __init__(self, chunk: int, rows: int, weight: torch.Tensor) -> None:
        self.weight = weight
        if weight.is_cuda:
            self.step, self.raw = chunk, weight.new_empty(min(chunk, rows), weight.shape[0])
        else:
            self.step = min(max(IN_CACHE // weight.shape[0], 1), chunk)
            self.raw, self.fp32 = _kept(chunk, self.step, weight.shape[0], weight.dtype)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """h (c, D) -> (c, V): fp32 straight from a CUDA device's tensor cores, elsewhere in compute dtype."""
        if h.is_cuda and h.dtype != torch.float32:
            return torch.mm(h, self.weight.T, out_dtype=torch.float32)
        return torch.mm(h, self.weight.T, out=self.raw[: len(h)])

    def blocks(self, rows: int) -> list[slice]:
        """Rows 0 .. rows - 1, as many at a time as are worked on together."""
        return [slice(start, min(start + self.step, rows)) for start in range(0, rows, self.step)]

    def exact(self, logits: torch.Tensor) -> torch.Tensor:
        """A few rows in fp32: themselves, or a copy."""
        return logits if logits.dtype == torch.float32 else self.fp32[: len(logits)].copy_(logits)

    def keep(self, exact: torch.Tensor, place: torch.Tensor) -> None:
        """The few rows back to where they were taken from, if they are a copy."""
        if exact.dtype != place.dtype:
            place.copy_(exact)

    def compute(self, g: torch.Tensor) -> torch.Tensor:
        """(c, V) in compute dtype."""
        return g if g.dtype == self.weight.dtype else self.raw[: len(g)].copy_(g)


@functools.lru_cache(maxsize=1)
def _kept(rows: int, block: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):
        return torch.empty(rows, vocabulary, dtype=dtype), torch.empty(block, vocabulary, dtype=torch.float32)


class _SumOfProducts:
    """total (V, D) = sum of g^T h over chunks g (c, V), h (c, D), in fp32 whatever their dtype."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.total = torch.empty_like(weight, dtype=torch.float32)
        self.product = self.total if weight.dtype == torch.float32 else torch.empty_like(weight)
        self.empty = True

    def result(self) -> torch.Tensor:
        return self.total.zero_() if self.empty else self.total

    def add(self, g: torch.Tensor, h: torch.Tensor) -> None:
        empty, self.empty = self.empty, False
        if self.product is self.total:
            torch.addmm(self.total, g.T, h, beta=0 if empty else 1, out=self.total)
            return
        torch.mm(g.T, h, out=self.product)
        # of unlike types, so by way of a copy: a small one stays in the cache
        for rows, more in zip(self.total.split(ROWS_AT_ONCE), self.product.split(ROWS_AT_ONCE), strict=True):
            rows.copy_(more) if empty else rows.add_(more)


def _cap(logits: torch.Tensor, softcap: float) -> torch.Tensor:
    """Cap in place; the slope d capped / d raw, (c, V)."""
    logits.div_(softcap).tanh_()
    slope = 1 - logits.square()
    logits.mul_(softcap)
    return slope
