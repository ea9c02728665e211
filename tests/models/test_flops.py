"""The count of arithmetic against PyTorch's own counter, which watches every operation of a real step."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from cookbook_lib.models import flops
from cookbook_lib.models.flops import Flops, matmul_rate, peak_flops
from cookbook_lib.models.heads import PackedModel

LENGTHS = (300, 20, 80)
SHARED = (-1, 0, 0)  # the second and the third segment continue the first


def plain_attention(q, k, v, *, segments, **_):
    """Whole rectangles of queries by the keys that they may see, every product in sight of the counter."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    parts = list(zip(*(x.split(segments.lengths, 2) for x in (q, k, v)), strict=True))
    roots = segments.continues or (-1,) * len(parts)
    out = []
    for (own_q, *own), root in zip(parts, roots, strict=True):
        keys, values = own if root < 0 else (torch.cat(x, 2) for x in zip(parts[root][1:], own, strict=True))
        out.append((own_q @ keys.transpose(-1, -2)).softmax(-1) @ values)
    return torch.cat(out, 2)


def counted_step(model, supervised: int, continues: tuple[int, ...] | None = None) -> int:
    total = sum(LENGTHS)
    positions = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    bounds = (0, *torch.tensor(LENGTHS).cumsum(0).tolist())
    with FlopCounterMode(display=False) as counter:
        logits = PackedModel(model.hf, plain_attention)(
            torch.arange(total)[None] % 100, positions, bounds,
            lambda hidden, weight: hidden[0, :supervised] @ weight.T, continues,
        )  # fmt: skip
        logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("continues", [None, SHARED])
def test_a_training_step_is_counted_right(packed_model, continues):
    ours = Flops.of(packed_model)
    upper_triangles = 3 * ours.square * sum(n * n for n in LENGTHS)  # computed here, and not needed
    counted = counted_step(packed_model, 50, continues) - upper_triangles
    assert ours.training(LENGTHS, 50, continues) == pytest.approx(counted, rel=0.01)


def test_what_answers_cost_behind_a_shared_prompt():
    """Prompt 4, answers 2 and 3: 4^2 + (2^2 + 2 2 4) + (3^2 + 2 3 4) = 69, which is 6^2 + 7^2 less the prompt's second 4^2."""
    flops = Flops(linear=10, square=2, head=5)
    assert flops.training((4, 2, 3), 2, (-1, 0, 0, -1)) == 3 * (10 * 9 + 2 * 69 + 5 * 2), "the fourth is the row's tail"
    assert flops.training((6, 7), 2) == 3 * (10 * 13 + 2 * (36 + 49) + 5 * 2)


def test_only_supervised_tokens_pay_for_the_vocabulary(packed_model):
    ours = Flops.of(packed_model)
    more = counted_step(packed_model, supervised=250) - counted_step(packed_model, supervised=50)
    assert ours.training(LENGTHS, 250) - ours.training(LENGTHS, 50) == pytest.approx(more)


def test_flops_of_a_known_shape(packed_model):
    """Qwen3, 4 layers, width 160, 4 query and 2 key-value heads of 40, intermediate 448."""
    layer = 160 * (4 + 2 + 2) * 40 + 4 * 40 * 160 + 3 * 160 * 448
    ours = Flops.of(packed_model)
    assert ours.linear == pytest.approx(2 * 4 * layer, rel=0.01)  # norms are the rest
    assert ours.square == 2 * 4 * 40 * 4
    assert ours.head == 2 * 160 * packed_model.hf.config.vocab_size
    assert ours.quadratic == ours.square / ours.linear


def test_of_a_mixture_of_experts_a_token_meets_its_own_alone():
    shape = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_key_value_heads": 4}
    model = PackedModel(Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape, **experts)), plain_attention)
    attention, router, expert = 4 * 32 * 32, 32 * 8, 3 * 32 * 16
    assert Flops.of(model).linear == pytest.approx(2 * 2 * (attention + router + 2 * expert), rel=0.02)


def test_the_measured_rate_is_a_rate():
    small, large = (matmul_rate(torch.device("cpu"), torch.float32, size) for size in (256, 512))
    assert 1e8 < small < 1e14
    assert 1e8 < large < 1e14


def test_the_peak_is_the_data_sheet_s_on_a_known_gpu_and_measured_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert peak_flops(torch.device("cuda"), torch.bfloat16) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Other Chip")
    monkeypatch.setattr(flops, "matmul_rate", lambda device, dtype: 42.0)
    assert peak_flops(torch.device("cuda"), torch.bfloat16) == 42.0
    assert peak_flops(torch.device("cuda"), torch.float32) == 42.0
    assert peak_flops(torch.device("cpu"), torch.bfloat16) == 42.0
