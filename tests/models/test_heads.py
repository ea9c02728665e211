"""PackedModel: what transformers computes for each document alone, it computes for all of them in one row."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
    "mistral, window": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=4)),
    "gemma2, window and caps": (
        Gemma2ForCausalLM,
        Gemma2Config(
            **SHAPE, sliding_window=4, attn_logit_softcapping=5.0, final_logit_softcapping=3.0, query_pre_attn_scalar=3
        ),
    ),
}
DOCUMENTS = [[5, 9, 2, 41, 7, 7, 30], [11], [60, 3, 3, 12, 50]]


def packed(documents: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    lengths = torch.tensor([0] + [len(d) for d in documents])
    positions = torch.cat([torch.arange(len(d)) for d in documents])
    return (
        torch.tensor([token for d in documents for token in d])[None],
        positions[None],
        tuple(lengths.cumsum(0).tolist()),
    )


def grads(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_logits_and_gradients_equal_each_document_alone(family):
    build, config = FAMILIES[family]
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    reference = build(config).eval()
    alone = torch.cat([reference(torch.tensor([d]), use_cache=False).logits for d in DOCUMENTS], dim=1)
    probe = torch.randn_like(alone)
    (alone * probe).sum().backward()
    expected = grads(reference)
    reference.zero_grad()
    reference.set_attn_implementation(ATTENTION)
    together = PackedModel(reference, varlen_attention)(*packed(DOCUMENTS))
    (together * probe).sum().backward()
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    for name, grad in grads(reference).items():
        torch.testing.assert_close(
            grad, expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_read_gets_the_hidden_states_and_the_output_embedding(packed_model):
    ids, positions, cu_seqlens = packed(DOCUMENTS)
    read = packed_model(ids, positions, cu_seqlens, lambda hidden, weight: hidden @ weight.T)
    torch.testing.assert_close(read, packed_model(ids, positions, cu_seqlens))


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (CohereForCausalLM, CohereConfig(**SHAPE, logit_scale=0.25)),
        (GraniteForCausalLM, GraniteConfig(**SHAPE, logits_scaling=4.0)),
    ],
)
def test_a_model_that_scales_its_logits_is_read_scaled(build, config):
    """Unscaled, the loss is another and looks like one."""
    config._attn_implementation = ATTENTION
    model = PackedModel(build(config).eval(), varlen_attention)
    inputs = packed(DOCUMENTS)
    torch.testing.assert_close(model(*inputs, lambda hidden, weight: hidden @ weight.T), model(*inputs))


def test_padded_rows_equal_packed_ones(packed_model):
    ids, positions, cu_seqlens = packed([DOCUMENTS[0], DOCUMENTS[2]])
    together = packed_model(ids, positions, cu_seqlens)[0]
    rows = torch.tensor([DOCUMENTS[0], DOCUMENTS[2] + [0, 0]])
    padded = packed_model(rows, torch.arange(7).expand(2, 7), None)
    torch.testing.assert_close(torch.cat([padded[0], padded[1, :5]]), together)


def test_state_names_are_the_files_own_behind_one_prefix(packed_model, tiny_folder):
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert [f"hf.{name}" for name in plain.state_dict()] == list(packed_model.state_dict())
    assert len(packed_model.layers) == plain.config.num_hidden_layers


def test_final_softcap_is_the_models(packed_model):
    assert packed_model.final_softcap is None
    assert PackedModel(Gemma2ForCausalLM(FAMILIES["gemma2, window and caps"][1]), varlen_attention).final_softcap == 3.0
