"""verl's names of reinforcement learning, read as keys of ours (`verl_names.py` has the tables).

    override algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=5 ...ppo_mini_batch_size=24 data.train_batch_size=96
    ->       algorithm.adv_estimator=grpo rollout.n=5 rollout.updates=4                           data.train_batch_size=96

It happens once all layers are read: only then is it known which recipe it is, and what the other number of an arithmetic is.
In one layer, which has no order but a command line's, two names of one key must say the same.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cookbook_lib.config.keys import catalogue
from cookbook_lib.config.layers import Given, Problems, given
from cookbook_lib.config.recipes import GENERATIVE
from cookbook_lib.config.verl_names import COMPUTED, FIXED, NAMES, SEVERAL, TAUGHT

ELSEWHERE = "belongs to reinforcement learning: recipes under cookbook/generative take it, not this one"


def translate(layers: list[list[Given]], recipe: str, problems: Problems) -> None:
    """Replace verl's names in all layers, in place; what cannot be replaced is removed and becomes a problem."""
    for layer in layers:
        alone = {NAMES.get(entry.key, entry.key) for entry in layer}
        layer[:] = [new for entry in layer for new in _by_name(entry, recipe, alone, problems)]
    standing = {entry.key: entry.value for layer in layers for entry in layer}
    for layer in layers:
        layer[:] = [new for entry in layer for new in _by_arithmetic(entry, recipe, standing, problems)]
        _agree(layer, problems)


def _by_name(entry: Given, recipe: str, alone: Collection[str], problems: Problems) -> Iterator[Given]:
    """alone: the keys that the layer sets by a name of their own, where one for several is a fallback in verl."""
    name = entry.key
    if name in catalogue() or (recipe in GENERATIVE and name in COMPUTED):
        yield entry
    elif recipe not in GENERATIVE and any(name in table for table in (NAMES, SEVERAL, COMPUTED, FIXED)):
        problems.add(entry.origin, f"{name} {ELSEWHERE}")
    elif name in SEVERAL:
        yield from (_renamed(entry, key, entry.value) for key in SEVERAL[name] if key not in alone)
    elif name in NAMES:
        yield _renamed(entry, NAMES[name], entry.value)
    elif sentence := _refusal(name, entry.value):
        problems.add(entry.origin, sentence)


def _by_arithmetic(entry: Given, recipe: str, standing: Mapping[str, Any], problems: Problems) -> Iterator[Given]:
    if entry.key not in COMPUTED:
        yield entry
        return
    rule = COMPUTED[entry.key]
    other = standing.get(rule.other, catalogue()[rule.other].default_in(recipe))
    if not _is_number(other):
        return  # which is a problem of its own
    value = rule.compute(entry.value, other) if _is_number(entry.value) else None
    if value is None:
        problems.add(entry.origin, f"{entry.key} is {entry.value!r} while {rule.other} is {other}; it {rule.rule}")
    else:
        yield _renamed(entry, rule.key, value)


def _agree(layer: list[Given], problems: Problems) -> None:
    """Of one name that comes twice the later counts; two names of one key with different values contradict."""
    named: dict[str, dict[str, Given]] = {}
    for entry in layer:
        named.setdefault(entry.key, {})[entry.name or entry.key] = entry
    for key, entries in named.items():
        (name, one), *others = entries.items()
        for other, entry in others:
            if entry.value != one.value:
                found = f"{key} is {entry.value!r} by {other} and {one.value!r} by {name}, which is the same key"
                problems.add(entry.origin, f"{found}; keep one of the two")


def _renamed(entry: Given, key: str, value: Any) -> Given:
    return replace(given(key, value, f"{entry.origin} ({entry.key})", entry.base), name=entry.key)


def _refusal(name: str, value: Any) -> str | None:
    """What is wrong with a name that has no key; None: nothing, it is so anyway."""
    if name in FIXED:
        only, why = FIXED[name]
        return None if value == only else f"{name} is {value!r}, but can only be {only!r} here: {why}"
    if taught := next((sentence for start, sentence in TAUGHT.items() if name.startswith(start)), None):
        return f"{name} {taught}"
    near = difflib.get_close_matches(name, [*NAMES, *SEVERAL, *COMPUTED, *FIXED], n=1, cutoff=0.93)
    rest = f"did you mean {near[0]}?" if near else "docs/reference/config.md lists verl's names that have"
    return f"{name} has no counterpart here; {rest}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
