"""LLMBar (Zeng et al. 2023, https://arxiv.org/abs/2310.07641): which of two outputs follows the instruction?

    accuracy     mean of the two orders, output 1 first and output 2 first; a tie is right in one of them, so one half
    both         right in both orders                          swap agreement     the same winner in both orders
    overall      mean of the five subsets, Natural and the four adversarial ones: Neighbor, GPTInst, GPTOut, Manual

A subset is a file: its name or its folder's says which (Dataset/LLMBar/Adversarial/GPTInst/dataset.json). The sets that
the authors processed alike (MT-Bench, FairEval, LLMEval^2) can be given too; they are shown, and count in no mean of LLMBar.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from cookbook_lib.data.origin import Origin
from cookbook_lib.evaluation.benchmarks.base import Benchmark, register
from cookbook_lib.evaluation.benchmarks.figures import Figure, Floats, mean, mean_of, without
from cookbook_lib.evaluation.benchmarks.hearing import Duel, Heard
from cookbook_lib.evaluation.benchmarks.items import (
    Item,
    Row,
    Slot,
    choice,
    named_in,
    prompt_group,
    require,
    text,
    user_prompt,
)

ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
SUBSETS = ("Natural", *ADVERSARIAL)
PROCESSED = ("MT-Bench", "FairEval", "LLMEval^2")
NAMES = {name.lower(): name for name in (*SUBSETS, *PROCESSED)}
LABELS: dict[int, Slot] = {1: "A", 2: "B"}
OTHER: dict[Slot, Slot] = {"A": "B", "B": "A"}
OUTPUTS = {"A": "output_1", "B": "output_2"}
WORTH = {"win": 1.0, "tie": 0.5}


def item(row: Row, origin: Origin) -> Item:
    """input, output_1, output_2, label 1 or 2."""
    require(row, "input", "output_1", "output_2", "label")
    prompt, better = user_prompt(row, "input"), choice(row, "label", LABELS)
    chosen, rejected = text(row, OUTPUTS[better]), text(row, OUTPUTS[OTHER[better]])
    subset = named_in(origin.file, NAMES, folders=1) or PurePath(origin.file).name.partition(".")[0]
    words = "\0".join((prompt[0]["content"], row["output_1"], row["output_2"]))
    identity = hashlib.blake2b(
        words.encode("utf-8", "replace"), digest_size=8
    ).hexdigest()  # rows are published without
    return Item(identity, subset, prompt, (chosen,), (rejected,), prompt_group(prompt), origin, better)


def duels(item: Item, seed: int) -> tuple[Duel, ...]:
    """As published, and swapped."""
    assert item.chosen_is is not None, "a row of LLMBar has an order"
    return Duel(0, 0, item.chosen_is), Duel(0, 0, OTHER[item.chosen_is])


def marks(item: Item, heard: Heard) -> tuple[float, float, float]:
    """(accuracy of the two orders, right in both, same winner in both)."""
    first, second = heard.outcomes
    accuracy = (WORTH.get(first or "", 0.0) + WORTH.get(second or "", 0.0)) / 2
    return accuracy, float(first == second == "win"), float(first is not None and first == second)


def figures(items: Sequence[Item], marks: Floats, orderless: bool) -> Iterator[Figure]:
    """Overall, subsets, the adversarial ones together; both orders and their agreement where they could differ."""
    parts = np.array([item.part for item in items])
    present = sorted(set(parts.tolist()), key=lambda name: (SUBSETS.index(name) if name in SUBSETS else 9, name))
    subsets = {name: mean(name, np.flatnonzero(parts == name), marks[:, 0]) for name in present}
    own = [subsets[name] for name in SUBSETS if name in subsets]
    lacking = without(SUBSETS, subsets) if own else ""
    yield mean_of("overall", own or list(subsets.values())).lacking(lacking)
    yield from subsets.values()
    adversarial = [subsets[name] for name in ADVERSARIAL if name in subsets]
    if len(adversarial) > 1:
        yield mean_of("adversarial", adversarial)
    if not orderless:
        yield mean("right in both orders", range(len(items)), marks[:, 1])
        yield mean("swap agreement", range(len(items)), marks[:, 2])


def notes(items: Sequence[Item], heard: Sequence[Heard]) -> Iterator[str]:
    """Subsets that the files do not have, and sets that are not LLMBar's own."""
    present = {item.part for item in items}
    missing = [name for name in SUBSETS if name not in present]
    foreign = sorted(present - set(SUBSETS))
    if missing and len(missing) < len(SUBSETS):
        count = len(SUBSETS) - len(missing)
        yield f"without {', '.join(missing)}: the overall is of the {count} of {len(SUBSETS)} subsets that are there"
    if foreign:
        counted = "is of these" if len(missing) == len(SUBSETS) else "is without them"
        yield f"{', '.join(foreign)}: no subset of LLMBar; the overall {counted}"


LLMBAR = register(
    Benchmark(
        name="llmbar",
        title="LLMBar",
        about="419 instructions with a right output and a tempting wrong one (princeton-nlp, MIT)",
        metric="mean of subsets",
        hub=tuple(f"princeton-nlp/LLMBar#LLMBar:{split}" for split in SUBSETS),
        item=item,
        marks=marks,
        figures=figures,
        duels=duels,
        notes=notes,
    )
)
