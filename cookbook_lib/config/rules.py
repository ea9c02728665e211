"""What a config may not say: values out of range, keys without effect, keys that contradict each other.

A rule is one line of a table or one small function from the config to sentences; `check` asks them all, so that a
person sees every problem at once. What depends on the recipe is in `recipe_rules.py`, what reinforcement learning and
DPO add in `policy_rules.py`. What depends on the machine or the data (does sp divide the ranks, do the batches divide)
is asked where that is known: `parallel/mesh.py` and `training/plan.py`.
"""

import importlib.util
import math
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any

from cookbook_lib.config.keys import catalogue
from cookbook_lib.config.schema import Config

# key -> (what is allowed, in words; the test)
RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model.partial_pretrain": ("a folder, a hub name, or tiny", bool),
    "model.lora_rank": ("0 or more", lambda v: v >= 0),
    "model.lora_alpha": ("at least 1", lambda v: v >= 1),
    "model.fsdp_config.fsdp_size": ("-1 (all ranks) or at least 1", lambda v: v == -1 or v >= 1),
    "data.train_files": ("at least one file", bool),
    "data.train_batch_size": ("at least 1", lambda v: v >= 1),
    "data.micro_batch_size": ("at least 1", lambda v: v >= 1),
    "data.max_length": ("at least 2 tokens", lambda v: v >= 2),
    "data.train_max_samples": ("-1 (all) or at least 1", lambda v: v == -1 or v >= 1),
    "data.val_max_samples": ("-1 (all) or at least 1", lambda v: v == -1 or v >= 1),
    "data.num_workers": ("0 (one per core) or more", lambda v: v >= 0),
    "optim.lr": ("above 0", lambda v: v > 0),
    "optim.betas": ("two numbers from 0 up to, not including, 1", lambda v: all(0 <= b < 1 for b in v)),
    "optim.eps": ("above 0", lambda v: v > 0),
    "optim.weight_decay": ("0 or more", lambda v: v >= 0),
    "optim.clip_grad": ("above 0", lambda v: v > 0),
    "optim.warmup_steps_ratio": ("a share from 0 to 1", lambda v: 0 <= v <= 1),
    "optim.warmup_steps": ("0 or more", lambda v: v is None or v >= 0),
    "optim.min_lr_ratio": ("a share from 0 to 1", lambda v: 0 <= v <= 1),
    "optim.stable_ratio": ("a share from 0 to 1", lambda v: 0 <= v <= 1),
    "trainer.logger": ("a list without repetitions", lambda v: len(set(v)) == len(v)),
    "trainer.final_name": ("a folder's name without a slash", lambda v: bool(v) and "/" not in v),
    "trainer.log_freq": ("at least 1", lambda v: v >= 1),
    "trainer.total_epochs": ("at least 1", lambda v: v >= 1),
    "trainer.total_training_steps": ("at least 1", lambda v: v is None or v >= 1),
    "trainer.save_freq": ("-1 (only at the end) or at least 1", lambda v: v == -1 or v >= 1),
    "trainer.test_freq": ("-1 (only at the end) or at least 1", lambda v: v == -1 or v >= 1),
    "trainer.seed": ("0 or more", lambda v: v >= 0),
    "trainer.max_ckpt_to_keep": ("at least 1", lambda v: v is None or v >= 1),
    "trainer.early_stopping_patience": ("at least 1", lambda v: v is None or v >= 1),
    "trainer.max_nonfinite_steps": ("at least 1", lambda v: v >= 1),
    "bradley_terry.margin_scale": ("above 0, and finite", lambda v: 0 < v < math.inf),
    "bradley_terry.label_smoothing": ("from 0 up to, not including, 0.5", lambda v: 0 <= v < 0.5),
    "bradley_terry.center_coefficient": ("0 or more, and finite", lambda v: 0 <= v < math.inf),
    "pointwise.huber_delta": ("above 0, and finite", lambda v: 0 < v < math.inf),
    "algorithm.clip_ratio_low": ("above 0 and at most 1", lambda v: 0 < v <= 1),
    "algorithm.clip_ratio_high": ("above 0, and finite", lambda v: 0 < v < math.inf),
    "algorithm.clip_ratio_c": ("above 1, and finite", lambda v: v is None or 1 < v < math.inf),
    "algorithm.kl_loss_coef": ("0 or more, and finite", lambda v: 0 <= v < math.inf),
    "algorithm.kl_coef": ("0 or more, and finite", lambda v: 0 <= v < math.inf),
    "algorithm.entropy_coeff": ("0 or more, and finite", lambda v: 0 <= v < math.inf),
    "algorithm.gamma": ("above 0 and at most 1", lambda v: 0 < v <= 1),
    "algorithm.lam": ("from 0 to 1", lambda v: 0 <= v <= 1),
    "algorithm.cliprange_value": ("above 0", lambda v: v > 0),
    "algorithm.vf_coef": ("above 0 (without it the critic learns nothing), and finite", lambda v: 0 < v < math.inf),
    "algorithm.max_num_gen_batches": ("at least 1", lambda v: v >= 1),
    "algorithm.tis_cap": ("at least 1, and finite", lambda v: v is None or 1 <= v < math.inf),
    "rollout.n": ("at least 1", lambda v: v >= 1),
    "rollout.temperature": ("above 0 (a greedy group is one answer n times), and finite", lambda v: 0 < v < math.inf),
    "rollout.top_p": ("above 0 and at most 1", lambda v: 0 < v <= 1),
    "rollout.top_k": ("-1 (all) or at least 2 (a greedy group is one answer n times)", lambda v: v == -1 or v >= 2),
    "rollout.max_new_tokens": ("at least 1", lambda v: v >= 1),
    "rollout.max_batch_tokens": ("at least 1", lambda v: v >= 1),
    "rollout.gpu_memory_utilization": ("a share above 0 and below 1", lambda v: 0 < v < 1),
    "rollout.updates": ("at least 1", lambda v: v >= 1),
    "rollout.val_n": ("at least 1", lambda v: v >= 1),
    "rollout.val_temperature": ("0 (greedy) or more, and finite", lambda v: 0 <= v < math.inf),
    "reward.weights": ("numbers above 0, and finite", lambda v: all(0 < w < math.inf for w in v)),
    "reward.overlong_buffer": ("0 (off) or more", lambda v: v >= 0),
    "reward.overlong_penalty": ("above 0, and finite", lambda v: 0 < v < math.inf),
    "dpo.beta": ("above 0, and finite", lambda v: 0 < v < math.inf),
    "dpo.label_smoothing": ("from 0 up to, not including, 0.5", lambda v: 0 <= v < 0.5),
    "ulysses_sequence_parallel_size": ("at least 1", lambda v: v >= 1),
}


