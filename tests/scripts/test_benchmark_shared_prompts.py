"""The benchmark of shared prompts, in small: the same gradients in every form, and fewer tokens where prompts are shared."""

import argparse
import sys

import pytest

from cookbook_lib.config.places import HOME

sys.path.insert(0, str(HOME / "scripts"))
import benchmark_shared_prompts


@pytest.mark.slow
def test_every_form_has_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_shared_prompts, "VOCABULARY", 256)
    monkeypatch.setattr(benchmark_shared_prompts, "LENGTHS", (3, 9))
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(benchmark_shared_prompts, "SHAPE", small | {"num_key_value_heads": 2, "head_dim": 16})
    rows = benchmark_shared_prompts.measure(argparse.Namespace(groups=2, prompt=40, max_tokens=200, repeats=1))
    tokens = {row["form"]: row["tokens"] for row in rows}
    assert tokens["unshared"] == tokens["padded"] == tokens["shared"] + 2 * 7 * 40
    assert all(row["differs"] < 1e-5 for row in rows)
    told = benchmark_shared_prompts.report(rows)
    assert "| shared | " in told and "x per CPU second (goal 3 x)" in told
