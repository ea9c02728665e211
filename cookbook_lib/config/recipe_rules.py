"""What one recipe refuses and another takes: keys it does not read, and values that mean nothing to it.

    data.train_on=all          sft: fine            bradley_terry: "has no effect in recipe bradley_terry; remove it"
    data.truncation=right      sft: fine            bradley_terry: an answer that is cut has another score

Like `rules.py`: each rule is one small function from the config to sentences, and all are asked.
"""

from collections import Counter
from collections.abc import Iterator

from cookbook_lib.config.keys import catalogue
from cookbook_lib.config.recipes import GENERATIVE, PAIRS
from cookbook_lib.config.rules import changed
from cookbook_lib.config.schema import Config

Broken = Iterator[tuple[str, str]]

# What a reward model may do with a conversation longer than data.max_length.
TRUNCATIONS = ("turns", "drop", "error")

# Keys that one would expect to have an effect, and why they have none: (recipe, key) -> the reason.
REASONS: dict[tuple[str, str], str] = {
    ("sft", "data.prompt_key"): "a prompt and its response are a conversation of two messages there",
    ("sft", "data.response_key"): "a prompt and its response are a conversation of two messages there",
    **{
        (recipe, key): reason
        for recipe in GENERATIVE
        for key, reason in {
            "data.truncation": "a prompt that is too long is left out and counted, never cut",
            "data.prompt_key": "its files are in one of the layouts that data/judge/files.py knows",
            "data.share_prompts": "the completions of a prompt always share it where rows are packed",
        }.items()
    },
    **{("generative_pairwise", f"judge.{end}"): "its verdicts are no scores" for end in ("lowest", "highest")},
}
REINFORCEMENT = "it belongs to reinforcement learning: recipes under cookbook/generative take it"


def check_recipe(config: Config) -> Broken:
    """Every broken rule as (key, what is wrong with it)."""
    for rule in (_unread, _truncation, _best_metric, _pair_in_a_forward, _sharing, _columns, _margin, _scale):
        yield from rule(config)


def _is_set(config: Config, key: str) -> bool:
    return config.origins.get(key, "default") != "default"


def _reads(config: Config, key: str) -> bool:
    return config.recipe in catalogue()[key].recipes


def _unread(config: Config) -> Broken:
    """A key that was set, be it to its default, and that nothing in this recipe looks at."""
    for key in catalogue().values():
        if _is_set(config, key.name) and config.recipe not in key.recipes:
            learning = REINFORCEMENT if key.recipes == GENERATIVE else None
            reason = REASONS.get((config.recipe, key.name), learning)
            other = "" if _is_set(config, "recipe") else f", or write recipe: {key.recipes[0]} into the trainer.yaml"
            yield (
                key.name,
                f"has no effect in recipe {config.recipe}{f' ({reason})' if reason else ''}; remove it{other}",
            )


def _truncation(config: Config) -> Broken:
    reads = _reads(config, "data.truncation") and config.recipe != "sft"
    if reads and (value := config.data.truncation) not in TRUNCATIONS:
        rule = f"must be one of {', '.join(TRUNCATIONS)} in recipe {config.recipe}, which never cuts an answer"
        yield "data.truncation", f"is {value}, but {rule}"


def _best_metric(config: Config) -> Broken:
    metric, key = config.trainer.best_metric, "trainer.best_metric"
    if metric == "val/accuracy" and config.recipe not in PAIRS:
        fix = "set val/reward" if config.recipe in GENERATIVE else "set val/loss"
        yield key, f"is val/accuracy, but only {' and '.join(PAIRS)} have an accuracy; {fix}"
    elif metric == "val/reward" and config.recipe not in GENERATIVE:
        yield key, f"is val/reward, but recipe {config.recipe} has none; set val/loss"
    elif metric == "val/loss" and config.recipe in GENERATIVE:
        yield key, "is val/loss, which says nothing about completions that the model makes itself; set val/reward"
    elif not config.data.val_files and any(changed(config, key)):
        fix = "set data.val_files, or trainer.best_metric=val/loss"
        yield key, f"is {metric}, but there is no validation data to measure it on; {fix}"


def _pair_in_a_forward(config: Config) -> Broken:
    if config.recipe in PAIRS and config.data.micro_batch_size == 1:
        reason = "both answers of a pair are computed in one forward, which takes up to 2 x max_length tokens"
        yield "data.micro_batch_size", f"is 1, but must be at least 2 in recipe {config.recipe}: {reason}"


def _sharing(config: Config) -> Broken:
    key = "data.share_prompts"
    if _reads(config, key) and _is_set(config, key) and config.data.share_prompts and not config.use_remove_padding:
        yield key, "is true, but use_remove_padding is false, and padded rows share nothing; change one of the two"


def _columns(config: Config) -> Broken:
    """Columns of a row that must differ: what is answered, each answer, each score."""
    data = config.data
    texts = {"data.prompt_key": data.prompt_key, "data.chosen_key": data.chosen_key}
    texts |= {"data.rejected_key": data.rejected_key, "data.response_key": data.response_key}
    names = {key: [name] for key, name in texts.items() if _reads(config, key)}
    if config.recipe == "pointwise":
        names["pointwise.attributes"] = config.pointwise.attributes
    seen: Counter[str] = Counter()
    for key, columns in names.items():
        seen.update(columns)
        if not columns or not all(columns):
            yield key, f"is {texts.get(key, columns)!r}, but must name a column"
        elif twice := [name for name in columns if seen[name] > 1]:
            yield key, f"names the column {twice[0]!r}, which is named already; each is read as one thing"


def _margin(config: Config) -> Broken:
    if not config.bradley_terry.use_margin:
        for key in changed(config, "bradley_terry.margin_scale") if config.recipe == "bradley_terry" else ():
            yield key, "has no effect while bradley_terry.use_margin is false; set it true, or remove margin_scale"


def _scale(config: Config) -> Broken:
    p = config.pointwise
    if config.recipe != "pointwise":
        return
    if p.lowest >= p.highest:
        yield "pointwise.highest", f"is {p.highest}, but must be above pointwise.lowest, which is {p.lowest}"
    if p.loss != "huber":
        for key in changed(config, "pointwise.huber_delta"):
            yield key, f"has no effect on the {p.loss} loss; remove it, or set pointwise.loss=huber"
