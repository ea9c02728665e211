"""The benchmarks' parts on a CPU and in small: what they count and compare is right, whatever the machine makes of it."""

import sys

import pytest
import torch

from cookbook_lib.config.places import HOME
from cookbook_lib.models.flops import Flops
from cookbook_lib.parallel.mesh import leave_world, make_mesh

sys.path.insert(0, str(HOME / "scripts"))
import benchmark_gpu
import benchmark_sft
import benchmark_sft_run


@pytest.fixture
def mesh():
    yield make_mesh(device="cpu")
    leave_world()


def test_without_a_gpu_it_says_so_and_fails(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark_gpu.main([]) == 2
    assert capsys.readouterr().err == "error: this benchmark needs a CUDA device, and torch sees none.\n"


def test_packed_rows_are_exactly_as_long_as_asked():
    for tokens in (4096, 1000):
        batch = benchmark_gpu.packed_row(tokens, 100, longest=400)
        assert batch.input_ids.shape == (1, tokens)
        assert sum(batch.lengths) == tokens
        assert max(batch.lengths) <= 400
        assert 0.5 < float(batch.weights.mean()) < 0.7


def test_a_sharded_step_runs_and_the_comparison_is_exact_where_it_must_be(mesh):
    fp32, bf16 = benchmark_gpu.gradient_parity(mesh)
    assert float(fp32["gradients"]) < 1e-5
    assert 1e-4 < float(bf16["gradients"]) < 5e-2, "bf16 is close, and is really used"
    row = benchmark_gpu.step_speed(benchmark_gpu.SMALL, 256, mesh, checkpointing=True, steps=1)
    assert row["tokens"] == 256
    assert set(benchmark_gpu.markdown([row]).splitlines()[0].split()) >= {"tokens/s", "MFU"}


def test_attention_errors_are_measured(monkeypatch):
    causal, window, scaled = benchmark_gpu.attention_parity(torch.device("cpu"))
    for row in (causal, window, scaled):
        assert 1e-4 < float(row["output"]) < 2e-2
    right = benchmark_gpu.varlen_attention
    wrong = lambda q, k, v, **o: right(q, k, v, **o) * (1.1 if q.dtype == torch.bfloat16 else 1.0)  # noqa: E731
    monkeypatch.setattr(benchmark_gpu, "varlen_attention", wrong)
    assert float(benchmark_gpu.attention_parity(torch.device("cpu"))[0]["output"]) > 0.05


def test_shapes_have_the_sizes_of_their_names():
    for name, billions in {"Qwen2.5-0.5B": 0.49, "Qwen3-0.6B": 0.60, "Qwen2.5-1.5B": 1.54, "Qwen3-1.7B": 1.72}.items():
        model = benchmark_gpu.structure(benchmark_gpu.SHAPES[name])
        assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.01)
        assert Flops.of(model).head == 2 * 151_936 * model.hf.config.hidden_size


def test_the_sft_benchmark_s_model_and_rows(tmp_path, monkeypatch):
    monkeypatch.delenv("COOKBOOK_REAL_DATA", raising=False)
    monkeypatch.setattr(benchmark_sft, "SHAPE", benchmark_sft.SHAPE | {"num_hidden_layers": 1})
    monkeypatch.setattr(benchmark_sft, "VOCABULARY", 1024)
    monkeypatch.setattr(benchmark_sft, "POOL", 300)
    said = benchmark_sft.prepare(tmp_path, rows=40)
    assert said.startswith("40 procedural rows: median ")
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 40


def test_steps_are_timed_without_the_warm_up():
    steps = benchmark_sft_run.Steps(
        ends=[(10.0, 1.0), (12.0, 2.0), (14.0, 3.0)], tokens=[999, 100, 300], flops=[9e9, 1e9, 3e9]
    )
    found = steps.result(rate=2e9, baseline=0, parameters=7, loss=1.5)
    assert found["tokens_per_second"] == 100
    assert found["tokens_per_cpu_second"] == 200
    assert found["mfu"] == pytest.approx(0.5)
    assert found["step_seconds"] == 2
    assert found["peak_mib"] > 10


def test_ratios_name_the_best_packing_and_the_goals():
    medians = {
        name: {
            "tokens_per_second": rate,
            "tokens_per_cpu_second": rate,
            "peak_mib": 1000.0,
            "above_baseline_mib": 100.0,
        }
        for name, rate in {
            benchmark_sft.DEFAULT: 10,
            "TRL packing, bf16": 20,
            "TRL packing, fp32": 40,
            "ours, bf16": 100,
        }.items()
    }
    lines = benchmark_sft.ratios(medians)
    assert "10.0 x" in lines[2]
    assert "8.0 x" in lines[2]
    assert "TRL packing, fp32" in lines[3]
    assert "2.5 x" in lines[3]
    assert benchmark_sft.ratios({"ours, bf16": medians["ours, bf16"]}) == []
