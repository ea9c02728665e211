"""verl's names of reinforcement learning: taken where they mean a key of ours, explained where they do not."""

from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, config_table, load_config
from cookbook_lib.config.verl_names import COMPUTED, FIXED, NAMES, SEVERAL, TAUGHT


@pytest.fixture
def load(tmp_path: Path):
    def load(*overrides: str, recipe: str = "generative_pointwise", text: str = "") -> Config:
        (tmp_path / "trainer.yaml").write_text(f"recipe: {recipe}\n{text}")
        return load_config(tmp_path, overrides=overrides, environ={})

    return load


@pytest.fixture
def problems(load):
    def problems(*overrides: str, **kwargs) -> str:
        with pytest.raises(CookbookError) as error:
            load(*overrides, **kwargs)
        return str(error.value)

    return problems


def values(config: Config) -> dict:
    return {row["key"]: row["value"] for row in config_table(config)}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("actor_rollout_ref.rollout.n=5", "rollout.n", 5),
        ("actor_rollout_ref.rollout.name=hf", "rollout.engine", "own"),
        ("actor_rollout_ref.rollout.val_kwargs.temperature=0.6", "rollout.val_temperature", 0.6),
        ("actor_rollout_ref.model.path=Qwen/Qwen3-8B", "model.partial_pretrain", "Qwen/Qwen3-8B"),
        ("actor_rollout_ref.model.use_remove_padding=True", "use_remove_padding", True),
        ("actor_rollout_ref.actor.optim.lr=1e-6", "optim.lr", 1e-6),
        ("actor_rollout_ref.actor.optim.warmup_style=constant", "optim.lr_scheduler", "constant"),
        ("actor_rollout_ref.actor.optim.lr_warmup_steps=7", "optim.warmup_steps", 7),
        ("actor_rollout_ref.actor.grad_clip=0.5", "optim.clip_grad", 0.5),
        ("actor_rollout_ref.actor.strategy=fsdp", "model.strategy", "fsdp2"),
        ("actor_rollout_ref.actor.fsdp_config.param_offload=True", "model.fsdp_config.param_offload", True),
        ("actor_rollout_ref.actor.clip_ratio_high=0.28", "algorithm.clip_ratio_high", 0.28),
        ("actor_rollout_ref.actor.policy_loss.loss_mode=gspo", "algorithm.policy_loss", "gspo"),
        ("actor_rollout_ref.actor.tis_imp_ratio_cap=2", "algorithm.tis_cap", 2.0),
        ("algorithm.filter_groups.enable=False", "algorithm.filter_groups", False),
        ("algorithm.filter_groups.max_num_gen_batches=10", "algorithm.max_num_gen_batches", 10),
        ("data.max_response_length=300", "rollout.max_new_tokens", 300),
        ("reward_model.overlong_buffer.len=40", "reward.overlong_buffer", 40),
        ("trainer.val_before_train=False", "trainer.val_at_start", False),
        ("loss_agg_mode=seq-mean-token-sum", "algorithm.loss_agg_mode", "seq-mean-token-sum"),
        ("use_kl_loss=true", "algorithm.use_kl_loss", True),
    ],
)
def test_a_name_of_the_same_meaning(load, override, key, value):
    found = values(load(override))[key]
    assert found == value
    assert type(found) is type(value)


def test_one_name_for_both_ends_of_the_clip(load):
    a = load("actor_rollout_ref.actor.clip_ratio=0.1").algorithm
    assert (a.clip_ratio_low, a.clip_ratio_high) == (0.1, 0.1)


ACTOR = "actor_rollout_ref.actor."


