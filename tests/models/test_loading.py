"""Loading: every weight at its place, no slow road taken unasked, and a sentence for each thing that can be wrong."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import build_model, find_model, load_tokenizer, load_weights, materialise
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import make_mesh

CPU = torch.device("cpu")
SMALL = {
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


def loaded(folder):
    model = build_model(folder, varlen_attention)
    load_weights(model, folder, CPU)
    return model


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_structure_alone_costs_no_memory(tiny_folder):
    assert {p.device.type for p in build_model(tiny_folder, varlen_attention).parameters()} == {"meta"}


def test_weights_buffers_and_ties_equal_from_pretrained(tiny_folder, caplog):
    with caplog.at_level(logging.WARNING):
        ours = loaded(tiny_folder).hf
    assert not caplog.records, "a tied model must be read straight from its file"
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    for mine, theirs in (
        (ours.state_dict(), plain.state_dict()),
        (dict(ours.named_buffers()), dict(plain.named_buffers())),
    ):
        assert mine.keys() == theirs.keys()
        for name in theirs:
            assert torch.equal(mine[name], theirs[name]), name
    assert ours.lm_head.weight is ours.model.embed_tokens.weight


def test_bf16_files_in_several_parts_become_fp32_masters(tmp_path):
    plain = Qwen3ForCausalLM(Qwen3Config(**SMALL, tie_word_embeddings=False)).bfloat16()
    plain.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for name, tensor in loaded(tmp_path).hf.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, plain.state_dict()[name].float()), name


def test_buffers_that_files_hold_are_read_too(tmp_path):
    """Gemma 4 scales its layers by a buffer: left at its first value, the model would be another and say nothing."""
    shape = SMALL | {"global_head_dim": 8, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
    kinds = ["sliding_attention", "full_attention"]
    plain = Gemma4ForCausalLM(Gemma4TextConfig(**shape, vocab_size_per_layer_input=64, layer_types=kinds))
    plain.model.layers[1].layer_scalar.fill_(0.25)
    plain.save_pretrained(tmp_path)
    assert loaded(tmp_path).hf.model.layers[1].layer_scalar.item() == 0.25


def test_offloaded_weights_rest_in_host_memory_and_buffers_on_the_device(tmp_path):
    """Gemma 3 keeps a buffer beside the weight of its embedding; `meta` stands for a device that is not the host."""
    Gemma3ForCausalLM(Gemma3TextConfig(**SMALL)).save_pretrained(tmp_path)
    model = build_model(tmp_path, varlen_attention)
    materialise(model, torch.device("meta"), offload=True)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert {b.device.type for b in model.buffers()} == {"meta"}


def test_a_weight_beside_a_buffer_is_read_into_its_shards_and_never_drawn(tmp_path):
    """Drawing random numbers into shards would speak to the other ranks, and warn on a CPU."""
    plain = Gemma3ForCausalLM(Gemma3TextConfig(**SMALL)).eval()
    plain.save_pretrained(tmp_path)
    model = build_model(tmp_path, varlen_attention).eval()
    shard_model(model, make_mesh(device="cpu"), layers=model.layers, compute_dtype=torch.float32, param_offload=True)
    load_weights(model, tmp_path, CPU, offload=True)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids, ids, None), plain(ids).logits)


def test_a_mixture_of_experts_is_read_by_the_second_road(tmp_path, caplog):
    """Files hold one tensor per expert, the module one for all."""
    ranks = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    }
    shape = {key: value for key, value in SMALL.items() if key != "head_dim"} | {"num_key_value_heads": 4}
    config = DeepseekV3Config(**shape, **ranks, **experts, moe_intermediate_size=16)
    plain = DeepseekV3ForCausalLM(config)
    plain.model.layers[1].mlp.gate.e_score_correction_bias.fill_(0.25)
    plain.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        ours = loaded(tmp_path).hf
    assert "loading through rank 0" in caplog.text
    for name, tensor in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_a_pickled_checkpoint_is_read_by_the_second_road(copy, caplog):
    weights = load_file(copy / "model.safetensors")
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        ours = loaded(copy).hf
    assert "loading through rank 0" in caplog.text
    for name, tensor in weights.items():
        assert torch.equal(ours.state_dict()[name], tensor), name


# -------------------------------------------------------------------------------------------------- what can be wrong


def test_a_missing_weight_is_not_left_random(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CookbookError, match=r"lacks 1 weights \(model.layers.1.mlp.up_proj.weight"):
        loaded(copy)


def test_weights_of_another_shape_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(CookbookError, match="weights and config are of different models"):
        loaded(copy)


def test_a_truncated_file_is_refused(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CookbookError, match=r"model\.safetensors is no whole safetensors file"):
        loaded(copy)


def test_models_that_packing_would_break_are_refused(tmp_path):
    config = Qwen3Config(**SMALL).to_dict() | {"layer_types": ["full_attention", "linear_attention"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CookbookError, match="linear_attention carry state over document boundaries"):
        build_model(tmp_path, varlen_attention)


def test_a_reward_model_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen3ForSequenceClassification"]}))
    with pytest.raises(CookbookError, match="is a reward model"):
        build_model(copy, varlen_attention)


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "gpt2", "a/b/c"])
def test_a_model_that_does_not_exist(name):
    with pytest.raises(CookbookError, match="does not exist: give a folder, a hub name"):
        find_model(name)


def test_a_folder_that_holds_no_model(tmp_path):
    with pytest.raises(CookbookError, match=r"without config\.json"):
        find_model(str(tmp_path))
    with pytest.raises(CookbookError, match="holds no tokenizer that loads"):
        load_tokenizer(tmp_path)


def test_a_hub_name_without_a_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CookbookError, match="could not be had from the hub"):
        find_model("nobody/nothing")


def test_a_model_without_readable_weights_is_refused_in_a_sentence(copy):
    """Raised by rank 0 alone, the other ranks would wait for it."""
    (copy / "model.safetensors").unlink()
    with pytest.raises(
        CookbookError, match=r"holds no weights that transformers reads \(OSError: .*: give the whole model"
    ):
        loaded(copy)
    (copy / "pytorch_model.bin").write_bytes(b"half a file")
    with pytest.raises(CookbookError, match="holds no weights that transformers reads"):
        loaded(copy)
