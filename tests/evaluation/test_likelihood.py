"""Row losses against transformers' own, and against the loss that training minimises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import Example
from cookbook_lib.data.packing import pack
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.evaluation.likelihood import row_losses
from cookbook_lib.evaluation.sft import Rows
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.training.objectives.sft import SFT


@pytest.fixture(scope="module")
def examples() -> Rows:
    random = np.random.default_rng(0)
    lengths = [3, 40, 12, 25, 2]
    weights = [random.choice([0.0, 1.0, 0.25], n).astype(np.float32) for n in lengths]
    for w in weights:
        w[-1] = 0.5  # something to learn in every row
    made = [Example(random.integers(0, 300, n).astype(np.int32), w) for n, w in zip(lengths, weights, strict=True)]
    return Rows(tuple(made), (), {})


@pytest.mark.parametrize("max_tokens", [40, 10_000])
def test_each_row_equals_transformers_on_that_row_alone(base, examples, max_tokens):
    model = open_model(base)
    found = row_losses(model, examples, max_tokens=max_tokens)
    for i, example in enumerate(examples.examples):
        ids = torch.tensor(example.input_ids)[None].long()
        with torch.no_grad():
            nll = F.cross_entropy(model(ids, use_cache=False).logits[0, :-1], ids[0, 1:], reduction="none").numpy()
        assert found.nll[i] == pytest.approx((nll * example.weights[1:]).sum(), rel=1e-4)
        assert found.weight[i] == pytest.approx(example.weights[1:].sum())


def test_the_sum_is_the_loss_of_training(base, examples):
    model = open_model(base)
    found = row_losses(model, examples)
    model.set_attn_implementation(ATTENTION)
    batch = pack(examples.examples, range(5))
    with torch.no_grad():
        loss = SFT()(PackedModel(model, varlen_attention), batch)
    assert found.nll.sum() == pytest.approx(loss.total.item(), rel=1e-5)
    assert found.weight.sum() == pytest.approx(SFT().count(batch))


def test_the_model_is_given_back_as_it_was(base, examples):
    model, seen = open_model(base), []
    row_losses(model, examples, progress=seen.append)
    assert model.config._attn_implementation == "sdpa"
    assert sum(seen) == len(examples)


def test_another_vocabulary_is_refused(base):
    rows = Rows((Example(np.array([1, 100_000], np.int32), np.ones(2, np.float32)),), (), {})
    with pytest.raises(CookbookError, match="token 100000, the model knows"):
        row_losses(open_model(base), rows)
