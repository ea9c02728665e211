"""PPO from rollouts to updates: the same run on every layout, a checkpoint that keeps the critic; and DPO's reference on several ranks."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.config.schema import OptimConfig
from cookbook_lib.data.loader import Loader
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import pack_candidates, pad_candidates
from cookbook_lib.data.templates import preset
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import load_tokenizer, load_weights
from cookbook_lib.models.lora import adapt, adapter_weights, initialise_adapters, save_adapter_config
from cookbook_lib.models.tiny import build_tiny, quiet
from cookbook_lib.models.value_head import ValueModel, build_value_model
from cookbook_lib.parallel.fsdp import rest, shard_model, synchronise_gradients
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.parallel.ulysses import take_shard, ulysses
from cookbook_lib.training import tensor_files
from cookbook_lib.training.adapters import merged_weights
from cookbook_lib.training.checkpoint import Checkpoints
from cookbook_lib.training.export import converted, export_model
from cookbook_lib.training.objectives.answer_tokens import pair_logps
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.optim import make_optimizer
from cookbook_lib.training.reference import reference_logps
from cookbook_lib.training.rollouts.columns import policy_columns
from cookbook_lib.training.rollouts.settling import advantages_by
from cookbook_lib.training.safetensors_writer import SafetensorsWriter
from tests.ranks import run_ranks
from tests.training.rollout_run import TEMPERATURE, VOCAB, model_of, rules, stream_of
from tests.training.tiny_run import whole

PPO = AlgorithmConfig(adv_estimator="gae", vf_coef=0.5, gamma=0.99, lam=0.95)
TIMES = ("rollout_seconds", "rollout_share")

pytestmark = pytest.mark.slow


def critic_of(mesh: Mesh) -> ValueModel:
    """rollout_run's model, with a critic."""
    bare = model_of(SimpleNamespace(sp_group=None, fsdp_mesh=mesh.fsdp_mesh, device=mesh.device))  # its config
    torch.manual_seed(0)
    hf = Qwen3ForCausalLM(bare.hf.config)
    hf.value_head = nn.Linear(hf.config.hidden_size, 1, bias=False)
    nn.init.zeros_(hf.value_head.weight)
    model = ValueModel(hf, ulysses(varlen_attention, mesh.sp_group))
    shard_model(model, mesh, layers=model.layers, exact=model.exact_modules, compute_dtype=torch.float32)
    return model


def optimizer_of(model: ValueModel) -> torch.optim.AdamW:
    return make_optimizer(model, OptimConfig(lr=3e-3, weight_decay=0.0))


def update(model: ValueModel, mesh: Mesh, batches: list[Any]) -> dict[str, float]:
    """One step as `fit` takes it, without the optimizer's part: the means of its stats over the world."""
    objective = PolicyGradient(mesh, PPO, temperature=TEMPERATURE)
    units = mesh.sum(sum(map(objective.count, batches)))
    sums: dict[str, list[float]] = {}
    for batch in batches:
        synchronise_gradients(model, last=batch is batches[-1])
        loss = objective(model, batch)
        (loss.total / units).backward()
        for name, (total, count) in loss.stats.items():
            old = sums.get(name, [0.0, 0.0])
            sums[name] = [old[0] + float(total), old[1] + count]
    world = {name: (mesh.sum(total), mesh.sum(count)) for name, (total, count) in sorted(sums.items())}
    return {name: total / count for name, (total, count) in world.items() if name not in TIMES}