@pytest.mark.parametrize("high", [f"{ACTOR}clip_ratio_high=0.28", "algorithm.clip_ratio_high=0.28"])
def test_it_leaves_alone_what_is_set_beside_it(load, high):
    """In verl it is the fallback of the two, in whatever order they are written."""
    both = f"{ACTOR}clip_ratio=0.1"
    for overrides in ((high, both), (both, high)):
        a = load(*overrides).algorithm
        assert (a.clip_ratio_low, a.clip_ratio_high) == (0.1, 0.28)
    a = load(
        text="actor_rollout_ref: {actor: {clip_ratio_low: 0.1, clip_ratio_high: 0.28, clip_ratio: 0.2}}\n"
    ).algorithm
    assert (a.clip_ratio_low, a.clip_ratio_high) == (0.1, 0.28)


def test_it_stands_over_what_an_earlier_layer_says(load):
    a = load(f"{ACTOR}clip_ratio=0.1", text="algorithm: {clip_ratio_low: 0.2, clip_ratio_high: 0.28}\n").algorithm
    assert (a.clip_ratio_low, a.clip_ratio_high) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            "rollout.updates=2 ppo_mini_batch_size=24",
            "override (ppo_mini_batch_size): rollout.updates is 4 by ppo_mini_batch_size and 2 by rollout.updates",
        ),
        (
            "actor_rollout_ref.rollout.n=5 rollout.n=4",
            "override: rollout.n is 4 by rollout.n and 5 by actor_rollout_ref.rollout.n, which is the same key; keep one",
        ),
        (
            "data.max_response_length=300 actor_rollout_ref.rollout.response_length=400",
            "is 400 by actor_rollout_ref.rollout.response_length and 300 by data.max_response_length",
        ),
    ],
)
def test_two_names_of_one_key_contradict(problems, overrides, sentence):
    message = problems(*overrides.split())
    assert sentence in message
    assert "problems in the configuration" not in message


def test_two_names_of_one_key_may_say_the_same_and_one_name_may_come_twice(load):
    assert load("rollout.updates=4", "ppo_mini_batch_size=24").rollout.updates == 4
    assert load("actor_rollout_ref.rollout.n=5", "actor_rollout_ref.rollout.n=6").rollout.n == 6
    assert load("actor_rollout_ref.rollout.n=5", text="rollout: {n: 4}\n").rollout.n == 5


@pytest.mark.parametrize(
    ("theirs", "ours"), [("kl", "k1"), ("mse", "k2"), ("low_var_kl", "k3"), ("low_var_kl+", "k3+")]
)
def test_estimators_of_the_distance(load, theirs, ours):
    config = load("use_kl_loss=true", f"actor_rollout_ref.actor.kl_loss_type={theirs}")
    assert config.algorithm.kl_loss_type == ours


def test_the_origin_tells_the_name_that_was_typed(load, problems):
    assert load("actor_rollout_ref.rollout.n=5").origins["rollout.n"] == "override (actor_rollout_ref.rollout.n)"
    sentence = "override (actor_rollout_ref.rollout.n): rollout.n is 0, but must be at least 1"
    assert sentence in problems("actor_rollout_ref.rollout.n=0")


def test_a_trainer_yaml_in_their_words(load, tmp_path):
    text = "actor_rollout_ref: {rollout: {n: 4}, actor: {use_kl_loss: true, ppo_mini_batch_size: 24}}\n"
    config = load(text=text + "algorithm: {kl_ctrl: {type: fixed}}\ndata: {train_batch_size: 96}\n")
    assert (config.rollout.n, config.algorithm.use_kl_loss, config.rollout.updates) == (4, True, 4)
    assert config.origins["rollout.n"] == f"{tmp_path}/trainer.yaml:2 (actor_rollout_ref.rollout.n)"


@pytest.mark.parametrize("name", ["ppo_mini_batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size"])
def test_mini_batches_are_updates_of_whatever_round_stands_at_last(load, name):
    assert load(f"{name}=24").rollout.updates == 4  # of the default of 96
    assert load(f"{name}=16", "data.train_batch_size=128").rollout.updates == 8
    assert load("data.train_batch_size=128", text=f"{name}: 64\n").rollout.updates == 2


