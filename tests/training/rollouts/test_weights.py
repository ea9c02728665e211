"""The weights that answer are the trained ones: whole, merged, shared where that is possible, on every layout."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.lora import adapt, initialise_adapters, plain_weights
from cookbook_lib.models.shards import own_part
from cookbook_lib.models.value_head import ValueModel
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.training.rollouts.engine import OwnEngine
from cookbook_lib.training.rollouts.weights import refresh, weights_sum, whole_weights
from tests.ranks import run_ranks
from tests.training.rollout_run import model_of

CPU, FP32 = torch.device("cpu"), torch.float32


@pytest.fixture
def mesh() -> Mesh:
    return make_mesh(device="cpu")


def whole(model) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in whole_weights(model, CPU, FP32)}


def on_this_layout(fsdp_size: int, sp: int = 1) -> tuple[dict[str, torch.Tensor], int]:
    mesh = make_mesh(sp, fsdp_size, "cpu")
    model = model_of(mesh)
    total = int(mesh.sum(float(weights_sum(model)))) % 2**31
    return whole(model), total


@pytest.mark.slow
def test_every_layout_gives_the_same_weights_and_the_same_sum() -> None:
    ((alone, total),) = run_ranks(on_this_layout, 1, -1)
    for world, fsdp_size in ((2, -1), (2, 1), (4, 2)):
        for found, own in run_ranks(on_this_layout, world, fsdp_size):
            assert own == total
            assert found.keys() == alone.keys()
            assert all(torch.equal(found[name], alone[name]) for name in alone)


def test_the_sum_moves_with_any_weight(mesh) -> None:
    model = model_of(mesh)
    before = weights_sum(model)
    assert weights_sum(model_of(mesh)) == before != weights_sum(model_of(mesh, seed=1))
    parameter = dict(model.hf.named_parameters())["model.layers.1.mlp.up_proj.weight"]
    with torch.no_grad():
        parameter.to_local()[3, 4] += 1e-6
    assert weights_sum(model) != before


@pytest.mark.parametrize("tied", [True, False])
def test_on_one_process_in_fp32_nothing_is_copied(mesh, tied) -> None:
    model = model_of(mesh, tie_word_embeddings=tied)
    engine = OwnEngine(model, CPU)
    engine.refresh(model)
    trained = plain_weights(model.hf)
    answering = dict(engine.hf.named_parameters())
    assert answering.keys() == trained.keys()
    for name, parameter in trained.items():
        assert answering[name].data_ptr() == parameter.to_local().data_ptr(), name
    head = engine.hf.get_output_embeddings().weight
    assert (head is engine.hf.get_input_embeddings().weight) == tied
    with torch.no_grad():
        trained["model.norm.weight"].to_local().add_(1)
    assert torch.equal(answering["model.norm.weight"], trained["model.norm.weight"].to_local()), (
        "an update is seen at once"
    )
    assert not any(p.requires_grad for p in answering.values())


def test_in_another_dtype_it_is_a_copy(mesh) -> None:
    model = model_of(mesh)
    engine = OwnEngine(model, CPU, dtype=torch.bfloat16)
    engine.refresh(model)
    for name, parameter in engine.hf.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, plain_weights(model.hf)[name].to_local().bfloat16())


def test_the_plain_model_computes_what_the_trained_one_does(mesh) -> None:
    model = model_of(mesh)
    engine = OwnEngine(model, CPU)
    engine.refresh(model)
    ids = torch.randint(4, 61, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model(ids, torch.arange(20)[None], (0, 20))
        plain = engine.hf(ids).logits
    torch.testing.assert_close(plain, ours, atol=1e-5, rtol=1e-5)


def test_adapters_are_merged_as_peft_merges_them(mesh, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft")
    folder = saved(tmp_path)
    model = build_model(folder, varlen_attention)
    adapt(model, rank=3, alpha=12, targets="all-linear", frozen_dtype=FP32, base=str(folder))
    shard_model(model, mesh, layers=model.layers, compute_dtype=FP32)
    load_weights(model, folder, CPU)
    initialise_adapters(model, 0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.hf.named_parameters():
            if ".lora_B." in name:
                parameter.to_local().normal_(generator=generator)
    engine = OwnEngine(model, CPU)
    engine.refresh(model)
    base = AutoModelForCausalLM.from_pretrained(folder)
    changed = [name for name, p in engine.hf.named_parameters() if not torch.equal(p, base.get_parameter(name))]
    assert changed and all(name.endswith("_proj.weight") for name in changed)
    ids = torch.randint(4, 61, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model(ids, torch.arange(20)[None], (0, 20))
        torch.testing.assert_close(engine.hf(ids).logits, ours, atol=1e-4, rtol=1e-4)
        assert (base(ids).logits - ours).abs().max() > 0.1


def merged_on(folder: str) -> dict[str, torch.Tensor]:
    """Whole weights with adapters that are drawn by their names, whatever part of them a rank holds."""
    mesh, generator = make_mesh(device="cpu"), torch.Generator()
    model = build_model(Path(folder), varlen_attention)
    adapt(model, rank=3, alpha=12, targets="all-linear", frozen_dtype=FP32, base=folder)
    shard_model(model, mesh, layers=model.layers, compute_dtype=FP32)
    load_weights(model, Path(folder), CPU)
    for place, parameter in enumerate(p for name, p in model.hf.named_parameters() if ".lora_" in name):
        local, region = own_part(parameter)
        with torch.no_grad():
            local.copy_(torch.randn(parameter.shape, generator=generator.manual_seed(place))[region])
    return whole(model)


@pytest.mark.slow
def test_adapters_are_merged_alike_on_every_layout(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft")
    folder = str(saved(tmp_path))
    alone = merged_on(folder)
    assert any(not torch.equal(alone[name], w) for name, w in whole(model_of(make_mesh(device="cpu"))).items())
    for found in run_ranks(merged_on, 2, folder):
        for name, weight in alone.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-6, atol=1e-6)


def saved(folder: Path) -> Path:
    mesh = make_mesh(device="cpu")
    model = model_of(mesh)
    plain = Qwen3ForCausalLM(model.hf.config)
    plain.load_state_dict({**plain.state_dict(), **whole(model)})
    plain.save_pretrained(folder)
    return folder


def test_a_critic_s_head_is_not_the_answering_model_s(mesh) -> None:
    model = model_of(mesh)
    critic = ValueModel(Qwen3ForCausalLM(model.hf.config), varlen_attention)
    critic.hf.value_head = torch.nn.Linear(32, 1, bias=False)
    engine = OwnEngine(critic, CPU)
    engine.refresh(critic)
    assert "value_head.weight" in plain_weights(critic.hf)
    assert not any("value_head" in name for name, _ in engine.hf.named_parameters())


def test_another_structure_is_refused(mesh) -> None:
    model, other = model_of(mesh), model_of(mesh, num_hidden_layers=3)
    small = OwnEngine(model, CPU).hf
    with pytest.raises(CookbookError, match=r"weight model.layers.2.* is \(.*\) in training, and nothing in the model"):
        refresh(small, other, CPU, FP32)
    large = OwnEngine(other, CPU).hf
    with pytest.raises(CookbookError, match="the model that answers has weights that training has not: model.layers.2"):
        refresh(large, model, CPU, FP32)
