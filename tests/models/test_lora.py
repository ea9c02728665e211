"""Adapters on a structure: where they go, what they begin as, what stays, and the names that files give them."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM

pytest.importorskip("peft", reason="LoRA needs peft")

from cookbook_lib.config import CookbookError
from cookbook_lib.models.adapter_folder import read_adapter
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.flops import Flops
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, foundation, load_weights
from cookbook_lib.models.lora import (
    PREFIX,
    adapt,
    adapter_weights,
    choose_targets,
    initialise_adapters,
    plain_weights,
    save_adapter_config,
)  # fmt: skip
from cookbook_lib.models.score_head import ScoreHead, build_score_model

CPU = torch.device("cpu")
SEVEN = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def adapted(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **options) -> PackedModel:
    model = build_model(folder, varlen_attention)
    chosen = {"rank": 4, "alpha": 8, "targets": "all-linear"} | options
    adapt(model, **chosen, frozen_dtype=dtype, base=str(folder))
    load_weights(model, folder, CPU)
    initialise_adapters(model, seed)
    return model


def written(model: PackedModel, folder: Path, **changes) -> Path:
    """The adapter as a folder, its config changed."""
    folder.mkdir(exist_ok=True)
    model.hf.config.save_pretrained(folder)
    save_adapter_config(model, folder)
    told = json.loads((folder / "adapter_config.json").read_text()) | changes
    (folder / "adapter_config.json").write_text(json.dumps(told))
    save_file({n: w.detach().clone() for n, w in adapter_weights(model).items()}, folder / "adapter_model.safetensors")
    return folder


def logits(model: PackedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(12)[None], torch.arange(12)[None], (0, 12))


# ---------------------------------------------------------------------------------------------------- where they go


def test_all_linear_is_every_linear_map_of_every_layer_and_no_head(tiny_folder):
    model = adapted(tiny_folder)
    learning = {name for name, p in model.hf.named_parameters() if p.requires_grad}
    modules = {name.split(".lora_")[0] for name in learning}
    assert len(learning) == 2 * len(modules) == 2 * 7 * len(model.layers)
    assert {name.rpartition(".")[2] for name in modules} == set(SEVEN)
    assert all(name.startswith("model.layers.") for name in modules)


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("q_proj", 4),
        (["q_proj", "v_proj"], 8),
        ("self_attn.q_proj", 4),
        ("model.layers.1.mlp.up_proj", 1),
        (["1.mlp.up_proj"], 1),
    ],
)
def test_a_name_is_a_module_s_end(tiny_folder, targets, count):
    assert len(adapter_weights(adapted(tiny_folder, targets=targets))) == 2 * count


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (
            "q_porj",
            r"Qwen3ForCausalLM has no module 'q_porj'; did you mean 'q_proj'\? Its linear maps are down_proj, gate_proj",
        ),
        (["q_proj", "query"], r"has no module 'query'; did you mean"),
        ("all_linear", r"has no module 'all_linear'; did you mean 'all-linear'\?"),
        ("roj", r"has no module 'roj'"),
        ("lm_head", r"'lm_head' names lm_head, which is no linear map inside a decoder layer; choose of down_proj"),
        ("embed_tokens", r"'embed_tokens' names model.embed_tokens, which is no linear map"),
        ("input_layernorm", r"names model.layers.0.input_layernorm, which is no linear map"),
        ("self_attn", r"names model.layers.0.self_attn, which is no linear map"),
    ],
)
def test_a_target_that_is_none_is_named_with_the_nearest(tiny_folder, targets, sentence):
    with pytest.raises(CookbookError, match=sentence):
        choose_targets(build_model(tiny_folder, varlen_attention), targets)


def test_a_score_head_is_no_target_and_learns_whole(tiny_folder, tokenizer):
    model = build_score_model(tiny_folder, varlen_attention, tokenizer, ScoreHead())
    with pytest.raises(CookbookError, match="'score' names score, which is no linear map inside a decoder layer"):
        choose_targets(model, "score")
    adapt(model, rank=2, alpha=2, targets="q_proj", frozen_dtype=torch.bfloat16, base="x")
    learning = [name for name, p in model.hf.named_parameters() if p.requires_grad]
    assert [name for name in learning if ".lora_" not in name] == ["score.weight"]
    assert model.hf.score.weight.dtype == torch.float32
    assert model.hf.get_input_embeddings().weight.dtype == torch.bfloat16


def test_of_a_mixture_of_experts_the_attention_is_adapted(tmp_path):
    """transformers keeps experts as one tensor: no linear map."""
    config = MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, pad_token_id=0,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(tmp_path / "moe")
    model = adapted(tmp_path / "moe")
    kinds = {name.split(".lora_")[0].rpartition(".")[2] for name in adapter_weights(model)}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj"}
    plain = build_model(tmp_path / "moe", varlen_attention)
    load_weights(plain, tmp_path / "moe", CPU)  # by the second road: files name each expert
    torch.testing.assert_close(logits(model), logits(plain))


# ------------------------------------------------------------------------------------------------ what they begin as


def test_at_the_start_the_model_is_its_base(tiny_folder, packed_model):
    torch.testing.assert_close(logits(adapted(tiny_folder)), logits(packed_model))


def test_a_is_uniform_by_the_seed_and_b_is_zero(tiny_folder):
    once, again, other = (adapter_weights(adapted(tiny_folder, seed=seed)) for seed in (1, 1, 2))
    downs = [name for name in once if ".lora_A." in name]
    for name in downs:
        assert torch.equal(once[name], again[name])
        assert not torch.equal(once[name], other[name])
        bound = 1 / math.sqrt(once[name].shape[1])
        assert 0.9 * bound < once[name].abs().max() <= bound
    assert not any(w.any() for name, w in once.items() if ".lora_B." in name)
    assert len({w.flatten()[:4].tolist().__str__() for name, w in once.items() if ".lora_A." in name}) == len(downs)


def test_rank_and_alpha_have_their_effect(tiny_folder):
    torch.manual_seed(0)
    model = adapted(tiny_folder, rank=2, alpha=6, targets="q_proj")
    layer = model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(3, layer.in_features)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (2, layer.in_features)
    torch.testing.assert_close(layer(x), x @ (layer.base_layer.weight + 6 / 2 * b @ a).T)


def test_names_are_the_plain_model_s_and_peft_s(tiny_folder, packed_model):
    model = adapted(tiny_folder)
    assert list(plain_weights(model.hf)) == [name for name, _ in packed_model.hf.named_parameters()]
    assert f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight" in adapter_weights(model)


def test_a_frozen_weight_costs_two_thirds(tiny_folder, packed_model):
    full, lora = Flops.of(packed_model), Flops.of(adapted(tiny_folder, rank=1))
    assert lora.frozen == full.linear
    assert lora.frozen_head == full.head
    own = lora.linear - full.linear
    expected = 2 * (full.linear + full.head) + 3 * own + 3 * full.square
    assert lora.training([1], 1.0) == pytest.approx(expected)


# ----------------------------------------------------------------------------------------------- what others may give


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"use_dora": True}, r"adapter_config.json has use_dora=True, which is no plain LoRA: merge it with peft"),
        ({"peft_type": "IA3"}, "has peft_type=IA3, which is no plain LoRA"),
        ({"init_lora_weights": "pissa"}, "has init_lora_weights=pissa, which is no plain LoRA"),
        ({"bias": "all"}, "has bias=all"),
        ({"alpha_pattern": {"q_proj": 3}}, "has alpha_pattern="),
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path: write there the model"),
    ],
)
def test_what_is_more_than_a_low_rank_sum_is_refused(tiny_folder, tmp_path, changes, sentence):
    folder = written(adapted(tiny_folder, targets="q_proj"), tmp_path / "adapter", **changes)
    with pytest.raises(CookbookError, match=sentence):
        read_adapter(folder)


def test_rs_lora_is_read_with_its_scale(tiny_folder, tmp_path):
    torch.manual_seed(0)
    model = adapted(tiny_folder, rank=4, alpha=3, targets="q_proj")
    layer = model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    folder = written(model, tmp_path / "adapter", use_rslora=True)
    merged = build_model(folder, varlen_attention)
    load_weights(merged, folder, CPU)
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(merged.layers[0].self_attn.q_proj.weight, layer.base_layer.weight + 3 / 2 * change)


def test_broken_files_lost_bases_and_other_models_are_named(tiny_folder, tmp_path):
    model = adapted(tiny_folder, targets="q_proj")
    folder = written(model, tmp_path / "adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(
        CookbookError, match=r"adapter_model.safetensors is no whole safetensors file .*copy the adapter again"
    ):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CookbookError, match=r"adapter_config.json is no JSON object"):
        read_adapter(folder)
    lost = written(model, tmp_path / "lost", base_model_name_or_path="/nowhere")
    with pytest.raises(
        CookbookError, match=r"lost is an adapter of a model that is not to be had: model '/nowhere' does not exist"
    ):
        load_weights(build_model(lost, varlen_attention), lost, CPU)
    circle = written(model, tmp_path / "circle", base_model_name_or_path=str(tmp_path / "circle"))
    with pytest.raises(CookbookError, match="circle is an adapter of .*circle, and that of it: name its model"):
        foundation(circle)


def test_an_adapter_of_another_shape_or_name_is_refused(tiny_folder, tmp_path):
    model = adapted(tiny_folder, targets="q_proj")
    folder = written(model, tmp_path / "adapter")
    weights = {n: w.detach().clone() for n, w in adapter_weights(model).items()}
    name = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.weight"
    save_file(weights | {name: weights[name][:7]}, folder / "adapter_model.safetensors")
    with pytest.raises(
        CookbookError, match=r"changes model.layers.0.self_attn.q_proj.weight \(7, 160\), in the model \(160, 160\)"
    ):
        load_weights(build_model(folder, varlen_attention), folder, CPU)
    strange = {n.replace("layers.0.", "layers.9."): w for n, w in weights.items()}
    save_file(strange, folder / "adapter_model.safetensors")
    with pytest.raises(CookbookError, match=r"changes model.layers.9.* \(160, 160\), which the model lacks"):
        load_weights(build_model(folder, varlen_attention), folder, CPU)