def check(config: Config) -> Iterator[tuple[str, str]]:
    """Every broken rule as (key, what is wrong with it)."""
    for rule in (_ranges, _model_folder, _lora, _liger, _offload, _multiturn, _schedule, _resume, _validation, _hdfs):
        yield from rule(config)


def value_of(config: Config, key: str) -> Any:
    """The value at a dotted name."""
    return operator.attrgetter(key)(config)


def changed(config: Config, *keys: str) -> Iterator[str]:
    """Of these keys, the ones that say something else than the recipe's default."""
    return (key for key in keys if value_of(config, key) != catalogue()[key].default_in(config.recipe))


def _ranges(config: Config) -> Iterator[tuple[str, str]]:
    for key, (allowed, holds) in RANGES.items():
        if not holds(value := value_of(config, key)):
            yield key, f"is {value!r}, but must be {allowed}"


def _model_folder(config: Config) -> Iterator[tuple[str, str]]:
    model = config.model.partial_pretrain
    if os.path.isabs(model) and not os.path.isdir(model):
        yield "model.partial_pretrain", f"is {model}, which is no folder; name one, a hub name, or tiny"


def _lora(config: Config) -> Iterator[tuple[str, str]]:
    rank = config.model.lora_rank
    if rank == 0:
        for key in changed(config, "model.lora_alpha", "model.target_modules", "model.lora_save"):
            yield key, "has no effect, because model.lora_rank is 0; remove it"
        return
    if importlib.util.find_spec("peft") is None:
        yield (
            "model.lora_rank",
            f"is {rank}, but peft is not installed; pip install peft, or set 0 to train all weights",
        )
    if not _names_modules(targets := config.model.target_modules):
        rule = "all-linear, a module's name such as q_proj, or a list of names, each once"
        yield "model.target_modules", f"is {targets!r}, but must be {rule}"


def _names_modules(targets: Any) -> bool:
    names = targets if isinstance(targets, list) else [targets]
    if not names or not all(isinstance(name, str) and name for name in names):
        return False
    return not isinstance(targets, list) or (len(set(names)) == len(names) and "all-linear" not in names)


def _liger(config: Config) -> Iterator[tuple[str, str]]:
    if not config.model.use_liger:
        return
    if config.trainer.device == "cpu":
        yield "model.use_liger", "is true, but its kernels need CUDA and trainer.device is cpu; change one of the two"
    elif importlib.util.find_spec("liger_kernel") is None:
        yield "model.use_liger", "is true, but liger-kernel is not installed; pip install liger-kernel, or set false"


def _offload(config: Config) -> Iterator[tuple[str, str]]:
    if config.trainer.device == "cpu":
        names = ("cpu_offload", "param_offload", "optimizer_offload")
        for key in changed(config, *(f"model.fsdp_config.{name}" for name in names)):
            yield key, "has no effect with trainer.device=cpu, where all is in host memory already; remove it"


def _multiturn(config: Config) -> Iterator[tuple[str, str]]:
    if config.recipe == "sft" and not config.data.multiturn.enable:
        fix = "leave it true, and let scripts/prepare_sft_data.py turn a prompt and its response into two messages"
        yield "data.multiturn.enable", f"is false, but every row is read as a conversation; {fix}"


def _schedule(config: Config) -> Iterator[tuple[str, str]]:
    kind = config.optim.lr_scheduler
    ineffective = [] if kind == "wsd" else ["optim.stable_ratio"]
    ineffective += ["optim.min_lr_ratio"] if kind == "constant" else []
    for key in changed(config, *ineffective):
        yield key, f"has no effect on the {kind} schedule; remove it, or set another optim.lr_scheduler"


def _resume(config: Config) -> Iterator[tuple[str, str]]:
    mode, path = config.trainer.resume_mode, config.trainer.resume_from_path
    if path is not None and mode != "resume_path":
        yield "trainer.resume_from_path", f"has no effect while resume_mode is {mode}; set resume_mode=resume_path"
    if path is None and mode == "resume_path":
        yield "trainer.resume_mode", "is resume_path, but trainer.resume_from_path is null; set it to a step_... folder"


def _validation(config: Config) -> Iterator[tuple[str, str]]:
    if not config.data.val_files:
        for key in changed(config, "trainer.early_stopping_patience", "data.val_max_samples"):
            yield key, "has no effect without validation data; set data.val_files, or remove it"


def _hdfs(config: Config) -> Iterator[tuple[str, str]]:
    if (value := config.trainer.default_hdfs_dir) is not None:
        yield "trainer.default_hdfs_dir", f"is {value!r}, but nothing copies to HDFS here; set null"