def test_mini_batches_that_are_none(problems):
    sentence = "ppo_mini_batch_size is 36 while data.train_batch_size is 96; it must divide data.train_batch_size"
    assert sentence in problems("ppo_mini_batch_size=36")
    assert "ppo_mini_batch_size is 'x' while" in problems("ppo_mini_batch_size=x")
    assert "ppo_mini_batch_size is 0 while" in problems("ppo_mini_batch_size=0")
    assert problems("ppo_mini_batch_size=4", "data.train_batch_size=x").count("data.train_batch_size is") == 1


def test_prompt_and_response_add_up(load):
    config = load("data.max_prompt_length=1024", "data.max_response_length=256")
    assert (config.data.max_length, config.rollout.max_new_tokens) == (1280, 256)
    assert load("data.max_prompt_length=1024").data.max_length == 1024 + 512


@pytest.mark.parametrize("name", FIXED)
def test_what_is_so_anyway_is_accepted_and_anything_else_refused(load, problems, name):
    only, why = FIXED[name]
    assert values(load(f"{name}={only}")) == values(load())
    other = {True: "False", False: "True"}.get(only, "another") if isinstance(only, bool) else "another"
    message = problems(f"{name}={other}")
    assert f"but can only be {only!r} here" in message
    assert why in message


@pytest.mark.parametrize("start", TAUGHT)
def test_the_rest_is_explained(problems, start):
    name = start.rstrip("._") + (".x" if start.endswith(".") else "")
    name = start + "x" if start.endswith("_") else name
    assert f"{name} {TAUGHT[start]}" in problems(f"{name}=1")


def test_a_misspelt_or_unknown_name(problems):
    assert "did you mean actor_rollout_ref.rollout.temperature?" in problems("actor_rollout_ref.rollout.temprature=1")
    message = problems("actor_rollout_ref.nccl_timeout=600")
    assert "actor_rollout_ref.nccl_timeout has no counterpart here; docs/reference/config.md lists" in message


@pytest.mark.parametrize("name", ["actor.ppo_micro_batch_size", "rollout.mode"])
def test_another_quantity_is_not_proposed_for_a_name_that_looks_like_it(problems, name):
    assert "did you mean" not in problems(f"actor_rollout_ref.{name}=4")


@pytest.mark.parametrize(
    ("recipe", "name"),
    [("generative_pointwise", "actor_rollout_ref.actor.optim.lr_warmup_steps"), ("sft", "optim.lr_warmup_steps")],
)
def test_their_default_of_the_warmup_leaves_it_to_the_ratio(load, recipe, name):
    config = load(f"{name}=-1", recipe=recipe, text="optim: {warmup_steps: 5}\n")
    assert config.optim.warmup_steps is None
    assert "which leaves it to the ratio" in config.origins["optim.warmup_steps"]
    assert load(f"{name}=-1", f"{name}_ratio=0.1", recipe=recipe).optim.warmup_steps_ratio == 0.1


@pytest.mark.parametrize("recipe", ["sft", "bradley_terry", "dpo"])
@pytest.mark.parametrize("name", ["actor_rollout_ref.model.path", "data.max_prompt_length", *SEVERAL, *COMPUTED])
def test_other_recipes_send_them_where_they_belong(problems, recipe, name):
    sentence = f"{name} belongs to reinforcement learning: recipes under cookbook/generative take it, not this one"
    assert sentence in problems(f"{name}=1", recipe=recipe)


@pytest.mark.parametrize("name", ["critic.x", "data.reward_fn_key"])
def test_what_no_recipe_takes_is_not_sent_to_one(problems, name):
    said = problems(f"{name}=1", recipe="sft")
    assert f"{name} has no place" in said and "take it" not in said


def test_every_name_of_the_table_is_taken(load):
    """Each with a value that its key has in some config."""
    plain = values(load())
    for name, key in NAMES.items():
        value = plain[key] if plain[key] is not None else "null"
        text = str(list(value) if isinstance(value, tuple) else value).replace(" ", "")
        assert values(load(f"{name}={text}")) == plain, name