def ppo_run(steps: int, sp: int) -> tuple[list[dict[str, float]], np.ndarray]:
    """Metrics of each step, and the critic's weights after the last."""
    mesh = make_mesh(sp, device="cpu")
    model = critic_of(mesh)
    optimizer = optimizer_of(model)
    own = replace(rules(updates=2), filter_groups=False)
    stream = stream_of(mesh, model, own=own, algorithm=PPO)
    stream.maker.policy = replace(
        stream.maker.policy,
        tells=[policy_columns(model, mesh, temperature=TEMPERATURE, values=True)],
        settle=advantages_by(PPO),
    )
    seen = []
    for step in range(steps):
        seen.append(update(model, mesh, stream.step(step)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    rest(model)
    return seen, whole(model)["value_head.weight"].numpy()


@pytest.fixture(scope="module")
def alone() -> tuple[list[dict[str, float]], np.ndarray]:
    return run_ranks(ppo_run, 1, 4, 1)[0]


def test_the_critic_learns_and_the_second_update_is_off_the_policy_that_drew(alone):
    seen, critic = alone
    assert critic.any()
    assert seen[0]["value"] == 0
    assert seen[2]["value"] != 0
    for first in (0, 2):
        assert seen[first]["ratio"] == pytest.approx(1, abs=1e-5)
        assert seen[first + 1]["ratio_square"] != pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("world", "sp"), [(2, 1), (2, 2)], ids=["FSDP x2", "Ulysses x2"])
def test_the_run_is_the_same_on_every_layout(alone, world, sp):
    """Answers, rewards, advantages, updates: the numbers of each step, and what the critic has become."""
    seen, critic = run_ranks(ppo_run, world, 4, sp)[0]
    for mine, right in zip(seen, alone[0], strict=True):
        assert mine.keys() == right.keys()
        for name in mine:
            assert mine[name] == pytest.approx(right[name], rel=1e-3, abs=2e-5), name
    np.testing.assert_allclose(critic, alone[1], rtol=1e-3, atol=1e-5)


def test_a_checkpoint_keeps_the_critic(tmp_path: Path) -> None:
    mesh = make_mesh(device="cpu")
    model = critic_of(mesh)
    optimizer = optimizer_of(model)
    stream = stream_of(mesh, model, own=rules(filter_groups=False), algorithm=PPO)
    stream.maker.policy = replace(
        stream.maker.policy, tells=[policy_columns(model, mesh, values=True)], settle=advantages_by(PPO)
    )
    update(model, mesh, stream.step(0))
    optimizer.step()
    checkpoints = Checkpoints(tmp_path, keep=None, mesh=mesh)
    checkpoints.save(1, model, optimizer, {}, lambda folder: model.hf.config.save_pretrained(folder))
    checkpoints.wait()
    again = critic_of(mesh)
    checkpoints.load(again, optimizer_of(again))
    kept, wanted = whole(again), whole(model)
    assert wanted["value_head.weight"].any()
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)
    checkpoints.publish("final", "fp32", "latest", None)
    assert "value_head.weight" in load_file(tmp_path / "latest" / "model.safetensors")
    assert load_file(tmp_path / "final" / "model.safetensors").keys() == wanted.keys() - {"value_head.weight"}
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32)
    assert torch.equal(plain.model.layers[0].mlp.up_proj.weight.data, wanted["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_final_model_of_several_files_has_no_critic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(tensor_files, "SafetensorsWriter", partial(SafetensorsWriter, max_file_bytes=8_000))
    model = critic_of(mesh := make_mesh(device="cpu"))
    checkpoints = Checkpoints(tmp_path, keep=None, mesh=mesh)
    checkpoints.save(1, model, optimizer_of(model), {}, lambda folder: model.hf.config.save_pretrained(folder))
    final = checkpoints.publish("final", dtype)
    index = json.loads((final / "model.safetensors.index.json").read_text())
    stored = {name for path in final.glob("*.safetensors") for name in load_file(path)}
    assert len(set(index["weight_map"].values())) > 1
    assert stored == set(index["weight_map"]) == whole(model).keys() - {"value_head.weight"}
    assert index["metadata"]["total_size"] == sum(
        w.numel() * (4 if dtype == "fp32" else 2) for name, w in whole(model).items() if name != "value_head.weight"
    )
    with quiet():
        _, info = AutoModelForCausalLM.from_pretrained(final, output_loading_info=True)
    assert not info["unexpected_keys"] and not info["missing_keys"]


def test_an_adapter_and_its_critic_are_merged_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft")
    mesh = make_mesh(device="cpu")
    base = build_tiny(
        tmp_path / "base", ["some text"], preset("qwen3"), vocab_size=300, hidden_size=32, num_hidden_layers=1
    )
    model = build_value_model(base, varlen_attention)
    adapt(model, rank=2, alpha=4, targets="all-linear", frozen_dtype=torch.float32, base=str(base))
    load_weights(model, base, mesh.device)
    initialise_adapters(model, 0)
    nn.init.normal_(model.hf.value_head.weight)
    folder = tmp_path / "adapter"
    model.hf.config.save_pretrained(folder)
    save_adapter_config(model, folder)
    save_file({n: w.detach().clone() for n, w in adapter_weights(model).items()}, folder / "adapter_model.safetensors")
    merged = merged_weights(folder, model, load_tokenizer(base), mesh)
    assert torch.equal(merged["value_head.weight"].full_tensor(), model.hf.value_head.weight.data)
    assert not [name for name in merged if "lora" in name]
    assert converted(merged, "bf16").keys() == merged.keys() - {"value_head.weight"}


def test_an_adapter_that_is_published_as_one_has_no_critic(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft")
    base = build_tiny(
        tmp_path / "base", ["some text"], preset("qwen3"), vocab_size=300, hidden_size=32, num_hidden_layers=1
    )
    model = build_value_model(base, varlen_attention)
    adapt(model, rank=2, alpha=4, targets="all-linear", frozen_dtype=torch.float32, base=str(base))
    load_weights(model, base, torch.device("cpu"))
    initialise_adapters(model, 0)
    folder, final = tmp_path / "adapter", tmp_path / "final"
    folder.mkdir()
    save_adapter_config(model, folder)
    save_file({n: w.detach().clone() for n, w in adapter_weights(model).items()}, folder / "adapter_model.safetensors")
    export_model(folder, final, ["adapter_config.json", "adapter_model.safetensors"], "fp32")
    assert "value_head" in json.loads((folder / "adapter_config.json").read_text())["modules_to_save"]
    assert json.loads((final / "adapter_config.json").read_text())["modules_to_save"] is None
    left = (
        load_file(folder / "adapter_model.safetensors").keys() - load_file(final / "adapter_model.safetensors").keys()
    )
    assert left == {"base_model.model.value_head.weight"}


# ------------------------------------------------------------------------------------------------- DPO's reference, on ranks


class Rows(list):
    """Pairs in memory, with a loader's needs; reference.py asks for no more of them."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(pair.shared) + sum(map(len, pair.rests)) for pair in self])


def made_up_pairs() -> Rows:
    rng = np.random.default_rng(0)
    sizes = [(5, 3, 4), (1, 1, 1), (3, 16, 2), (0, 4, 2), (12, 1, 7), (2, 2, 2), (9, 5, 3)]
    return Rows(
        Candidates(*(rng.integers(0, VOCAB, n).astype(np.int32) for n in size[:1]),
                   tuple(rng.integers(0, VOCAB, n).astype(np.int32) for n in size[1:]), np.array([0, 1], np.float32))
        for size in sizes
    )  # fmt: skip


def referenced(sp: int) -> np.ndarray:
    mesh = make_mesh(sp, device="cpu")
    loader = Loader(
        made_up_pairs(), batch_size=4, max_tokens=30, ranks=mesh.dp, rank=mesh.dp_rank, multiple=mesh.sp,
        collate=(pack_candidates, pad_candidates), place=lambda batch: take_shard(batch, mesh),
    )  # fmt: skip
    return reference_logps(model_of(mesh), loader, mesh, rows=7)


@pytest.mark.parametrize(("world", "sp"), [(2, 1), (2, 2)], ids=["FSDP x2", "Ulysses x2"])
def test_every_rank_gets_the_reference_of_all_rows(world, sp):
    mesh = make_mesh(device="cpu")
    model, pairs = model_of(mesh), made_up_pairs()
    with torch.no_grad():
        wanted = pair_logps(model, pack_candidates(pairs, range(7)), mesh).sums.numpy()
    for found in run_ranks(referenced, world, sp):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
