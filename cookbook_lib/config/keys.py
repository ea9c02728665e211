"""The catalogue of keys: every dotted name a recipe can set, read off the schema, and what to say about the others.

data.max_length  ->  Key("data.max_length", int, 8192, "Longest conversation, tokens; ...")
data.chosen_key  ->  Key(..., recipes=("bradley_terry",)): set in another recipe, it is refused (recipe_rules)
lr_warmup_steps_ratio  ->  an alias (verl's name for a key of ours)
actor_rollout_ref.*    ->  verl's names of reinforcement learning: verl_names.py
"""

import ast
import difflib
import inspect
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal

from cookbook_lib.config import schema
from cookbook_lib.config.recipes import Recipe

ALL_RECIPES: tuple[str, ...] = typing.get_args(Recipe)


@dataclass(frozen=True)
class Key:
    """One settable value: dotted name, annotation, default, the documentation line under its field, and its recipes."""

    name: str
    type: Any
    default: Any
    doc: str
    recipes: tuple[str, ...] = ALL_RECIPES  # that read it
    defaults: Mapping[str, Any] = field(default_factory=dict)  # by recipe, where they differ from `default`

    def default_in(self, recipe: str) -> Any:
        """What it is in a recipe when nobody sets it."""
        return self.defaults.get(recipe, self.default)

    @property
    def wants_text(self) -> bool:
        """Text is one of the types it takes."""
        return self.type in (str, Any) or str in typing.get_args(self.type)


# verl's names for keys of ours.
ALIASES = {
    "data.micro_batch_size_per_gpu": "data.micro_batch_size",
    "optim.lr_warmup_steps_ratio": "optim.warmup_steps_ratio",
    "optim.lr_warmup_steps": "optim.warmup_steps",
    "trainer.val_before_train": "trainer.val_at_start",
}

# What other trainers call a key of ours: not accepted, but understood well enough to answer. By the last part of the name, or in
# full where that part alone says too little.
ELSEWHERE = {
    "learning_rate": "optim.lr",
    "output_dir": "trainer.default_local_dir",
    "save_dir": "trainer.default_local_dir",
    "checkpoint_dir": "trainer.default_local_dir",
    "checkpointing.enabled": "trainer.save_freq",
    "model_name_or_path": "model.partial_pretrain",
    "model_name": "model.partial_pretrain",
    "model.name": "model.partial_pretrain",
    "num_train_epochs": "trainer.total_epochs",
    "max_num_epochs": "trainer.total_epochs",
    "num_epochs": "trainer.total_epochs",
    "epochs": "trainer.total_epochs",
    "training.approach": "recipe",
    "max_steps": "trainer.total_training_steps",
    "max_seq_length": "data.max_length",
    "max_total_sequence_length": "data.max_length",
    "max_grad_norm": "optim.clip_grad",
    "warmup_ratio": "optim.warmup_steps_ratio",
    "per_device_train_batch_size": "data.micro_batch_size",
    "train_micro_batch_size": "data.micro_batch_size",
    "train_data_path": "data.train_files",
    "val_data_path": "data.val_files",
    "chat_key": "data.multiturn.messages_key",
    "gradient_checkpointing": "model.enable_gradient_checkpointing",
    "sequence_parallel_size": "ulysses_sequence_parallel_size",
    "packing": "use_remove_padding",
    "val_period": "trainer.test_freq",
    "metric_name": "trainer.best_metric",
    "metric_for_best_model": "trainer.best_metric",
    "wandb_enabled": "trainer.logger",
    "log_wandb": "trainer.logger",
    "logger.wandb.name": "trainer.experiment_name",
    "center_rewards_coefficient": "bradley_terry.center_coefficient",
    "num_generations": "rollout.n",
    "max_completion_length": "rollout.max_new_tokens",
    "epsilon": "algorithm.clip_ratio_low",
    "epsilon_high": "algorithm.clip_ratio_high",
    "scale_rewards": "algorithm.norm_adv_by_std_in_grpo",
    "reward_weights": "reward.weights",
    "use_vllm": "rollout.engine",
    "vllm_importance_sampling_cap": "algorithm.tis_cap",
}

# Other spellings of values, with what is said about them where the value's origin is shown.
SYNONYMS: dict[tuple[str, str | int], tuple[str | None, str]] = {
    ("model.strategy", "fsdp"): ("fsdp2", "fsdp, FSDP1, is being retired by torch and means fsdp2 here"),
    ("model.fsdp_config.model_dtype", "bfloat16"): ("bf16", "bfloat16"),
    ("model.fsdp_config.model_dtype", "float32"): ("fp32", "float32"),
    ("trainer.export_dtype", "bfloat16"): ("bf16", "bfloat16"),
    ("trainer.export_dtype", "float32"): ("fp32", "float32"),
    ("algorithm.kl_loss_type", "kl"): ("k1", "kl"),
    ("algorithm.kl_loss_type", "mse"): ("k2", "mse"),
    ("algorithm.kl_loss_type", "low_var_kl"): ("k3", "low_var_kl"),
    ("algorithm.kl_loss_type", "kl+"): ("k1+", "kl+"),
    ("algorithm.kl_loss_type", "mse+"): ("k2+", "mse+"),
    ("algorithm.kl_loss_type", "low_var_kl+"): ("k3+", "low_var_kl+"),
    ("optim.warmup_steps", -1): (None, "-1, which leaves it to the ratio"),
    ("rollout.engine", "hf"): ("own", "hf"),
}

