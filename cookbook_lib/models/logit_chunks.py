"""Logits, some rows at a time: the memory that they pass through, and what adds up over them.

    for each chunk of rows      h (c, D)  ->  logits (c, V)  ->  numbers, and a gradient in their place  ->  (c, D), (V, D)

Shared by what meets the vocabulary token by token (token_loss.py, token_logps.py). Everything but the matrix products is fp32.

Shapes: c rows at a time, D model dim, V vocab.
"""

import functools

import torch

LOGIT_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}  # of one chunk: few passes over the (V, D) gradient
FEWEST_ROWS = 256
IN_CACHE = 1 << 19  # logits that a CPU turns into their gradient at once: 2 MiB of fp32
ROWS_AT_ONCE = 4096  # of the (V, D) gradient, likewise


def rows_at_once(weight: torch.Tensor) -> int:
    """As many rows of logits as LOGIT_BYTES hold. weight (V, D): the output embedding."""
    each = weight.shape[0] * (4 if weight.is_cuda else weight.element_size())
    return max(FEWEST_ROWS, LOGIT_BYTES.get(weight.device.type, 64 << 20) // each)


class Scratch:
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


def exact_logits(h: torch.Tensor, weight: torch.Tensor, softcap: float | None = None) -> torch.Tensor:
    """Logits (c, V) fp32 as the losses see them, to the bit, of few rows h (c, D) that are done with at once. No gradient."""
    fused = h.is_cuda and h.dtype != torch.float32  # as Scratch.logits
    logits = torch.mm(h, weight.T, out_dtype=torch.float32) if fused else torch.mm(h, weight.T).float()
    if softcap is not None:
        cap_(logits, softcap)
    return logits


@functools.lru_cache(maxsize=1)
def _kept(rows: int, block: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):
        return torch.empty(rows, vocabulary, dtype=dtype), torch.empty(block, vocabulary, dtype=torch.float32)


class SumOfProducts:
    """total (V, D) = sum of g^T h over chunks g (c, V), h (c, D), in fp32 whatever their dtype."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.total = torch.empty_like(weight, dtype=torch.float32)
        self.product = self.total if weight.dtype == torch.float32 else torch.empty_like(weight)
        self.empty = True

    def result(self) -> torch.Tensor:
        """(V, D) fp32; zeros where nothing was added."""
        return self.total.zero_() if self.empty else self.total

    def add(self, g: torch.Tensor, h: torch.Tensor) -> None:
        """g (c, V), h (c, D), both in compute dtype."""
        empty, self.empty = self.empty, False
        if self.product is self.total:
            torch.addmm(self.total, g.T, h, beta=0 if empty else 1, out=self.total)
            return
        torch.mm(g.T, h, out=self.product)
        # of unlike types, so by way of a copy: a small one stays in the cache
        for rows, more in zip(self.total.split(ROWS_AT_ONCE), self.product.split(ROWS_AT_ONCE), strict=True):
            rows.copy_(more) if empty else rows.add_(more)


def cap_(logits: torch.Tensor, softcap: float) -> torch.Tensor:
    """c tanh(logits / c) in place of logits (c, V) fp32; the slope d capped / d raw, (c, V)."""
    logits.div_(softcap).tanh_()
    slope = 1 - logits.square()
    logits.mul_(softcap)
    return slope
