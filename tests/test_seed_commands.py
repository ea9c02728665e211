"""The commands and override lists that the seed documents print, typed into a real shell as they are printed."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cookbook_lib.config import Config, CookbookError, load_config
from cookbook_lib.config.places import HOME
from cookbook_lib.training.embedded import tiny_folder

VARIABLES = {
    "MODEL_PATH": "Qwen/Qwen3-0.6B",
    "TRAIN_FILE": "/d/train.parquet",
    "VAL_FILE": "/d/test.parquet",
    "SAVE_PATH": "/c",
}
PRINTED = """
data.train_files=$TRAIN_FILE data.val_files=$VAL_FILE data.train_batch_size=96 data.micro_batch_size=12
data.multiturn.enable=true data.multiturn.messages_key=messages data.multiturn.tools_key="null" data.truncation=right
data.max_length=8192 model.enable_gradient_checkpointing=true model.partial_pretrain=$MODEL_PATH model.trust_remote_code=true
model.strategy=fsdp2 model.use_liger=false model.fsdp_config.cpu_offload=false model.fsdp_config.model_dtype="bf16"
model.fsdp_config.param_offload=false model.fsdp_config.optimizer_offload=false
optim.lr=2e-5 optim.betas=[0.9,0.95] optim.weight_decay=0.1 optim.warmup_steps_ratio=0.03
trainer.default_local_dir=$SAVE_PATH trainer.project_name=rm-gallery-sft trainer.experiment_name=sft-x
trainer.logger=['console','swanlab'] trainer.total_epochs=1 trainer.save_freq=500 trainer.test_freq=500
trainer.default_hdfs_dir=null ulysses_sequence_parallel_size=8 use_remove_padding=true
"""
BROUGHT_ALONG = """
data.micro_batch_size_per_gpu=4 data.train_max_samples=100 data.val_max_samples=10 optim.clip_grad=0.5 optim.lr_scheduler=cosine
optim.lr_warmup_steps_ratio=0.1 trainer.total_training_steps=10 trainer.seed=7 trainer.resume_mode=resume_path
trainer.resume_from_path=/c/step_00000500 trainer.max_ckpt_to_keep=3
model.lora_rank=0 model.lora_alpha=16 model.target_modules=all-linear
"""
TRAINER_YAML = """
model:
  partial_pretrain: Qwen/Qwen2.5-7B-Instruct
  trust_remote_code: true
  enable_gradient_checkpointing: true
  strategy: fsdp  # or fsdp2
  use_liger: false  # Liger kernel optimization
  fsdp_config:
    cpu_offload: false
    model_dtype: bf16
    param_offload: false
    optimizer_offload: false
data:
  train_files: ./data/train.parquet
  val_files: ./data/test.parquet
  train_batch_size: 96
  micro_batch_size: 12
  max_length: 8192
  truncation: right
  multiturn:
    enable: true
    messages_key: messages
    tools_key: null
optim:
  lr: 2e-5
  betas: [0.9, 0.95]
  weight_decay: 0.1
  warmup_steps_ratio: 0.03
trainer:
  total_epochs: 1
  save_freq: 500
  test_freq: 500
  logger: ['console', 'swanlab']
  project_name: rm-gallery-sft
  experiment_name: qwen-sft
  default_local_dir: ./checkpoints/sft