_RANKS = "belongs to the launcher: N_GPUS_PER_NODE=8 before its name"
_NODES = "belongs to the launcher: NNODES=4 NODE_RANK=0 MASTER_ADDR=... before its name"
_COLUMNS = "belongs to scripts/prepare_sft_data.py, which makes a question and its answer two messages"
_TEXT = "has no place: only text can be learned here"

# The beginning of a name that other trainers' readers bring along and that has no place here -> what to do instead; the first
# that fits counts.
TAUGHT = {
    "trainer.n_gpus_per_node": _RANKS,
    "trainer.nnodes": _NODES,
    "trainer.val_only": "has no place: notebooks/40_evaluate.ipynb measures a model without training it",
    "trainer.checkpoint.": "has no place: a checkpoint holds all that a run goes on from",
    "data.multiturn.enable_thinking_key": "is not needed: the chat template decides what becomes of reasoning_content",
    "data.apply_chat_template_kwargs": "is data.chat_template here, a .jinja file of your own; enable_thinking: rollout.thinking",
    "data.balance_dp_token": "is not needed: all tokens of a step count alike",
    "data.custom_cls.": "is --loader of scripts/prepare_sft_data.py and scripts/prepare_reward_data.py: a file of your own",
    "data.image_key": _TEXT,
    "data.video_key": _TEXT,
    "data.prompt_dict_keys": _COLUMNS,
    "data.response_dict_keys": _COLUMNS,
    "data.input_key": _COLUMNS,
    "data.output_key": _COLUMNS,
    "data.dataset_name": "is not needed: data.train_files names the file, whose format scripts/prepare_sft_data.py has settled",
    "data.use_preserving_dataset": "is not needed: the arguments of a tool call come back as they were written",
    "model.fsdp_config.wrap_policy.min_num_params": "is not needed: every decoder layer is one FSDP2 unit",
    "checkpointing.higher_is_better": "is not needed: it follows from trainer.best_metric",
    "cluster.gpus_per_node": _RANKS,
    "cluster.num_nodes": _NODES,
    "distributed.num_gpus": _RANKS,
}  # fmt: skip

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Any: "text or a list",
    types.NoneType: "null",
}


@cache
def catalogue() -> dict[str, Key]:
    """All keys by dotted name, in the schema's order."""
    return {key.name: key for key in _walk(schema.Config, "", ALL_RECIPES)}


@cache
def sections() -> frozenset[str]:
    """Names that hold keys and are none themselves: model, model.fsdp_config, data, ..."""
    names = (name.split(".") for name in catalogue())
    return frozenset(".".join(parts[:n]) for parts in names for n in range(1, len(parts)))


def _walk(cls: type, prefix: str, recipes: tuple[str, ...]) -> Iterator[Key]:
    hints, docs = typing.get_type_hints(cls), _field_docs(cls)
    for entry in fields(cls):
        if not entry.metadata.get("key", True):
            continue
        name, kind, readers = prefix + entry.name, hints[entry.name], entry.metadata.get("recipes", recipes)
        if is_dataclass(kind):
            yield from _walk(typing.cast(type, kind), name + ".", readers)
        else:
            default = entry.default if entry.default is not MISSING else typing.cast(Any, entry.default_factory)()
            yield Key(name, kind, default, docs.get(entry.name, ""), readers, entry.metadata.get("defaults", {}))


def _field_docs(cls: type) -> dict[str, str]:
    """Field name -> the string literal that stands under it."""
    body = typing.cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    return {
        typing.cast(ast.Name, above.target).id: " ".join(str(below.value.value).split())
        for above, below in itertools.pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def describe(kind: Any) -> str:
    """An annotation in words: `int | None` is "a whole number or null"."""
    if kind in WORDS:
        return WORDS[kind]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else str(args[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(arg) for arg in args)
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    return "a list of numbers" if args[0] is float else f"a list of {describe(args[0]).removeprefix('one of ')}"


def explain_unknown(name: str) -> str:
    """The sentence for a name that is no key: where it belongs, or the nearest name that is one."""
    if name in sections():
        inside = next(key for key in catalogue() if key.startswith(f"{name}."))
        return f"{name} is a section; set a key in it, such as {inside}"
    if taught := next((sentence for start, sentence in TAUGHT.items() if name.startswith(start)), None):
        return f"{name} {taught}"
    near = nearest(name)
    return f"{name} is not a key; " + (f"did you mean {near}?" if near else "docs/reference/config.md lists them all")


def nearest(name: str) -> str | None:
    """The key that was probably meant: its name elsewhere, in another section, or the closest spelling."""
    keys = [*catalogue(), *ALIASES]
    bare = name.lstrip("+~")
    last = bare.rsplit(".", 1)[-1]
    if found := ELSEWHERE.get(bare) or ELSEWHERE.get(last):
        return found
    same = [key for key in keys if key.rsplit(".", 1)[-1] == last]
    spelled = difflib.get_close_matches(name, same or keys, n=1, cutoff=0.0 if same else 0.75)
    if spelled:
        return spelled[0]
    parts = {key.rsplit(".", 1)[-1]: key for key in keys}
    close = difflib.get_close_matches(last, parts, n=1, cutoff=0.7)
    return parts[close[0]] if close else None
