"""Whole runs with adapters: what learns and what stays, what is saved, what reads it, and what a run goes on from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft", reason="LoRA needs peft")

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from cookbook_lib import training
from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.lora import adapter_weights
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.embedded import tiny_folder
from cookbook_lib.training.stop import StoppedTraining
from tests.ranks import run_ranks
from tests.training import embedded_run, reward_run
from tests.training.lora_step import peft_model
from tests.training.test_fit import Breaks, _stop_after, same
from tests.training.test_reward_fit import our_logits

pytestmark = pytest.mark.slow

LORA = ("model.lora_rank=4", "model.lora_alpha=8", "optim.lr=1e-2")
ADAPTER = (*LORA, "model.lora_save=adapter")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_run.prepared(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_run.prepared(tmp_path_factory.mktemp("pairs"))


def sft(data: Path, save: Path, *overrides: str) -> training.Run:
    return embedded_run.run_of(embedded_run.config_of(data, save, *LORA, *overrides))


def bt(pairs: Path, save: Path, *overrides: str) -> training.Run:
    return reward_run.run_of(reward_run.config_of(pairs, save, *LORA, *overrides))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """Six steps of SFT, merged."""
    return training.fit(sft(data, tmp_path_factory.mktemp("sft")))


@pytest.fixture(scope="module")
def judge(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """Six steps of Bradley-Terry, merged."""
    return training.fit(bt(pairs, tmp_path_factory.mktemp("bt")))


def final(run: training.Run) -> Path:
    return run.checkpoints.folder / run.config.trainer.final_name


def learning(run: training.Run) -> dict[str, torch.Tensor]:
    return {name: w.full_tensor().detach().clone() for name, w in adapter_weights(run.model).items()}


def document(run: training.Run) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, positions) of one conversation."""
    batch = run.loader.step(0)[0]
    return batch.input_ids[:, : batch.lengths[0]], batch.position_ids[:, : batch.lengths[0]]


@torch.no_grad()
def logits_of(run: training.Run) -> torch.Tensor:
    ids, positions = document(run)
    return run.model(ids, positions, (0, ids.shape[1]))


def near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max())


# ------------------------------------------------------------------------------------------------------ what is learned


def test_the_loss_falls_and_the_base_stays(trained: training.Run) -> None:
    rows = read_metrics(trained.checkpoints.folder / "metrics.jsonl")
    assert rows[-1]["val/loss"] < rows[0]["val/loss"] - 0.1
    assert rows[-1]["train/weights_moved"] > 0.9  # of what learns
    base = load_file(tiny_folder() / "model.safetensors")
    named = trained.model.hf.named_parameters()
    kept = {name.replace(".base_layer", ""): p for name, p in named if not p.requires_grad}
    assert kept.keys() == base.keys()
    assert all(torch.equal(p.full_tensor(), base[name]) for name, p in kept.items())
    assert sum(len(group["params"]) for group in trained.optimizer.param_groups) == 4 * 7 * 2


def test_pairs_are_learned_and_so_is_the_head(judge: training.Run) -> None:
    rows = read_metrics(judge.checkpoints.folder / "metrics.jsonl")
    assert rows[-1]["val/loss"] < rows[0]["val/loss"] - 0.1
    assert rows[-1]["val/accuracy"] > 0.8
    head = learning(judge)["base_model.model.score.weight"]
    assert head.abs().min() > 0


def test_fewer_flops_are_counted_than_for_all_weights(data: Path, tmp_path: Path) -> None:
    lora, full = sft(data, tmp_path / "a"), embedded_run.run_of(embedded_run.config_of(data, tmp_path / "b"))
    spent = [run.meter.flops.training([100, 50], 60.0) for run in (lora, full)]
    assert 0.6 < spent[0] / spent[1] < 0.8


# -------------------------------------------------------------------------------------------------------- what is saved


def test_the_merged_model_is_a_plain_folder_with_the_same_logits(trained: training.Run) -> None:
    names = {path.name for path in final(trained).iterdir()}
    assert "adapter_config.json" not in names and "adapter_model.safetensors" not in names
    assert (
        load_file(final(trained) / "model.safetensors").keys() == load_file(tiny_folder() / "model.safetensors").keys()
    )
    plain = AutoModelForCausalLM.from_pretrained(final(trained))
    with torch.no_grad():
        assert near(logits_of(trained), plain(document(trained)[0]).logits)
        assert not near(
            logits_of(trained), AutoModelForCausalLM.from_pretrained(tiny_folder())(document(trained)[0]).logits
        )


def test_the_merged_reward_model_is_a_plain_folder_with_the_same_scores(judge: training.Run) -> None:
    rows = list(range(8))
    plain = reward_run.plain_logits(final(judge), judge, rows)
    ours = our_logits(judge).flatten()[: len(plain)]
    assert near(ours, plain.flatten())