ulysses_sequence_parallel_size: 8  # Sequence parallelism
use_remove_padding: true  # Efficient attention
"""


def typed(line: str, folder: Path) -> list[str]:
    """The arguments that a program gets when a person types this line into a shell, in an empty folder."""
    folder.mkdir(exist_ok=True)
    command = "printf '%s\\0' " + line.strip().replace("\n", " ")
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=VARIABLES, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def load(line: str, folder: Path) -> Config:
    return load_config("sft", (), typed(line, folder), {})


def test_the_printed_overrides(tmp_path):
    config = load(PRINTED, tmp_path / "shell")
    assert config.data.train_files == "/d/train.parquet"
    assert config.data.multiturn.tools_key is None
    assert config.model.partial_pretrain == "Qwen/Qwen3-0.6B"
    assert config.model.trust_remote_code is True
    assert config.optim.lr == 2e-5
    assert config.optim.betas == (0.9, 0.95)
    assert config.trainer.logger == ["console", "swanlab"]
    assert config.trainer.default_hdfs_dir is None
    assert config.trainer.default_local_dir == "/c"
    assert config.ulysses_sequence_parallel_size == 8
    assert config.use_remove_padding is True


def test_names_that_verls_users_bring_along(tmp_path):
    config = load(BROUGHT_ALONG, tmp_path / "shell")
    assert config.data.micro_batch_size == 4
    assert (config.data.train_max_samples, config.data.val_max_samples) == (100, 10)
    assert config.optim.warmup_steps_ratio == 0.1
    assert config.trainer.total_training_steps == 10
    assert config.trainer.resume_from_path == "/c/step_00000500"
    assert config.trainer.max_ckpt_to_keep == 3


def test_the_printed_trainer_yaml(tmp_path):
    (tmp_path / "trainer.yaml").write_text(TRAINER_YAML)
    config = load_config(tmp_path, environ={})
    assert config.model.strategy == "fsdp2"
    assert "means fsdp2 here" in config.origins["model.strategy"]
    assert config.optim.lr == 2e-5
    assert config.trainer.default_local_dir == str(tmp_path / "checkpoints/sft")


def test_the_launcher_variables():
    environ = {
        "MODEL_PATH": "Qwen/Qwen3-0.6B", "TRAIN_FILE": "/d/a.parquet", "VAL_FILE": "/d/b.parquet", "TOTAL_BATCH_SIZE": "48",
        "MICRO_BATCH_SIZE": "6", "SP_SIZE": "2", "TOTAL_EPOCHS": "3", "MAX_LENGTH": "4096", "SAVE_PATH": "/c",
        "PROJECT_NAME": "p", "EXPERIMENT_NAME": "sft-1121T0139",
    }  # fmt: skip
    config = load_config("sft", environ=environ)
    assert (config.model.partial_pretrain, config.data.train_files) == ("Qwen/Qwen3-0.6B", "/d/a.parquet")
    assert (config.data.val_files, config.data.train_batch_size) == ("/d/b.parquet", 48)
    assert (config.data.micro_batch_size, config.ulysses_sequence_parallel_size) == (6, 2)
    assert (config.trainer.total_epochs, config.data.max_length) == (3, 4096)
    assert (config.trainer.default_local_dir, config.trainer.project_name) == ("/c", "p")
    assert config.trainer.experiment_name == "sft-1121T0139"


@pytest.mark.parametrize(
    "line",
    [
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.n=5",
        "actor_rollout_ref.actor.kl_loss_coef=0.001",
        "algorithm.norm_adv_by_std_in_grpo=true",
        "algorithm.use_kl_in_reward=false",
        "use_kl_loss=true",
        "loss_agg_mode=token-mean",
        "ppo_mini_batch_size=16",
    ],
)
def test_reinforcement_names_are_sent_where_they_belong(line, tmp_path):
    with pytest.raises(CookbookError, match="cookbook/generative"):
        load(line, tmp_path / "shell")


# What the documents' readers set for reinforcement learning: the deep dive's script, its tables of keys, and the judges' runs.
GRPO = """
algorithm.adv_estimator=grpo actor_rollout_ref.model.path=$MODEL_PATH actor_rollout_ref.rollout.n=5
actor_rollout_ref.actor.use_kl_loss=true actor_rollout_ref.actor.kl_loss_coef=0.001 algorithm.use_kl_in_reward=false
data.train_batch_size=1024 actor_rollout_ref.actor.ppo_mini_batch_size=256 actor_rollout_ref.actor.optim.lr=1e-6
algorithm.norm_adv_by_std_in_grpo=true
"""
DR_GRPO = """
algorithm.norm_adv_by_std_in_grpo=false actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm
actor_rollout_ref.actor.use_kl_loss=false
"""
PPO = """
algorithm.adv_estimator=gae actor_rollout_ref.model.path=$MODEL_PATH data.train_files=$TRAIN_FILE data.val_files=$VAL_FILE
data.train_batch_size=128 actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=16
actor_rollout_ref.actor.use_kl_loss=true actor_rollout_ref.actor.kl_loss_coef=0.1
"""
JUDGE = """
algorithm.adv_estimator=grpo data.train_files=$TRAIN_FILE data.val_files=$VAL_FILE data.train_batch_size=96
data.max_prompt_length=4096 data.max_response_length=2048 data.filter_overlong_prompts=True
actor_rollout_ref.model.path=$MODEL_PATH actor_rollout_ref.model.use_remove_padding=True
actor_rollout_ref.model.enable_gradient_checkpointing=True actor_rollout_ref.actor.optim.lr=1e-6
actor_rollout_ref.actor.ppo_mini_batch_size=24 actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1
actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.001
actor_rollout_ref.actor.kl_loss_type=low_var_kl actor_rollout_ref.actor.entropy_coeff=0 actor_rollout_ref.rollout.n=4
algorithm.use_kl_in_reward=False trainer.critic_warmup=0 trainer.logger=['console','swanlab'] trainer.val_before_train=False
trainer.project_name=p trainer.experiment_name=e trainer.save_freq=20 trainer.test_freq=10 trainer.total_epochs=1
"""


@pytest.mark.parametrize("recipe", ["generative/pointwise", "generative/pairwise"])
def test_the_printed_names_of_reinforcement_learning(recipe, tmp_path):
    config = load_config(recipe, (), typed(GRPO, tmp_path / "shell"), {})
    a = config.algorithm
    assert (a.adv_estimator, a.use_kl_loss, a.kl_loss_coef, a.norm_adv_by_std_in_grpo) == ("grpo", True, 0.001, True)
    assert (config.rollout.n, config.rollout.updates, config.optim.lr) == (5, 4, 1e-6)
    assert config.model.partial_pretrain == "Qwen/Qwen3-0.6B"

    a = load_config(recipe, (), typed(DR_GRPO, tmp_path / "shell"), {}).algorithm
    assert (a.norm_adv_by_std_in_grpo, a.loss_agg_mode, a.use_kl_loss) == (False, "seq-mean-token-sum-norm", False)

    config = load_config(recipe, (), typed(PPO, tmp_path / "shell"), {})
    assert (config.algorithm.adv_estimator, config.algorithm.filter_groups, config.rollout.updates) == ("gae", False, 8)

    config = load_config(recipe, (), typed(JUDGE, tmp_path / "shell"), {})
    assert (config.data.max_length, config.rollout.max_new_tokens, config.rollout.updates) == (6144, 2048, 4)
    assert (config.algorithm.kl_loss_type, config.data.micro_batch_size, config.trainer.val_at_start) == (
        "k3",
        1,
        False,
    )


@pytest.mark.parametrize("recipe", ["bradley_terry", "pointwise"])
def test_the_launcher_variables_of_the_reward_models(recipe):
    environ = {
        "MODEL_PATH": "Qwen/Qwen3-0.6B", "TRAIN_FILE": "/d/a.parquet", "VAL_FILE": "/d/b.parquet", "TOTAL_BATCH_SIZE": "48",
        "MICRO_BATCH_SIZE": "6", "SP_SIZE": "2", "TOTAL_EPOCHS": "3", "MAX_LENGTH": "4096", "SAVE_PATH": "/c",
        "PROJECT_NAME": "p", "EXPERIMENT_NAME": "bt-1121T0139",
    }  # fmt: skip
    config = load_config(recipe, environ=environ)
    assert (config.model.partial_pretrain, config.data.train_files) == ("Qwen/Qwen3-0.6B", "/d/a.parquet")
    assert (config.data.train_batch_size, config.data.max_length, config.trainer.total_epochs) == (48, 4096, 3)
    assert (config.trainer.default_local_dir, config.trainer.experiment_name) == ("/c", "bt-1121T0139")


# Of the printed list, what a reward recipe does not read: its rows are no conversations, and it never cuts an answer.
SFT_ALONE = ("data.multiturn.", "data.truncation=right")


@pytest.mark.parametrize("recipe", ["bradley_terry", "pointwise"])
def test_the_printed_overrides_of_every_launcher(recipe, tmp_path):
    words = typed(PRINTED, tmp_path / "shell")
    taken = [word for word in words if not word.startswith(SFT_ALONE)]
    config = load_config(recipe, (), taken, {})
    assert config.trainer.logger == ["console", "swanlab"]
    with pytest.raises(CookbookError) as error:
        load_config(recipe, (), words, {})
    refused = str(error.value).splitlines()[1:]
    assert len(refused) == len(words) - len(taken) == 4
    assert f"data.multiturn.tools_key has no effect in recipe {recipe}; remove it" in str(error.value)
    assert f"must be one of turns, drop, error in recipe {recipe}" in str(error.value)


@pytest.mark.parametrize(
    ("folder", "line", "recipe"),
    [
        ("sft", "bash sft_rm.sh", "sft"),
        ("bradley_terry", "MODEL_PATH=../sft/checkpoints/sft-final bash run_bt.sh", "bradley_terry"),
        ("pointwise", "MODEL_PATH=../sft/checkpoints/sft-final bash run_pointwise.sh", "pointwise"),
        (
            "generative/pointwise",
            "MODEL_PATH=../../sft/checkpoints/sft-final bash run_pointwise.sh",
            "generative/pointwise",
        ),
        (
            "generative/pairwise",
            "MODEL_PATH=../../sft/checkpoints/sft-final bash run_pairwise.sh",
            "generative/pairwise",
        ),
        ("dpo", "MODEL_PATH=../sft/checkpoints/sft-final bash run_dpo.sh", "dpo"),
    ],
)
def test_the_printed_launchers_after_sft(folder, line, recipe, tmp_path):
    """In a copy of cookbook/ with an SFT rehearsal's outcome in it, without a GPU: checked, and ready to run."""
    home = tmp_path / "home"
    shutil.copytree(HOME / "cookbook", home / "cookbook", ignore=shutil.ignore_patterns("checkpoints", "data"))
    for needed in ("scripts", "cookbook_lib/config", "notebooks"):
        shutil.copytree(HOME / needed, home / needed)
    shutil.copytree(tiny_folder(), home / "cookbook/sft/checkpoints/sft-final")
    origin = json.dumps({"base": str(tiny_folder())}, indent=2)
    (home / "cookbook/sft/checkpoints/sft-final/cookbook.json").write_text(origin)
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = ["bash", "-c", f"{line} --dry-run"]
    done = subprocess.run(command, cwd=home / "cookbook" / folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"=== {recipe} ===\n")
    assert "the embedded data is prepared first" in done.stdout


