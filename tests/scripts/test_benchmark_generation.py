"""The parts of the generation benchmark, in small: both sides answer the same, and count what they said."""

import json
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from cookbook_lib.config.places import HOME

sys.path.insert(0, str(HOME / "scripts"))
import benchmark_generation
import benchmark_generation_run


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(benchmark_generation, "SHAPE", shape | {"num_key_value_heads": 1, "head_dim": 8})
    monkeypatch.setattr(benchmark_generation, "VOCABULARY", 256)
    said = benchmark_generation.prepare(tmp_path, prompts=5, n=3, max_new_tokens=6)
    assert said.startswith("5 prompts of median ") and "3 completions of each, at most 6 tokens" in said
    return tmp_path


@pytest.mark.parametrize("side", [benchmark_generation_run.ours, benchmark_generation_run.plain])
def test_both_sides_count_the_tokens_that_they_said(small, side):
    model = AutoModelForCausalLM.from_pretrained(small / "model")
    asked = json.loads((small / "asked.json").read_text())
    asked["prompts"] = [prompt[:20] for prompt in asked["prompts"]]
    assert asked["stops"] == [0, 100, 200]
    assert side(model, asked | {"stops": list(range(256))}) == 15, "each ends with its first token, which counts"
    assert 60 < side(model, asked) <= 90


def test_a_run_is_measured(small):
    found = benchmark_generation_run.run_one(benchmark_generation_run.OURS, small)
    assert 4 < found["completion_tokens"] <= 6 and found["tokens_per_second"] > 0 and found["peak_mib"] > 10


def test_ratios_stand_beside_the_goal():
    rates = dict(zip(benchmark_generation_run.CONTESTANTS, (10.0, 20.0, 50.0), strict=True))
    medians = {name: {"tokens_per_second": rate, "tokens_per_cpu_second": 2 * rate} for name, rate in rates.items()}
    lines = benchmark_generation.ratios(medians)
    assert "5.00 x tokens/s" in lines[0] and "2.50 x tokens/s" in lines[2] and "goal 1 x" in lines[0]
    assert benchmark_generation.ratios({name: medians[name] for name in benchmark_generation_run.PLAIN}) == []
