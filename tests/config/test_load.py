"""load_config: layers in order, typed and frozen values, every problem in one message."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, config_table, load_config, save_resolved


def load(*overrides: str, recipe: str | Path = "sft", overlays=(), environ=None, **parameters) -> Config:
    return load_config(recipe, overlays, list(overrides), environ or {}, **parameters)


def problems(*overrides: str, **kwargs) -> str:
    with pytest.raises(CookbookError) as error:
        load(*overrides, **kwargs)
    return str(error.value)


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "trainer.yaml"
    path.write_text(text)
    return path


def test_later_layers_win(tmp_path):
    recipe = recipe_file(tmp_path, "optim: {lr: 1e-1}\ntrainer: {seed: 10}\n")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("optim: {lr: 1e-2}\ndata: {max_length: 20, micro_batch_size: 20}\n")
    second.write_text("data: {max_length: 30}\n")
    environ = {"MAX_LENGTH": "40", "TOTAL_EPOCHS": "40"}
    config = load("data.max_length=60", recipe=recipe, overlays=[first, second], environ=environ, total_epochs=50)
    assert config.optim.lr == 1e-2  # overlay over trainer.yaml
    assert config.trainer.seed == 10  # trainer.yaml over default
    assert config.data.micro_batch_size == 20
    assert config.trainer.total_epochs == 50  # parameter over environment
    assert config.data.max_length == 60  # override over all
    assert load(recipe=recipe, overlays=[first, second], environ=environ).data.max_length == 40
    assert load(recipe=recipe, overlays=[first, second]).data.max_length == 30


def test_a_parameter_that_is_none_and_an_empty_variable_say_nothing():
    config = load(environ={"MODEL_PATH": ""}, model_path=None, max_length=None)
    assert config == load()


def test_one_overlay_may_stand_without_a_list():
    assert load(overlays="smoke") == load(overlays=["smoke"])
    assert load(overlays="smoke").model.partial_pretrain == "tiny"


def test_overrides_in_one_string_are_split_as_a_shell_would():
    together = load_config("sft", (), "trainer.logger=['console','swanlab'] optim.lr=1e-4", {})
    assert together.trainer.logger == ["console", "swanlab"]
    assert together.optim.lr == 1e-4


def test_the_result_is_frozen():
    config = load()
    with pytest.raises(FrozenInstanceError):
        config.optim.lr = 1.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        config.model.fsdp_config.fsdp_size = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optim.lr=2e-5", "optim.lr", 2e-5),
        ("optim.lr=1", "optim.lr", 1.0),
        ("optim.betas=[0.9,0.95]", "optim.betas", (0.9, 0.95)),
        ("trainer.logger=[console,swanlab]", "trainer.logger", ["console", "swanlab"]),
        ("trainer.logger=['console','swanlab']", "trainer.logger", ["console", "swanlab"]),
        ("data.multiturn.tools_key=null", "data.multiturn.tools_key", None),
        ('data.multiturn.tools_key="null"', "data.multiturn.tools_key", None),
        ("data.multiturn.tools_key=tools", "data.multiturn.tools_key", "tools"),
        ("trainer.experiment_name=0512", "trainer.experiment_name", "0512"),  # not octal 330
        ("trainer.experiment_name=1e3", "trainer.experiment_name", "1e3"),  # not 1000.0
        ("trainer.experiment_name=a=b", "trainer.experiment_name", "a=b"),
        ("data.train_files=[/a.parquet,/b.parquet]", "data.train_files", ["/a.parquet", "/b.parquet"]),
        ("data.val_files=null", "data.val_files", None),
        ("data.shuffle=false", "data.shuffle", False),
        ("data.micro_batch_size_per_gpu=3", "data.micro_batch_size", 3),
        ("optim.lr_warmup_steps_ratio=0.2", "optim.warmup_steps_ratio", 0.2),
        ("optim.lr_warmup_steps=7", "optim.warmup_steps", 7),
        ("model.strategy=fsdp", "model.strategy", "fsdp2"),
        ("model.fsdp_config.model_dtype=bfloat16", "model.fsdp_config.model_dtype", "bf16"),
    ],
)
def test_override(override, key, value):
    rows = {row["key"]: row["value"] for row in config_table(load(override))}
    assert rows[key] == value
    assert type(rows[key]) is type(value)


def test_all_problems_in_one_message_each_with_its_place(tmp_path):
    recipe = recipe_file(tmp_path, "optim:\n  lrr: 1\ndata:\n  max_length: many\n")
    message = problems(
        "trainer.total_epochs=x",
        "model.lora_rank=-8",
        recipe=recipe,
        overlays=["nowhere"],
        environ={"TOTAL_BATCH_SIZE": "0"},
        model_pth="x",
    )
    assert message.startswith("7 problems in the configuration:\n")
    assert f"{recipe}:2: optim.lrr is not a key; did you mean optim.lr?" in message
    assert f"{recipe}:4: data.max_length is 'many', but must be a whole number" in message
    assert "overlay nowhere: there is no such YAML file; the overlays in cookbook/ are: smoke" in message
    assert "parameter model_pth: is not one; did you mean model_path?" in message
    assert "override: trainer.total_epochs is 'x', but must be a whole number" in message
    assert "environment TOTAL_BATCH_SIZE: data.train_batch_size is 0, but must be at least 1" in message
    assert "override: model.lora_rank is -8, but must be 0 or more" in message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("optim.learning_rate", "optim.lr"),
        ("data.seed", "trainer.seed"),
        ("train_batch_size", "data.train_batch_size"),
        ("data.max_len", "data.max_length"),
        ("ulysses_sequence_parallel", "ulysses_sequence_parallel_size"),
        ("model.fsdp_config.dtype", "model.fsdp_config.model_dtype"),
        ("+optim.lr", "optim.lr"),
        ("data.micro_batch_size_per_gpus", "data.micro_batch_size_per_gpu"),
        # the overview's trainer.yaml, and NeMo RL's
        ("model.name", "model.partial_pretrain"),
        ("training.approach", "recipe"),
        ("training.num_epochs", "trainer.total_epochs"),
        ("output.save_dir", "trainer.default_local_dir"),
        ("output.log_wandb", "trainer.logger"),
        ("data.train_data_path", "data.train_files"),
        ("data.val_data_path", "data.val_files"),
        ("data.chat_key", "data.multiturn.messages_key"),
        ("policy.model_name", "model.partial_pretrain"),
        ("policy.max_total_sequence_length", "data.max_length"),
        ("policy.train_micro_batch_size", "data.micro_batch_size"),
        ("sft.max_num_epochs", "trainer.total_epochs"),
        ("sft.val_period", "trainer.test_freq"),
        ("checkpointing.enabled", "trainer.save_freq"),
        ("checkpointing.checkpoint_dir", "trainer.default_local_dir"),
        ("checkpointing.metric_name", "trainer.best_metric"),
        ("logger.wandb_enabled", "trainer.logger"),
        ("logger.wandb.project", "trainer.project_name"),
        ("logger.wandb.name", "trainer.experiment_name"),
    ],
)
def test_an_unknown_key_names_the_nearest(wrong, right):
    assert f"{wrong} is not a key; did you mean {right}?" in problems(f"{wrong}=1")


def test_a_key_near_nothing_names_the_reference():
    assert problems("zzz.qqq=1").endswith("zzz.qqq is not a key; docs/reference/config.md lists them all")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.n_gpus_per_node=8", "belongs to the launcher: N_GPUS_PER_NODE=8 before its name"),
        ("trainer.nnodes=2", "belongs to the launcher: NNODES=4 NODE_RANK=0 MASTER_ADDR=... before its name"),
        ("cluster.gpus_per_node=8", "belongs to the launcher: N_GPUS_PER_NODE=8 before its name"),
        ("cluster.num_nodes=2", "belongs to the launcher: NNODES=4"),
        ("trainer.val_only=true", "notebooks/40_evaluate.ipynb measures a model"),
        ("data.image_key=images", "only text can be learned here"),
        ("data.custom_cls.path=a.py", "is --loader of scripts/prepare_sft_data.py"),
        ("optim.lr_warmup_steps=-2", "optim.warmup_steps is -2, but must be 0 or more"),
        (
            "algorithm.adv_estimator=grpo",
            "belongs to reinforcement learning: recipes under cookbook/generative take it",
        ),
        ("actor_rollout_ref.rollout.n=5", "belongs to reinforcement learning"),
        ("model=tiny", "model is a section; set a key in it, such as model.partial_pretrain"),
        ("data.multiturn.enable=false", "leave it true, and let scripts/prepare_sft_data.py"),
        ("optim.lr", "is not of the form key=value"),
        ("optim.betas=[0.9", "is not readable as a value"),
        ("optim.betas=[0.9]", "must be a list of 2 numbers"),
        ("optim.betas=[0.9,1.0]", "must be two numbers from 0 up to, not including, 1"),
        ("optim.lr=null", "optim.lr is None, but must be a number"),
        ("optim.lr=0", "optim.lr is 0.0, but must be above 0"),
        ("data.max_length=1.5", "data.max_length is 1.5, but must be a whole number"),
        ("data.truncation=middle", "must be one of right, left, error, turns, drop"),
        ("trainer.logger=console", "must be a list of console, jsonl, swanlab, tensorboard, wandb"),
        ("trainer.logger=[mlflow]", "must be a list of console, jsonl, swanlab, tensorboard, wandb"),
        ("trainer.logger=[console,console]", "must be a list without repetitions"),
        ("trainer.save_freq=0", "must be -1 (only at the end) or at least 1"),
        ("trainer.default_hdfs_dir=hdfs://a", "nothing copies to HDFS here; set null"),
        ("trainer.resume_from_path=/x", "has no effect while resume_mode is auto; set resume_mode=resume_path"),
        ("trainer.resume_mode=resume_path", "trainer.resume_from_path is null; set it to a step_... folder"),
        ("model.lora_alpha=32", "has no effect, because model.lora_rank is 0; remove it"),
        ("model.lora_save=adapter", "has no effect, because model.lora_rank is 0; remove it"),
        ("model.lora_save=both", "must be one of merged, adapter"),
        ("model.lora_alpha=0", "is 0, but must be at least 1"),
        ("optim.stable_ratio=0.5", "has no effect on the cosine schedule"),
        ("model.partial_pretrain=./no-such-folder", "which is no folder; name one, a hub name, or tiny"),
        ("ulysses_sequence_parallel_size=0", "must be at least 1"),
        ("data.val_files=${nowhere}", "must be text or a list of text or null"),
    ],
)
def test_refused_in_a_sentence(override, sentence):
    assert sentence in problems(override)


def test_keys_that_only_another_key_makes_ineffective():
    assert "constant schedule" in problems("optim.lr_scheduler=constant", "optim.min_lr_ratio=0.1")
    assert load("optim.lr_scheduler=wsd", "optim.stable_ratio=0.5").optim.stable_ratio == 0.5
    assert "without validation data" in problems("data.val_files=null", "trainer.early_stopping_patience=3")
    assert "in host memory already" in problems("trainer.device=cpu", "model.fsdp_config.cpu_offload=true")
    assert "its kernels need CUDA" in problems("trainer.device=cpu", "model.use_liger=true")


@pytest.mark.parametrize("targets", ["[]", "[q_proj,q_proj]", "[all-linear,q_proj]", "[q_proj,1]"])
def test_targets_of_lora_are_names(targets):
    sentence = "must be all-linear, a module's name such as q_proj, or a list of names, each once"
    assert sentence in problems("model.lora_rank=8", f"model.target_modules={targets}")
    assert load("model.lora_rank=8", "model.target_modules=[q_proj,v_proj]").model.target_modules == [
        "q_proj",
        "v_proj",
    ]


def test_lora_needs_peft(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "is 8, but peft is not installed; pip install peft, or set 0" in problems("model.lora_rank=8")


def test_warmup_of_the_later_layer_counts(tmp_path):
    steps = recipe_file(tmp_path, "optim: {warmup_steps: 10}\n")
    assert load(recipe=steps).optim.warmup_steps == 10
    assert load("optim.warmup_steps_ratio=0.5", recipe=steps).optim.warmup_steps is None
    assert load("optim.warmup_steps=10").optim.warmup_steps == 10  # over the recipe's ratio
    assert "keep one of the two" in problems("optim.warmup_steps=3", "optim.warmup_steps_ratio=0.1")


def test_relative_paths_start_where_they_were_written(tmp_path, monkeypatch):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "here" / "model").mkdir(parents=True)
    text = "data: {train_files: [./a.parquet, ~/b.parquet], val_files: /c.parquet}\n"
    recipe = recipe_file(tmp_path / "recipe", text)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/people/x")
    config = load("trainer.default_local_dir=out", recipe=recipe, environ={"MODEL_PATH": "model"})
    assert config.data.train_files == [str(tmp_path / "recipe/a.parquet"), "/people/x/b.parquet"]
    assert config.data.val_files == "/c.parquet"
    assert config.trainer.default_local_dir == str(tmp_path / "here/out")
    assert config.model.partial_pretrain == str(tmp_path / "here/model")
    assert load("model.partial_pretrain=Qwen/Qwen3-0.6B").model.partial_pretrain == "Qwen/Qwen3-0.6B"


def test_a_recipe_may_refer_to_its_own_keys(tmp_path):
    text = "trainer: {project_name: p, experiment_name: '${trainer.project_name}-1'}\n"
    assert load(recipe=recipe_file(tmp_path, text)).trainer.experiment_name == "p-1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("optim: [1\n", "is not readable as YAML"),
        ("- 1\n", "holds a list at its top"),
        ("optim:\n  lr: 1\n  lr: 2\n", "is not readable as YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, sentence):
    recipe = recipe_file(tmp_path, text)
    message = problems(recipe=recipe)
    assert str(recipe) in message
    assert sentence in message


def test_an_unknown_recipe_names_those_that_exist():
    message = problems(recipe="stf")
    assert message.startswith("recipe 'stf' is neither a folder with a trainer.yaml nor a YAML file")
    assert "sft" in message


def test_a_name_is_the_cookbooks_and_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft").mkdir()
    recipe_file(tmp_path / "sft", "trainer: {seed: 99}\n")
    (tmp_path / "smoke").write_text("trainer: {seed: 98}\n")
    assert load(overlays="smoke").trainer.seed == 1
    assert load(recipe="./sft").trainer.seed == 99
    assert load(recipe="sft/trainer.yaml", overlays="./smoke").trainer.seed == 98


def test_a_saved_config_loads_back_to_the_same_values(tmp_path):
    config = load("optim.betas=[0.8,0.9]", "data.val_files=null", overlays="smoke")
    save_resolved(config, tmp_path / "run" / "config.yaml")
    again = load(recipe=tmp_path / "run" / "config.yaml")
    assert replace(again, origins={}) == replace(config, origins={})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_the_table_says_where_values_came_from():
    config = load("model.strategy=fsdp", overlays="smoke", environ={"MAX_LENGTH": "64"}, total_epochs=2)
    origin = {row["key"]: row["came from"] for row in config_table(config)}
    assert origin["data.max_length"] == "environment MAX_LENGTH"
    assert origin["trainer.total_epochs"] == "parameter total_epochs"
    assert origin["model.strategy"] == "override (fsdp, FSDP1, is being retired by torch and means fsdp2 here)"
    assert origin["model.partial_pretrain"].startswith("cookbook/smoke.yaml:")
    assert origin["optim.weight_decay"].startswith("cookbook/sft/trainer.yaml:")
    assert origin["trainer.seed"] == "default"
