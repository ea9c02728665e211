"""The negative log-likelihood of the supervised tokens, without ever holding the logits.

    nll_i = logsumexp_v(h_i . W_v) - h_i . W_{y_i}

Rows without a target never meet the vocabulary. The others meet it CHUNK rows at a time: (CHUNK, V) is the largest tensor
made. Everything after the matrix product is fp32, whatever the compute dtype.

`summed_nll` is SFT's: loss = sum_i w_i nll_i. The gradient of a weighted sum is known as soon as the logits are, so
it is taken in the forward pass (as in Liger, https://arxiv.org/abs/2410.10989) and only scaled in the backward.
"""

from typing import Any

import torch

IGNORE_INDEX = -100
CHUNK = 256  # rows of logits alive at once; 256 x 151,936 words in fp32 are 148 MiB


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor,
                softcap: float | None, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wants_weight else None
        nll = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            h, y = hidden[part], labels[part]
            logits = _capped(_project(h, weight), softcap)
            lse = torch.logsumexp(logits, -1)
            nll[part] = lse - logits.gather(1, y[:, None]).squeeze(1)
            if not (wants_hidden or wants_weight):
                continue
            slope = None if softcap is None else 1 - (logits / softcap).square()  # d capped / d raw
            g = logits.sub_(lse[:, None]).exp_()  # softmax, in place of the logits
            g.scatter_add_(1, y[:, None], torch.full_like(lse, -1.0)[:, None])
            g.mul_(weights[part, None])
            g = (g if slope is None else g.mul_(slope)).to(h.dtype)
            if grad_hidden is not None:
                torch.mm(g, weight, out=grad_hidden[part])
            if grad_weight is not None:
                if h.dtype == torch.float32:
                    grad_weight.addmm_(g.T, h)
                else:
                    grad_weight.add_(g.T @ h)
        ctx.dtype = weight.dtype
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(nll)
        return torch.dot(nll, weights), nll

    @staticmethod
    def backward(ctx: Any, grad_total: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad_total  # not rounded to bf16 first: that would bend every gradient alike
        if grad_weight is not None:
            grad_weight = (grad_weight * grad_total).to(ctx.dtype)
        return grad_hidden, grad_weight, None, None, None, None


def summed_nll(
    hidden: torch.Tensor,
    output_weight: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    softcap: float | None = None,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the supervised tokens' negative log-likelihoods, and each one's own value.

    hidden (B, T, D) in compute dtype, output_weight (V, D) same dtype, labels (B, T) already shifted with IGNORE_INDEX,
    weights (B, T) fp32 -> (total () fp32 in nats, differentiable; nll (n,) fp32 of the n supervised tokens in row order).
    `softcap` c: logits are c * tanh(logits / c) (Gemma 2, https://arxiv.org/abs/2408.00118).
    """
    valid = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
    if (
        not torch.is_grad_enabled()
    ):  # a Function sees requires_grad and not the mode: validation would pay for gradients
        hidden, output_weight = hidden.detach(), output_weight.detach()
    rows = hidden.flatten(0, 1).index_select(0, valid)
    picked = labels.flatten().index_select(0, valid)
    return _SummedNLL.apply(rows, output_weight, picked, weights.flatten().index_select(0, valid), softcap, chunk)


def _project(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(n, D) x (V, D) -> (n, V) in fp32; on CUDA the product itself leaves the tensor cores in fp32."""
    if h.is_cuda and h.dtype != torch.float32:
        return torch.mm(h, weight.T, out_dtype=torch.float32)
    return (h @ weight.T).float()


def _capped(logits: torch.Tensor, softcap: float | None) -> torch.Tensor:
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)
