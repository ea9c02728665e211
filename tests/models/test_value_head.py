"""A critic beside a language model: zero where a folder has none, fp32 whatever the decoder, no trouble for plain transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.lora import adapt, adapter_weights, initialise_adapters, save_adapter_config
from cookbook_lib.models.tiny import quiet
from cookbook_lib.models.value_head import ValueModel, build_value_model
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import make_mesh

IDS = torch.arange(12)[None] + 5
CPU = torch.device("cpu")


def opened(folder: Path) -> ValueModel:
    model = build_value_model(folder, varlen_attention)
    load_weights(model, folder, CPU)
    return model


def values(model: ValueModel) -> torch.Tensor:
    found: torch.Tensor = model(IDS, torch.arange(12)[None], None, lambda hidden, _: model.value(hidden[0]))
    return found


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, folder = opened(tiny_folder), tmp_path_factory.mktemp("trained")
    torch.nn.init.normal_(model.hf.value_head.weight)
    with quiet():
        model.hf.save_pretrained(folder)
    return folder


def test_a_language_model_begins_with_a_critic_that_knows_nothing(tiny_folder):
    model = opened(tiny_folder)
    found = values(model)
    assert found.shape == (12,)
    assert not found.any()
    found.sum().backward()
    assert model.hf.value_head.weight.grad.any()


def test_it_is_read_back(trained):
    model = opened(trained)
    stored = load_file(trained / "model.safetensors")["value_head.weight"]
    torch.testing.assert_close(model.hf.value_head.weight.data, stored)
    hidden = model(IDS, torch.arange(12)[None], None, lambda hidden, _: hidden[0])
    torch.testing.assert_close(values(model), hidden @ stored[0])


def test_everything_else_is_the_language_model(tiny_folder, trained):
    """The same logits from ours, from ours without a critic, and from plain transformers, which leaves the head aside."""
    plain = build_model(tiny_folder, varlen_attention)
    load_weights(plain, tiny_folder, CPU)
    with quiet():
        theirs = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    wanted = theirs(IDS).logits
    for model in (plain, opened(trained)):
        assert isinstance(model, PackedModel)
        torch.testing.assert_close(model(IDS, torch.arange(12)[None], None), wanted, rtol=1e-4, atol=1e-5)
    assert not hasattr(theirs, "value_head")


def test_a_policy_of_it_reads_as_a_plain_one(trained):
    """build_model of a folder with a critic: the head is not the language model's, and is left where it is."""
    model = build_model(trained, varlen_attention)
    load_weights(model, trained, CPU)
    assert "value_head.weight" not in dict(model.hf.named_parameters())


def test_experts_and_a_critic(tmp_path):
    """Mixtral's files name each expert, so transformers reads them, which knows no critic: it is read beside, or begins at zero."""
    config = MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        num_local_experts=2, max_position_embeddings=64,
    )  # fmt: skip
    with quiet():
        MixtralForCausalLM(config).save_pretrained(tmp_path / "moe")
        model = opened(tmp_path / "moe")
        assert not values(model).any()
        torch.nn.init.normal_(model.hf.value_head.weight)
        model.hf.save_pretrained(tmp_path / "trained")
        again = opened(tmp_path / "trained")
    assert torch.equal(again.hf.value_head.weight, model.hf.value_head.weight)
    torch.testing.assert_close(values(again), values(model))


def test_an_adapter_with_a_critic(tiny_folder, tmp_path):
    """Read back with it by who wants a critic, without it by who wants the language model."""
    pytest.importorskip("peft", reason="LoRA needs peft")
    model = build_value_model(tiny_folder, varlen_attention)
    adapt(model, rank=4, alpha=8, targets="all-linear", frozen_dtype=torch.float32, base=str(tiny_folder))
    load_weights(model, tiny_folder, CPU)
    initialise_adapters(model, 0)
    assert not values(model).any()
    for name, weight in model.hf.named_parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.05)
            assert "lora_" in name or name == "value_head.weight"
    model.hf.config.save_pretrained(tmp_path)
    save_adapter_config(model, tmp_path)
    save_file(
        {n: w.detach().clone() for n, w in adapter_weights(model).items()}, tmp_path / "adapter_model.safetensors"
    )
    torch.testing.assert_close(values(opened(tmp_path)), values(model), rtol=1e-4, atol=1e-5)
    plain = build_model(tmp_path, varlen_attention)
    load_weights(plain, tmp_path, CPU)
    places = torch.arange(12)[None]
    torch.testing.assert_close(plain(IDS, places, None), model(IDS, places, None), rtol=1e-4, atol=1e-5)


def test_in_bf16_it_computes_in_fp32(trained):
    mesh = make_mesh(device="cpu")
    model = build_value_model(trained, varlen_attention)
    shard_model(model, mesh, layers=model.layers, exact=model.exact_modules, compute_dtype=torch.bfloat16)
    load_weights(model, trained, CPU)
    seen = []

    def read(hidden, _):
        out = model.value(hidden[0]).clone()  # FSDP warns of views
        seen.append((hidden.dtype, out.dtype))
        return out

    found = model(IDS, torch.arange(12)[None], None, read)
    assert seen == [(torch.bfloat16, torch.float32)]
    torch.testing.assert_close(found, values(opened(trained)), rtol=0.1, atol=0.2)
    found.sum().backward()
    assert model.hf.value_head.weight.grad is not None
