"""How likely a model finds what it should have said: the negative log-likelihood of each row, on the training road.

    nll_i = - sum_t w_t log P(y_t | y_<t, x)        t over the supervised tokens of row i, w_t their weights

Packed, varlen, the same masks and the same per-token loss as training, so that evaluation and val/loss are one number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.loader import Examples, Loader
from cookbook_lib.data.packing import Batch
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.token_loss import IGNORE_INDEX, summed_nll

ROWS_PER_FORWARD = 64


@dataclass(frozen=True)
class RowLosses:
    """For each row: the weighted sum of its tokens' negative log-likelihoods in nats, and the sum of the weights; (n,)."""

    nll: NDArray[np.float64]
    weight: NDArray[np.float64]


@torch.inference_mode()
def row_losses(
    hf: Any, examples: Examples, *, max_tokens: int = 8192, progress: Callable[[int], object] | None = None
) -> RowLosses:
    """Score every row once. `hf` is a transformers causal language model; its attention is ours while this runs.

    max_tokens: tokens of one forward, raised to the longest row. Raises CookbookError when the rows have tokens that the
    model does not know.
    """
    known, highest = (
        hf.get_input_embeddings().weight.shape[0],
        max(int(examples[i].input_ids.max()) for i in range(len(examples))),
    )
    if highest >= known:
        raise CookbookError(
            f"the rows have token {highest}, the model knows {known}: it has another tokenizer, so the two cannot be compared."
        )
    fits = max(max_tokens, int(examples.lengths.max()))
    loader = Loader(examples, batch_size=ROWS_PER_FORWARD, max_tokens=fits, shuffle=False)
    found = RowLosses(np.zeros(len(examples)), np.zeros(len(examples)))
    before = hf.config._attn_implementation
    hf.eval().set_attn_implementation(ATTENTION)
    try:
        model = PackedModel(hf, varlen_attention)
        for batch in loader.epoch():
            rows = list(batch.rows)
            found.nll[rows], found.weight[rows] = _sums(model, batch.to(hf.device))
            if progress:
                progress(len(rows))
    finally:
        hf.set_attn_implementation(before)
    return found


def _sums(model: PackedModel, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S,) weighted nll and (S,) weight of the documents of one packed row."""

    def read(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return summed_nll(hidden, weight, batch.labels, batch.weights, softcap=model.final_softcap)[1]

    nll = model(batch.input_ids, batch.position_ids, batch.cu_seqlens, read).double().cpu().numpy()
    learned = (batch.labels[0] != IGNORE_INDEX).cpu().numpy()
    weights = batch.weights[0].double().cpu().numpy()[learned]
    document = np.repeat(np.arange(len(batch.lengths)), batch.lengths)[learned]
    count = len(batch.lengths)
    nlls, totals = (np.bincount(document, values, count).astype(np.float64) for values in (nll * weights, weights))
    return nlls, totals
