"""Every recipe under cookbook/: its values load, alone and with the smoke overlay, and it has what a reader needs."""

import json
import os
from pathlib import Path

import pytest

from cookbook_lib import training
from cookbook_lib.config import Config, load_config
from cookbook_lib.config.keys import catalogue
from cookbook_lib.config.places import RECIPES, recipe_names
from cookbook_lib.data.judge.job import Ask, TaskJob
from cookbook_lib.data.judge.prepare import prepare_tasks
from tests.training import embedded_run, reward_run

each_recipe = pytest.mark.parametrize("recipe", recipe_names())


def name_of(folder: str) -> str:
    """generative/pointwise is the folder of generative_pointwise."""
    return folder.replace("/", "_")


@each_recipe
def test_trainer_yaml_loads(recipe):
    config = load_config(recipe, environ={})
    assert config.trainer.default_local_dir == str(RECIPES / recipe / "checkpoints")
    assert config.ulysses_sequence_parallel_size == 1, "a default that needs several GPUs"
    assert not config.model.trust_remote_code, "a default that runs a stranger's code"


@each_recipe
def test_smoke_overlay_needs_nothing(recipe):
    config = load_config(recipe, ["smoke"], environ={})
    assert config.model.partial_pretrain == ("tiny-judge" if recipe.startswith("generative/") else "tiny")
    assert config.model.fsdp_config.model_dtype == "fp32"
    assert config.trainer.device == "cpu"


@each_recipe
def test_trainer_yaml_says_which_recipe_it_is(recipe):
    config = load_config(recipe, environ={})
    assert config.recipe == name_of(recipe)
    assert config.origins["recipe"].startswith(f"cookbook/{recipe}/trainer.yaml:")


@each_recipe
def test_trainer_yaml_says_what_the_recipe_reads(recipe):
    """What a reader looks for first is in the file, not among the defaults."""
    shown = {
        "data.train_batch_size",
        "data.micro_batch_size",
        "data.max_length",
        "data.truncation",
        "optim.lr",
        "trainer.total_epochs",
        "rollout.n",
        "rollout.max_new_tokens",
        "rollout.updates",
        "reward.functions",
        "algorithm.adv_estimator",
        "algorithm.use_kl_loss",
    }
    shown |= {name for name in catalogue() if name.startswith(f"{recipe}.")} - {
        "bradley_terry.margin_scale",
        "pointwise.huber_delta",
    }
    config = load_config(recipe, environ={})
    read = {name for name in shown if config.recipe in catalogue()[name].recipes}
    assert [name for name in sorted(read) if config.origins[name] == "default"] == []


@pytest.mark.parametrize("recipe", ["generative/pointwise", "generative/pairwise"])
def test_recipes_of_generative_judges(recipe):
    config = load_config(recipe, environ={})
    assert config.optim.lr == 1e-6
    assert (config.algorithm.adv_estimator, config.trainer.best_metric) == ("grpo", "val/reward")
    assert config.data.max_length - config.rollout.max_new_tokens >= 4096, "room for a prompt"
    assert config.algorithm.use_kl_loss


def test_a_smoke_overlay_in_the_recipe_s_folder_is_laid_over_the_common_one():
    config = load_config("generative/pointwise", ["smoke"], environ={})
    assert config.origins["model.partial_pretrain"].startswith("cookbook/generative/pointwise/smoke.yaml:")
    assert config.origins["model.fsdp_config.model_dtype"].startswith("cookbook/smoke.yaml:")


@pytest.mark.parametrize("recipe", ["bradley_terry", "pointwise"])
def test_recipes_of_reward_models(recipe):
    config = load_config(recipe, environ={})
    assert 2e-6 <= config.optim.lr <= 1e-5
    assert (config.data.train_batch_size, config.data.truncation, config.trainer.total_epochs) == (128, "turns", 1)
    assert config.trainer.best_metric == ("val/accuracy" if recipe == "bradley_terry" else "val/loss")


@each_recipe
def test_the_launcher_names_its_own_recipe(recipe):
    texts = [path.read_text() for path in (RECIPES / recipe).glob("*.sh")]
    assert [text for text in texts if f"\nlaunch {recipe} " in text]


@pytest.mark.slow
@each_recipe
def test_two_steps_with_the_smoke_overlay(recipe, tmp_path):
    steps = "trainer.total_training_steps=2"
    if recipe == "sft":
        run = embedded_run.run_of(embedded_run.config_of(embedded_run.prepared(tmp_path), tmp_path / "run", steps))
    elif recipe in ASKS:
        run = reward_run.run_of(judge_config(recipe, tmp_path, steps))
    else:
        data = reward_run.prepared(tmp_path, "pointwise" if recipe == "pointwise" else "bradley_terry")
        run = reward_run.run_of(reward_run.config_of(data, tmp_path / "run", steps, recipe=recipe))
    assert training.fit(run).progress.step == 2
    final = tmp_path / "run" / run.config.trainer.final_name
    assert (final / "model.safetensors").is_file()
    assert json.loads((final / "cookbook.json").read_text())["recipe"] == name_of(recipe)


ASKS: dict[str, Ask] = {"generative/pointwise": "score-judge", "generative/pairwise": "preference-judge"}


def judge_config(recipe: str, folder: Path, *overrides: str) -> Config:
    """The rehearsal, from the model that has not been taught to judge: two steps teach it nothing, and run all the same."""
    prepare_tasks(TaskJob("embedded", output=folder / "data", limit=80, test_ratio=0.2, ask=ASKS[recipe]))
    small = [
        "data.train_batch_size=4",
        "data.val_max_samples=4",
        "trainer.logger=[jsonl]",
        "model.partial_pretrain=tiny",
    ]
    files = {"train_file": str(folder / "data/train.parquet"), "val_file": str(folder / "data/test.parquet")}
    return load_config(recipe, ["smoke"], [*small, *overrides], environ={}, **files, save_path=str(folder / "run"))


@each_recipe
def test_recipe_folder_is_complete(recipe):
    names = {path.name for path in (RECIPES / recipe).iterdir()}
    assert {"trainer.yaml", "README.md"} <= names
    launchers = list((RECIPES / recipe).glob("*.sh"))
    assert launchers
    assert [path.name for path in launchers if not os.access(path, os.X_OK)] == []


def test_there_are_recipes():
    assert {"sft", "bradley_terry", "pointwise", "generative/pointwise", "generative/pairwise", "dpo"} <= set(
        recipe_names()
    )
