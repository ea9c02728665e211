"""The reward benchmark's parts, in small: both sides get the same pairs, and figures are compared as the table says."""

import json
import sys

import pytest
import torch

from cookbook_lib.config.places import HOME
from cookbook_lib.data.reward.candidates import EncodeCandidates
from cookbook_lib.data.reward.files import read_pairs
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.parallel.mesh import leave_world

sys.path.insert(0, str(HOME / "scripts"))
import benchmark_reward
import benchmark_reward_run
import benchmark_sft


@pytest.fixture
def small(monkeypatch):
    """A model of one layer, and short pairs."""
    shape = benchmark_sft.SHAPE | {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32}
    monkeypatch.delenv("COOKBOOK_REAL_DATA", raising=False)
    monkeypatch.setattr(benchmark_reward, "SHAPE", shape)
    monkeypatch.setattr(benchmark_sft, "VOCABULARY", 1024)
    monkeypatch.setattr(benchmark_reward, "WORDS", 500)
    monkeypatch.setattr(benchmark_reward, "POOL", 60)
    yield benchmark_reward.Set("short", "hh", "", (2.0, 0.5), (2.0, 0.5))
    leave_world()


def test_pairs_and_model_are_the_same_for_all(small, tmp_path):
    said = benchmark_reward.prepare(small, tmp_path, rows=32)
    assert said.startswith("32 pairs of procedural pairs as long as short's: median ")
    ours = list(read_pairs(tmp_path / "train.jsonl"))
    theirs = benchmark_reward_run.conversations(tmp_path / "train.jsonl")
    assert len(ours) == len(theirs) == 32
    for mine, other in zip(ours, theirs, strict=True):
        assert [list(mine.prompt), mine.chosen, mine.rejected] == [
            other["prompt"], other["chosen"][0]["content"], other["rejected"][0]["content"],
        ]  # fmt: skip
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["architectures"], config["vocab_size"]) == (["Qwen3ForSequenceClassification"], 1024)
    made = EncodeCandidates(load_tokenizer(tmp_path / "model"), 1024).encode(ours[0])
    assert len(made.shared) > 4


def test_too_few_pairs_are_told(small, tmp_path):
    with pytest.raises(SystemExit, match="60 pairs fit into 2048 tokens, 100 are needed: lower --steps"):
        benchmark_reward.prepare(small, tmp_path, rows=100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of TRL and its friends
def test_both_sides_train_on_the_same_pairs(small, tmp_path):
    """fp32: the same losses, so the same pairs in the same order, from the same weights."""
    pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[bench]'")
    benchmark_reward.prepare(small, tmp_path, rows=32)
    names = ("TRL, fp32, no checkpointing", "ours, unshared, fp32", "ours, fp32")
    found = [benchmark_reward_run.run_one(name, tmp_path, 1) for name in names]
    assert all(run["pairs_per_second"] > 0 < run["above_baseline_mib"] + 1 for run in found)
    assert {run["parameters"] for run in found} == {found[0]["parameters"]}
    losses = [run["loss"] for run in found]
    assert losses[1] == pytest.approx(losses[2], rel=1e-5)
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)  # after an update
    assert torch.is_grad_enabled()


def test_ratios_name_the_goal_and_what_sharing_brings():
    rates = {
        "TRL, its defaults": 1.0,
        "TRL, fp32, no checkpointing": 2.0,
        "ours, unshared, bf16": 6.0,
        "ours, bf16": 9.0,
    }
    medians = {
        name: dict.fromkeys(("pairs_per_second", "pairs_per_cpu_second"), rate)
        | {"peak_mib": 100.0, "above_baseline_mib": 50.0}
        for name, rate in rates.items()
    }
    lines = benchmark_reward.ratios(medians)[2:]
    assert lines == [
        "| ours, unshared, bf16 | TRL, its defaults | 6.0 x | 6.0 x | 5 x | 1.00 x | 1.00 x |",
        "| ours, unshared, bf16 | TRL, fp32, no checkpointing | 3.0 x | 3.0 x |  | 1.00 x | 1.00 x |",
        "| ours, bf16 | TRL, its defaults | 9.0 x | 9.0 x | 5 x | 1.00 x | 1.00 x |",
        "| ours, bf16 | TRL, fp32, no checkpointing | 4.5 x | 4.5 x |  | 1.00 x | 1.00 x |",
        "| ours, bf16 | ours, unshared, bf16 | 1.5 x | 1.5 x |  | 1.00 x | 1.00 x |",
    ]
    assert benchmark_reward.ratios({"ours, bf16": medians["ours, bf16"]}) == []
