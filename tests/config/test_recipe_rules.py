"""One schema for all recipes: what one reads and another refuses, and values that contradict each other there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, config_table, load_config, save_resolved
from cookbook_lib.config.keys import ALL_RECIPES, catalogue
from cookbook_lib.config.show import config_dict

REWARD = ("bradley_terry", "pointwise")
SPECIAL = [(key.name, recipe) for key in catalogue().values() for recipe in ALL_RECIPES if recipe not in key.recipes]


@pytest.fixture
def load(tmp_path: Path):
    """A config of a recipe that says nothing but its name, under overrides."""

    def load(recipe: str, *overrides: str, text: str = "", **kwargs) -> Config:
        (tmp_path / "trainer.yaml").write_text(f"recipe: {recipe}\n{text}")
        return load_config(tmp_path, overrides=overrides, environ={}, **kwargs)

    return load


@pytest.fixture
def problems(load):
    def problems(recipe: str, *overrides: str, **kwargs) -> str:
        with pytest.raises(CookbookError) as error:
            load(recipe, *overrides, **kwargs)
        return str(error.value)

    return problems


@pytest.mark.parametrize(("key", "recipe"), SPECIAL)
def test_a_key_that_the_recipe_does_not_read_is_refused_even_at_its_default(problems, key, recipe):
    value = json.dumps(catalogue()[key].default)
    assert f"override: {key} has no effect in recipe {recipe}" in problems(recipe, f"{key}={value}")


def test_the_whole_sentence(problems):
    sentence = "override: data.train_on has no effect in recipe bradley_terry; remove it"
    assert problems("bradley_terry", "data.train_on=all") == sentence
    assert "a prompt and its response are a conversation of two messages there" in problems(
        "sft", "data.prompt_key=question"
    )


def test_a_file_that_names_no_recipe_is_told_how(tmp_path):
    (tmp_path / "trainer.yaml").write_text("bradley_terry:\n  use_margin: true\n")
    with pytest.raises(CookbookError) as error:
        load_config(tmp_path, environ={})
    sentence = "trainer.yaml:2: bradley_terry.use_margin has no effect in recipe sft; remove it, or write recipe: bradley_terry into"
    assert sentence in str(error.value)


@pytest.mark.parametrize("recipe", REWARD)
def test_keys_of_both_reward_recipes(load, recipe):
    config = load(recipe, "data.prompt_key=q", "data.truncation=drop")
    assert (config.recipe, config.data.prompt_key, config.data.truncation) == (recipe, "q", "drop")


def test_bradley_terry_values(load):
    loss = {"use_margin": True, "margin_scale": 0.5, "label_smoothing": 0.1, "center_coefficient": 0.01}
    data = {"chosen_key": "good", "rejected_key": "bad", "share_prompts": False}
    given = [f"bradley_terry.{name}={value}" for name, value in loss.items()]
    given += [f"data.{name}={value}" for name, value in data.items()]
    config = load("bradley_terry", *given, "trainer.best_metric=val/accuracy")
    assert vars(config.bradley_terry) == loss
    assert {name: getattr(config.data, name) for name in data} == data
    assert config.trainer.best_metric == "val/accuracy"


def test_pointwise_values(load):
    config = load(
        "pointwise",
        *(f"pointwise.{one}" for one in ("loss=huber", "attributes=[help,truth]", "lowest=-1", "huber_delta=0.5")),
    )
    assert vars(config.pointwise) == {
        "loss": "huber",
        "attributes": ["help", "truth"],
        "lowest": -1,
        "highest": 4,
        "huber_delta": 0.5,
    }


def test_defaults_of_their_own(load):
    found = {r: load(r) for r in ALL_RECIPES}
    assert [found[r].data.truncation for r in ("sft", "bradley_terry", "pointwise", "dpo")] == ["right", *["turns"] * 3]
    names = ["sft-final", "bt-final", "pointwise-final", "judge-final", "judge-final", "dpo-final"]
    assert [c.trainer.final_name for c in found.values()] == names
    names = ["sft", "bt", "pointwise", "judge-pointwise", "judge-pairwise", "dpo"]
    assert [c.trainer.experiment_name for c in found.values()] == names
    metrics = ["val/loss", "val/loss", "val/loss", "val/reward", "val/reward", "val/loss"]
    assert [c.trainer.best_metric for c in found.values()] == metrics
    assert load("bradley_terry", text="trainer: {final_name: mine}\n").trainer.final_name == "mine"


@pytest.mark.parametrize(
    ("recipe", "overrides", "sentence"),
    [
        ("bradley_terry", "bradley_terry.label_smoothing=0.5", "is 0.5, but must be from 0 up to, not including, 0.5"),
        ("bradley_terry", "bradley_terry.label_smoothing=-0.1", "is -0.1, but must be from 0 up to"),
        ("bradley_terry", "bradley_terry.label_smoothing=.nan", "must be from 0 up to"),
        ("bradley_terry", "bradley_terry.use_margin=true bradley_terry.margin_scale=0", "is 0.0, but must be above 0"),
        ("bradley_terry", "bradley_terry.center_coefficient=-1", "is -1.0, but must be 0 or more"),
        ("bradley_terry", "bradley_terry.margin_scale=2", "has no effect while bradley_terry.use_margin is false"),
        ("bradley_terry", "data.truncation=right", "is right, but must be one of turns, drop, error in recipe bradley_terry"),
        ("pointwise", "data.truncation=left", "is left, but must be one of turns, drop, error in recipe pointwise"),
        ("sft", "trainer.best_metric=val/accuracy", "is val/accuracy, but only bradley_terry and dpo have an accuracy; set val/loss"),
        ("pointwise", "trainer.best_metric=val/accuracy", "is val/accuracy, but only bradley_terry and dpo have an accuracy"),
        ("generative_pairwise", "trainer.best_metric=val/accuracy", "have an accuracy; set val/reward"),
        ("generative_pairwise", "trainer.best_metric=val/loss", "is val/loss, which says nothing about completions"),
        ("dpo", "trainer.best_metric=val/reward", "is val/reward, but recipe dpo has none; set val/loss"),
        ("dpo", "data.micro_batch_size=1", "data.micro_batch_size is 1, but must be at least 2 in recipe dpo"),
        ("dpo", "data.truncation=right", "is right, but must be one of turns, drop, error in recipe dpo"),
        ("dpo", "data.rejected_key=chosen", "data.rejected_key names the column 'chosen', which is named already"),
        ("generative_pointwise", "data.truncation=error", "(a prompt that is too long is left out and counted, never cut); remove it"),
        ("bradley_terry", "trainer.best_metric=val/accuracy data.val_files=null", "no validation data to measure it on"),
        ("bradley_terry", "data.micro_batch_size=1", "data.micro_batch_size is 1, but must be at least 2 in recipe bradley_terry"),
        ("bradley_terry", "data.share_prompts=true use_remove_padding=false", "padded rows share nothing"),
        ("bradley_terry", "data.rejected_key=chosen", "data.rejected_key names the column 'chosen', which is named already"),
        ("bradley_terry", "data.prompt_key=''", "data.prompt_key is '', but must name a column"),
        ("pointwise", "data.response_key=prompt", "data.response_key names the column 'prompt', which is named already"),
        ("pointwise", "pointwise.attributes=[score,score]", "pointwise.attributes names the column 'score', which is named already"),
        ("pointwise", "pointwise.attributes=[response]", "pointwise.attributes names the column 'response'"),
        ("pointwise", "pointwise.attributes=[]", "pointwise.attributes is [], but must name a column"),
        ("pointwise", "pointwise.attributes=['']", "pointwise.attributes is [''], but must name a column"),
        ("pointwise", "pointwise.attributes=score", "must be a list of text"),
        ("pointwise", "pointwise.lowest=4", "pointwise.highest is 4, but must be above pointwise.lowest, which is 4"),
        ("pointwise", "pointwise.loss=ordinal pointwise.lowest=0.5", "pointwise.lowest is 0.5, but must be a whole number"),
        ("pointwise", "pointwise.loss=huber pointwise.huber_delta=0", "is 0.0, but must be above 0"),
        ("pointwise", "pointwise.huber_delta=2", "has no effect on the mse loss; remove it, or set pointwise.loss=huber"),
        ("pointwise", "pointwise.loss=hinge", "must be one of mse, huber, ordinal, classification"),
    ],
)  # fmt: skip
def test_refused_in_a_sentence(problems, recipe, overrides, sentence):
    message = problems(recipe, *overrides.split())
    assert sentence in message
    assert "problems in the configuration" not in message, "more than one sentence for one mistake"


def test_padded_rows_share_no_prompts(load):
    padded = load("bradley_terry", "use_remove_padding=false")
    assert padded.data.share_prompts is False
    origin = {row["key"]: row["came from"] for row in config_table(padded)}
    assert origin["data.share_prompts"] == "follows from use_remove_padding=false"
    assert load("bradley_terry").data.share_prompts is True


def test_the_recipe_stands_in_its_file_alone(problems, load, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("recipe: sft\n")
    assert "recipe is 'sft', but the recipe's own file says bradley_terry" in problems(
        "bradley_terry", overlays=[overlay]
    )
    assert "recipe is 'sft', but the recipe's own file says bradley_terry" in problems("bradley_terry", "recipe=sft")
    assert load("bradley_terry", "recipe=bradley_terry").origins["recipe"].endswith("trainer.yaml:1")


def test_a_recipe_that_does_not_exist_is_the_only_thing_said_about_the_keys(problems):
    message = problems("bradley-terry", "bradley_terry.use_margin=true", "optim.lr=0")
    assert message.endswith(
        "trainer.yaml:1: recipe is 'bradley-terry', but must be one of sft, bradley_terry, pointwise, generative_pointwise, "
        "generative_pairwise, dpo"
    )
    assert "use_margin" not in message


def test_only_what_the_recipe_reads_is_shown_and_saved(load, tmp_path):
    tree = config_dict(load("bradley_terry"))
    assert "pointwise" not in tree
    assert "multiturn" not in tree["data"]
    assert "train_on" not in {row["key"].rpartition(".")[2] for row in config_table(load("pointwise"))}


@pytest.mark.parametrize("recipe", ALL_RECIPES)
@pytest.mark.parametrize("padding", ["true", "false"])
def test_a_saved_config_loads_back_to_the_same_values(load, tmp_path, recipe, padding):
    places = "data: {train_files: /a, val_files: /b}\ntrainer: {default_local_dir: /c}\n"
    config = load(recipe, f"use_remove_padding={padding}", text=places)
    save_resolved(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml", environ={})
    assert replace(again, origins={}) == replace(config, origins={})
