"""The setup: what a config asks for reaches the room that does it, and what a base model knows reaches the final one."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from cookbook_lib import training
from cookbook_lib.config import CookbookError, load_config
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.training import builders
from cookbook_lib.training.embedded import tiny_folder
from tests.training.embedded_run import config_of, prepared, run_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("key", ["param_offload", "cpu_offload"])
def test_offloaded_weights_are_made_where_they_rest(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA, FSDP2 refuses offloaded weights that were made on the device; a CPU cannot tell the two apart."""
    asked = []
    monkeypatch.setattr(builders, "load_weights", lambda *_, offload, **__: asked.append(offload))
    for value in ("true", "false"):
        override = [f"model.fsdp_config.{key}={value}", "trainer.device=auto"]
        config = load_config("sft", ["smoke"], override, environ={})
        mesh = training.open_mesh(config)
        training.open_model(config, training.open_base(config, mesh), mesh)
    assert asked == [True, False]


def test_the_final_model_keeps_the_generation_config_of_its_base(data: Path, tmp_path: Path) -> None:
    """An instruct model's end tokens are often there and nowhere else."""
    base = shutil.copytree(tiny_folder(), tmp_path / "base")
    known = {"eos_token_id": [2, 0], "do_sample": True, "temperature": 0.7}
    (base / "generation_config.json").write_text(json.dumps(known))
    overrides = (f"model.partial_pretrain={base}", "trainer.total_training_steps=1")
    training.fit(run_of(config_of(data, tmp_path / "run", *overrides)))
    assert json.loads((tmp_path / "run/sft-final/generation_config.json").read_text()) == known


def test_a_token_that_the_model_has_no_embedding_for_is_named(data: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_folder(), tmp_path / "base")
    tokenizer = load_tokenizer(base)
    many = [f"<extra_{i}>" for i in range(100)]  # the vocabulary is rounded up: there is some room
    tokenizer.add_special_tokens({"additional_special_tokens": [*many, "<bos>"]})
    tokenizer.chat_template = "{{ '<bos>' }}" + tokenizer.chat_template
    tokenizer.save_pretrained(base)
    with pytest.raises(CookbookError, match=r"gives token \d+ \('<bos>'\), the model has \d+ embeddings: .* resize"):
        run_of(config_of(data, tmp_path / "run", f"model.partial_pretrain={base}"))


def test_a_pad_token_without_an_embedding_is_never_looked_up(data: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_folder(), tmp_path / "base")
    tokenizer = load_tokenizer(base)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra_{i}>" for i in range(100)]})
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(base)
    run = run_of(config_of(data, tmp_path / "run", f"model.partial_pretrain={base}", "use_remove_padding=false"))
    assert tokenizer.pad_token_id >= run.model.hf.config.vocab_size
    assert training.validate(run)["val/loss"] > 0


def test_random_numbers_start_from_the_seed(data: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (5, 5, 6):
        run_of(config_of(data, tmp_path / "run", f"trainer.seed={seed}"))
        drawn.append(torch.rand(()).item())
    assert drawn[0] == drawn[1] != drawn[2]
