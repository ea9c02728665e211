"""What the keys of reinforcement learning and of DPO may not say together.

    adv_estimator=grpo, rollout.n=1                a completion alone has nobody to be measured against
    kl_loss_coef=0.01, use_kl_loss=false           a weight of nothing
    adv_estimator=dr_grpo, loss_agg_mode=token-mean   what dr_grpo is there to undo

Like `rules.py`: each rule is one small function from the config to sentences, and all are asked.
"""

import importlib.util
import os
from collections.abc import Iterator

from cookbook_lib.config.follows import AGGREGATION
from cookbook_lib.config.policy_schema import COMPARE_WITHIN_GROUPS
from cookbook_lib.config.recipes import GENERATIVE
from cookbook_lib.config.rules import changed
from cookbook_lib.config.schema import Config

Broken = Iterator[tuple[str, str]]

OF_SCORES = ("exact", "distance", "exponential")
OF_PREFERENCES = ("correct", "swap_consistent")
OF_ANSWERS = ("gsm8k", "exact_match", "tool_call", "char_count")
CLIPS = tuple(f"algorithm.{name}" for name in ("clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "cliprange_value"))


def check_policy(config: Config) -> Broken:
    """Every broken rule as (key, what is wrong with it)."""
    if config.recipe == "dpo":
        yield from _smoothing(config)
    if config.recipe in GENERATIVE:
        for rule in (*_ALGORITHM, *_ROLLOUT, *_REWARD):
            yield from rule(config)


def policy_notes(config: Config) -> Iterator[str]:
    """What may be set, since verl's scripts carry it along, though it has no effect here.

    The recipe's own clip is not noted: it is there for the recipe's own number of updates, which a rehearsal lowers.
    """
    keys = [key for key in changed(config, *CLIPS) if not _from_recipe(config, key)]
    if config.recipe in GENERATIVE and config.rollout.updates == 1 and keys:
        reason = "rollout.updates=1: a round is learned from by the weights that answered it"
        yield f"{reason}, and no clip is reached ({', '.join(keys)})"


def _from_recipe(config: Config, key: str) -> bool:
    """It stands in the recipe's own file, which alone says what recipe it is."""
    file = config.origins.get("recipe", "default").rpartition(":")[0]
    return bool(file) and config.origins.get(key, "default").startswith(f"{file}:")


def _smoothing(config: Config) -> Broken:
    if config.dpo.loss != "sigmoid":
        for key in changed(config, "dpo.label_smoothing"):
            yield key, f"has no effect on the {config.dpo.loss} loss; remove it, or set dpo.loss=sigmoid"


def _group(config: Config) -> Broken:
    estimator = config.algorithm.adv_estimator
    if estimator in COMPARE_WITHIN_GROUPS and config.rollout.n == 1:
        reason = f"{estimator} measures a completion against the others of its prompt"
        yield "rollout.n", f"is 1, but {reason}; set at least 2, or algorithm.adv_estimator=reinforce_plus_plus"


def _distance(config: Config) -> Broken:
    a = config.algorithm
    if a.use_kl_loss and a.use_kl_in_reward:
        yield (
            "algorithm.use_kl_in_reward",
            "is true, and algorithm.use_kl_loss too; the distance counts once, keep one of the two",
        )
    if not a.use_kl_loss:
        for key in changed(config, "algorithm.kl_loss_coef", "algorithm.kl_loss_type"):
            yield key, "has no effect while algorithm.use_kl_loss is false; set it true, or remove this"
    if not a.use_kl_in_reward:
        for key in changed(config, "algorithm.kl_coef"):
            yield key, "has no effect while algorithm.use_kl_in_reward is false; set it true, or remove this"


def _critic(config: Config) -> Broken:
    estimator = config.algorithm.adv_estimator
    ineffective = [] if estimator == "gae" else ["lam", "cliprange_value", "vf_coef"]
    ineffective += [] if estimator in ("gae", "reinforce_plus_plus") else ["gamma"]
    for key in changed(config, *(f"algorithm.{name}" for name in ineffective)):
        fix = "remove it, or set algorithm.adv_estimator=gae"
        yield key, f"has no effect with algorithm.adv_estimator={estimator}, which has no critic; {fix}"


def _deviation(config: Config) -> Broken:
    key, a = "algorithm.norm_adv_by_std_in_grpo", config.algorithm
    if a.adv_estimator == "dr_grpo" and a.norm_adv_by_std_in_grpo:
        yield key, "is true, but dr_grpo is grpo without it; remove it, or set algorithm.adv_estimator=grpo"
    elif a.adv_estimator not in ("grpo", "dr_grpo") and any(changed(config, key)):
        yield key, f"has no effect with algorithm.adv_estimator={a.adv_estimator}; remove it"


def _aggregation(config: Config) -> Broken:
    a = config.algorithm
    for name, value in (("policy_loss", a.policy_loss), ("adv_estimator", a.adv_estimator)):
        mode = AGGREGATION.get(value)
        if mode and a.loss_agg_mode != mode:
            found = f"is {a.loss_agg_mode}, but algorithm.{name}={value} is defined with {mode}"
            yield "algorithm.loss_agg_mode", f"{found}; leave it out, or choose another {name}"


def _clip(config: Config) -> Broken:
    a = config.algorithm
    if a.policy_loss != "vanilla":
        for key in changed(config, "algorithm.clip_ratio_c"):
            yield key, f"has no effect on the {a.policy_loss} loss; remove it, or set algorithm.policy_loss=vanilla"


def _filter(config: Config) -> Broken:
    a = config.algorithm
    if a.filter_groups and a.adv_estimator not in COMPARE_WITHIN_GROUPS:
        reason = f"{a.adv_estimator} learns from a group whose completions all earned the same"
        yield "algorithm.filter_groups", f"is true, but {reason}; remove it"
    if not a.filter_groups:
        for key in changed(config, "algorithm.max_num_gen_batches"):
            yield key, "has no effect while algorithm.filter_groups is false; set it true, or remove this"


def _lengths(config: Config) -> Broken:
    longest, answer = config.data.max_length, config.rollout.max_new_tokens
    if answer >= longest:
        fix = "it counts a prompt with its completion; raise it, or lower rollout.max_new_tokens"
        yield "data.max_length", f"is {longest}, of which rollout.max_new_tokens={answer} leave no prompt; {fix}"


def _updates(config: Config) -> Broken:
    updates, prompts = config.rollout.updates, config.data.train_batch_size
    if prompts % updates:
        fix = "choose a divisor, so that every optimizer step of a round has as many"
        yield "rollout.updates", f"is {updates}, which does not divide data.train_batch_size={prompts} prompts; {fix}"


def _validation(config: Config) -> Broken:
    r = config.rollout
    if not config.data.val_files:
        for key in changed(config, "rollout.val_n", "rollout.val_temperature"):
            yield key, "has no effect without validation data; set data.val_files, or remove it"
    elif r.val_n > 1 and r.val_temperature == 0:
        fix = "set rollout.val_temperature above 0, or val_n=1"
        yield "rollout.val_n", f"is {r.val_n}, but greedy completions of one prompt are all the same; {fix}"


def _engine(config: Config) -> Broken:
    key, engine = "rollout.engine", config.rollout.engine
    memory, other = ("max_batch_tokens", "own") if engine == "vllm" else ("gpu_memory_utilization", "vllm")
    for ineffective in changed(config, f"rollout.{memory}"):
        yield ineffective, f"has no effect while {key} is {engine}; remove it, or set {key}={other}"
    if engine != "vllm":
        return
    if config.trainer.device == "cpu":
        yield key, "is vllm, which needs CUDA, and trainer.device is cpu; change one of the two"
    elif importlib.util.find_spec("vllm") is None:
        yield key, "is vllm, but vllm is not installed; pip install vllm, or set own"


def _functions(config: Config) -> Broken:
    names, weights = config.reward.functions, config.reward.weights
    if not names or len(set(names)) != len(names):
        yield "reward.functions", f"is {names}, but must be at least one name, and each once"
    if weights and len(weights) != len(names):
        found = f"has {len(weights)} numbers, and reward.functions {len(names)} names ({', '.join(names)})"
        yield "reward.weights", f"{found}; give each function its own, or none at all for 1 each"
    other = OF_PREFERENCES if config.recipe == "generative_pointwise" else OF_SCORES
    for name in sorted(set(names) & set(other)):
        what = "two answers" if name in OF_PREFERENCES else "a score"
        yield "reward.functions", f"names {name}, which judges verdicts on {what}; {config.recipe} has none"


def _custom(config: Config) -> Broken:
    custom, listed = config.reward.custom, "custom" in config.reward.functions
    if custom is None and listed:
        yield "reward.functions", "names custom, but reward.custom is null; set it to FILE.py:FUNCTION"
    elif custom is not None and not listed:
        yield "reward.custom", "has no effect, because custom is not among reward.functions; add it there"
    elif custom is not None:
        file, _, name = custom.rpartition(":")
        if not file.endswith(".py") or not name.isidentifier():
            yield "reward.custom", f"is {custom}, but must be a file and a function in it: FILE.py:FUNCTION"
        elif not os.path.isfile(file):
            yield "reward.custom", f"is {custom}, but there is no file {file}; correct the path"


def _combination(config: Config) -> Broken:
    key, r, estimator = "reward.combine", config.reward, config.algorithm.adv_estimator
    if r.combine != "normalise":
        return
    if len(r.functions) + (r.overlong_buffer > 0) < 2:
        yield key, "is normalise, which is between several rewards, and there is one; set sum"
    elif estimator == "remax":
        reason = "remax measures against one greedy answer, which has no group to be normalised in"
        yield key, f"is normalise, but {reason}; set sum, or another algorithm.adv_estimator"
    elif config.rollout.n == 1:
        yield key, "is normalise, but rollout.n=1 completion is no group to be normalised in; set sum, or at least n=2"
    elif estimator == "gae" and config.data.val_files and config.rollout.val_n == 1:
        reason = "the critic learns normalised rewards, and one answer (rollout.val_n=1) has none to be validated by"
        yield key, f"is normalise, but {reason}; set sum, or val_n of at least 2 with rollout.val_temperature above 0"


def _overlong(config: Config) -> Broken:
    buffer, longest = config.reward.overlong_buffer, config.rollout.max_new_tokens
    if buffer == 0:
        for key in changed(config, "reward.overlong_penalty"):
            yield key, "has no effect while reward.overlong_buffer is 0; set it, or remove this"
    if buffer > longest:
        yield "reward.overlong_buffer", f"is {buffer}, but must be at most rollout.max_new_tokens, which is {longest}"


def _scale(config: Config) -> Broken:
    """A custom function is told no scale, but evaluation reads by it."""
    j, answers = config.judge, [name for name in config.reward.functions if name in OF_ANSWERS]
    if answers:
        for key in changed(config, "judge.lowest", "judge.highest"):
            yield key, f"has no effect with {answers[0]} among reward.functions, which reads no score; remove it"
    elif config.recipe == "generative_pointwise" and j.lowest >= j.highest:
        yield "judge.highest", f"is {j.highest}, but must be above judge.lowest, which is {j.lowest}"


def _rubric(config: Config) -> Broken:
    j = config.judge
    if j.rubric is not None and os.path.isabs(j.rubric) and not os.path.isfile(j.rubric):
        yield "judge.rubric", f"is {j.rubric}, but there is no such file; correct the path, or name a built-in one"


_ALGORITHM = (_group, _distance, _critic, _deviation, _aggregation, _clip, _filter)
_ROLLOUT = (_lengths, _updates, _validation, _engine)
_REWARD = (_functions, _custom, _combination, _overlong, _scale, _rubric)