@pytest.mark.parametrize(
    ("recipe", "final"),
    [
        ("sft", "sft-final"),
        ("bradley_terry", "bt-final"),
        ("pointwise", "pointwise-final"),
        ("generative/pointwise", "judge-final"),
        ("generative/pairwise", "judge-final"),
    ],
)
def test_the_final_models_are_where_the_seeds_look_for_them(recipe, final):
    """MODEL_PATH=../sft/checkpoints/sft-final; --reward-model ./checkpoints/bt-final"""
    trainer = load_config(recipe, environ={}).trainer
    assert str(Path(trainer.default_local_dir, trainer.final_name)).endswith(f"/cookbook/{recipe}/checkpoints/{final}")


HELPSTEER2 = {"correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 1}


@pytest.mark.parametrize(
    ("also", "columns"),
    [("", {"prompt", "chosen", "rejected"}), (" --kind scores", {"prompt", "response", "score"})],
)
def test_the_printed_preparation_of_preferences(also, columns, tmp_path):
    """python scripts/prepare_reward_data.py --source helpsteer2 --output ./reward_data, from a local copy of the hub's file."""
    rows = [
        {"prompt": f"question {n // 2}", "response": f"answer {n}", "helpfulness": n % 2 * 3, **HELPSTEER2}
        for n in range(40)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = f"{HOME}/scripts/prepare_reward_data.py --source helpsteer2 --output ./reward_data"
    command = [sys.executable, *f"{printed} --input train.jsonl{also}".split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = [pd.read_parquet(tmp_path / f"reward_data/{name}.parquet") for name in ("train", "test")]
    assert [columns - set(table.columns) for table in tables] == [set(), set()]
    assert not set(tables[0]["prompt"]) & set(tables[1]["prompt"])
    assert sum(map(len, tables)) == (40 if also else 20)
    report = json.loads((tmp_path / "reward_data/report.json").read_text())
    assert report["rows_read"] == 40


def test_the_printed_evaluation_is_understood():
    main = runpy.run_path(str(HOME / "scripts/evaluate_pipeline.py"))
    printed = "--sft-model ../sft/checkpoints/sft-final --reward-model ./checkpoints/bt-final"
    given = main["parser"]().parse_args(printed.split())
    assert (given.sft_model, given.reward_model) == ("../sft/checkpoints/sft-final", "./checkpoints/bt-final")
