"""What follows from other keys where nobody set it.

    use_remove_padding=false            ->  data.share_prompts=false
    algorithm.adv_estimator=dr_grpo     ->  algorithm.loss_agg_mode=seq-mean-token-sum-norm, norm_adv_by_std_in_grpo=false

Whoever sets such a key keeps what he set; whether the two contradict each other is then a matter of the rules.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cookbook_lib.config.policy_schema import COMPARE_WITHIN_GROUPS
from cookbook_lib.config.recipes import GENERATIVE, PAIRS
from cookbook_lib.config.schema import Config

# What the loss of an algorithm is made of, as its paper has it.
AGGREGATION = {"gspo": "seq-mean-token-mean", "dr_grpo": "seq-mean-token-sum-norm"}


def settle(config: Config) -> Config:
    """The config with what follows; the origin of such a value says from what."""
    for key, value, reason in _following(config):
        if config.origins.get(key, "default") == "default":
            config = _with(config, key, value, f"follows from {reason}")
    return config


def _following(config: Config) -> Iterator[tuple[str, Any, str]]:
    """(key, value, from what)"""
    if config.recipe in PAIRS and not config.use_remove_padding:
        yield "data.share_prompts", False, "use_remove_padding=false"
    if config.recipe in GENERATIVE:
        yield from _of_algorithm(config)


def _of_algorithm(config: Config) -> Iterator[tuple[str, Any, str]]:
    estimator, loss = config.algorithm.adv_estimator, config.algorithm.policy_loss
    if loss in AGGREGATION:
        yield "algorithm.loss_agg_mode", AGGREGATION[loss], f"algorithm.policy_loss={loss}"
    elif estimator in AGGREGATION:
        yield "algorithm.loss_agg_mode", AGGREGATION[estimator], f"algorithm.adv_estimator={estimator}"
    if estimator == "dr_grpo":
        yield "algorithm.norm_adv_by_std_in_grpo", False, "algorithm.adv_estimator=dr_grpo"
    if estimator not in COMPARE_WITHIN_GROUPS:
        yield "algorithm.filter_groups", False, f"algorithm.adv_estimator={estimator}"


def _with(config: Config, key: str, value: Any, origin: str) -> Config:
    section, name = key.split(".")
    changed: dict[str, Any] = {section: replace(getattr(config, section), **{name: value})}
    return replace(config, origins=config.origins | {key: origin}, **changed)