@pytest.mark.parametrize("recipe", ["sft", "bradley_terry"])
def test_a_checkpoint_and_an_adapter_are_folders_that_peft_reads(
    recipe, data: Path, pairs: Path, tmp_path: Path
) -> None:
    start: Any = sft if recipe == "sft" else bt
    run = training.fit(start(data if recipe == "sft" else pairs, tmp_path, *ADAPTER[-1:]))
    files = {path.name for path in final(run).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files and "model.safetensors" not in files
    assert (final(run) / "adapter_model.safetensors").stat().st_size < 1_000_000
    for folder in (final(run), tmp_path / "latest"):
        theirs = peft_model(tiny_folder(), folder, reward=recipe != "sft", trainable=False).eval()
        with torch.no_grad():
            if recipe == "sft":
                assert near(logits_of(run), theirs(document(run)[0]).logits)
                continue
            examples = run.val_loader.examples.shared(False)
            rests = [torch.from_numpy(rest.astype("int64")) for rest in examples[0].rests]
            scores = torch.cat([theirs(rest[None]).logits[0] for rest in rests])
        assert near(our_logits(run).flatten()[:2], scores)


def test_an_adapters_folder_is_read_as_its_base_with_the_adapter_on_it(trained: training.Run) -> None:
    """What merges at the end is the ordinary loading, so a checkpoint is a model to start from or to judge."""
    folder = trained.checkpoints.folder / "step_00000006"
    model = build_model(folder, varlen_attention)
    load_weights(model, folder, torch.device("cpu"))
    ids, positions = document(trained)
    with torch.no_grad():
        assert near(logits_of(trained), model(ids, positions, (0, ids.shape[1])))
        assert near(logits_of(trained), open_model(folder, device="cpu")(ids).logits)


def test_the_base_is_merged_as_its_files_have_it_not_as_it_was_computed(data: Path, tmp_path: Path) -> None:
    run = training.fit(sft(data, tmp_path, "model.fsdp_config.model_dtype=bf16"))
    assert {p.dtype for p in run.model.hf.parameters() if not p.requires_grad} == {torch.bfloat16}
    found, base = load_file(final(run) / "model.safetensors"), load_file(tiny_folder() / "model.safetensors")
    known = learning(run)
    for name, weight in base.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        change = 0.0
        if (a := known.get(f"{module}.lora_A.weight")) is not None:
            change = 8 / 4 * (known[f"{module}.lora_B.weight"] @ a)
        torch.testing.assert_close(found[name], weight + change, rtol=0, atol=1e-6)


def test_export_in_bf16(judge: training.Run, pairs: Path, tmp_path: Path) -> None:
    run = training.fit(bt(pairs, tmp_path, "trainer.export_dtype=bf16"))
    found, exact = (load_file(final(r) / "model.safetensors") for r in (run, judge))
    assert all(torch.equal(found[name], exact[name].bfloat16()) for name in exact)


def test_a_reward_model_from_an_adapter_from_a_base(trained: training.Run, pairs: Path, tmp_path: Path) -> None:
    """Adapters on a folder that is itself an adapter: both are in the merged model."""
    below = trained.checkpoints.folder / "step_00000006"
    run = training.fit(bt(pairs, tmp_path, f"model.partial_pretrain={below}"))
    plain = reward_run.plain_logits(final(run), run, [0, 1, 2])
    assert near(our_logits(run).flatten()[: len(plain)], plain.flatten())


# ------------------------------------------------------------------------------------------------ what it goes on from


@pytest.mark.parametrize("recipe", ["sft", "bradley_terry"])
def test_stopped_and_resumed_is_bit_for_bit_the_run_left_alone(
    recipe, data: Path, pairs: Path, trained: training.Run, judge: training.Run, tmp_path: Path
) -> None:
    start: Any = sft if recipe == "sft" else bt
    files, alone = (data, trained) if recipe == "sft" else (pairs, judge)
    first = start(files, tmp_path)
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining):
        training.fit(first)
    second = start(files, tmp_path)
    assert second.progress.step == 3
    training.fit(second)
    assert same(learning(second), learning(alone))
    assert (final(second) / "model.safetensors").read_bytes() == (final(alone) / "model.safetensors").read_bytes()


def go_on(data: Path, save: Path, recipe: str, overrides: tuple[str, ...]) -> tuple[int, float]:
    run = (sft if recipe == "sft" else bt)(data, save, *overrides)
    at = run.progress.step
    return at, training.fit(run).validated["val/loss"]


@pytest.mark.parametrize(
    "layout", [(), ("ulysses_sequence_parallel_size=2", "model.enable_gradient_checkpointing=true")]
)
@pytest.mark.parametrize("recipe", ["sft", "bradley_terry"])
def test_it_goes_on_on_two_ranks_to_the_same_model(
    recipe, layout, data: Path, pairs: Path, trained: training.Run, judge: training.Run, tmp_path: Path
) -> None:
    files, alone = (data, trained) if recipe == "sft" else (pairs, judge)
    first = (sft if recipe == "sft" else bt)(files, tmp_path)
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining):
        training.fit(first)
    done = run_ranks(go_on, 2, files, tmp_path, recipe, layout, timeout=120.0)
    assert [at for at, _ in done] == [3, 3]
    assert [loss for _, loss in done] == pytest.approx([alone.validated["val/loss"]] * 2, rel=1e-5)
    merged, expected = (load_file(f / "model.safetensors") for f in (tmp_path / final(alone).name, final(alone)))
    assert merged.keys() == expected.keys()
    assert max(float((merged[n] - expected[n]).abs().max()) for n in merged) < 1e-4


def test_a_step_that_broke_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    cut = "data.micro_batch_size=1"
    alone = training.fit(sft(data, tmp_path / "alone", cut))
    run = sft(data, tmp_path / "broke", cut)
    run.objective = Breaks()
    with pytest.raises(RuntimeError, match="out of memory"):
        training.fit(run)
    training.fit(run)
    assert same(learning(run), learning(alone))


def test_the_best_is_published_merged(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.1, 2.0])
    monkeypatch.setattr("cookbook_lib.training.run.validate", lambda run: {"val/loss": next(losses)})
    changes = ("trainer.early_stopping_patience=2", "trainer.test_freq=1", "trainer.total_training_steps=40")
    run = training.fit(sft(data, tmp_path, *changes))
    assert run.progress.best_step == 2
    best = build_model(tmp_path / "step_00000002", varlen_attention)
    load_weights(best, tmp_path / "step_00000002", torch.device("cpu"))
    merged = load_file(final(run) / "model.safetensors")
    known = dict(best.hf.named_parameters())
    assert all(torch.equal(merged[name], known[name]) for name in merged)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "model.lora_rank=0",
            r"holds a LoRA adapter, which this run cannot continue: .* start anew with trainer.resume_mode=disable",
        ),
        ("model.lora_rank=8", r"is of another model: .*lora_A.weight is \(4, 160\), in the model \(8, 160\)"),
        (
            "model.lora_alpha=9",
            r"was trained with model.lora_alpha=8, this run has 9, which would change the model at once",
        ),
        ("model.target_modules=q_proj", r"is of another model: .* is unknown to the model"),
    ],
)
def test_a_run_of_another_adapter_is_not_taken_up(override, sentence, data, trained, tmp_path) -> None:
    there = (
        f"trainer.resume_from_path={trained.checkpoints.folder / 'step_00000002'}",
        "trainer.resume_mode=resume_path",
    )
    off = ("model.lora_alpha=16",) if override.endswith("rank=0") else ()
    with pytest.raises(CookbookError, match=sentence):
        sft(data, tmp_path, *there, *off, override)


def test_an_adapter_is_not_taken_up_on_another_base(data, trained, tmp_path) -> None:
    import shutil

    other = shutil.copytree(tiny_folder(), tmp_path / "other")
    there = (
        f"trainer.resume_from_path={trained.checkpoints.folder / 'step_00000002'}",
        "trainer.resume_mode=resume_path",
    )
    with pytest.raises(
        CookbookError, match=r"is an adapter of .*tiny.*, this run starts from .*/other: set model.partial_pretrain"
    ):
        sft(data, tmp_path / "run", *there, f"model.partial_pretrain={other}")


def test_a_full_checkpoint_does_not_become_an_adapter(data: Path, tmp_path: Path) -> None:
    training.fit(embedded_run.run_of(embedded_run.config_of(data, tmp_path)))
    with pytest.raises(
        CookbookError, match="holds full weights, which this run cannot continue: set model.lora_rank=0"
    ):
        sft(data, tmp_path)


def test_the_config_in_a_run_folder_says_it_all(judge: training.Run) -> None:
    told = json.loads((judge.checkpoints.folder / "latest" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["task_type"], told["modules_to_save"]) == (4, 8, "SEQ_CLS", ["score"])
    assert told["base_model_name_or_path"] == str(tiny_folder().resolve())
    assert told["target_modules"] == sorted(told["target_modules"]) and "q_proj" in told["target_modules"]
    config = json.loads((judge.checkpoints.folder / "latest" / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert AutoModelForSequenceClassification.from_pretrained(final(judge)).config.num_labels == 1
