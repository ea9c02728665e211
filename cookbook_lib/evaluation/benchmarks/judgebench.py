"""JudgeBench (Tan et al. 2024, https://arxiv.org/abs/2410.12784): pairs of which one answer is objectively right.

    two games, A against B and B against A; each verdict counts +1 if it is the label, -1 if it is the other, else 0
    right      the sum is above 0: one right and one tie is right, one right and one wrong is not
    score      share of right pairs, overall and by source

A reward model's scores do not depend on the order: one game. The official runner gives equal scores to B, which is luck
where the label is B; here they are a tie, and the note says what the luck would add.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_lib.data.origin import Origin, RowError, refuse
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import read_rows
from cookbook_lib.evaluation.benchmarks.base import Benchmark, register
from cookbook_lib.evaluation.benchmarks.figures import Figure, Floats, mean
from cookbook_lib.evaluation.benchmarks.hearing import Duel, Heard
from cookbook_lib.evaluation.benchmarks.items import Item, Row, Slot, choice, prompt_group, require, text, user_prompt
from cookbook_lib.evaluation.judges import Key, StoredScores, answered, key_of
from cookbook_lib.evaluation.measure import counted

SOURCES = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")
LABELS: dict[str, Slot] = {"A>B": "A", "B>A": "B"}
OTHER: dict[Slot, Slot] = {"A": "B", "B": "A"}
WORTH = {"win": 1, "loss": -1}


def item(row: Row, origin: Origin) -> Item:
    """pair_id, source, question, response_A, response_B, label; response_model where it is there."""
    require(row, "pair_id", "source", "question", "response_A", "response_B", "label")
    source, prompt, better = text(row, "source"), user_prompt(row, "question"), choice(row, "label", LABELS)
    chosen, rejected = text(row, f"response_{better}"), text(row, f"response_{OTHER[better]}")
    facts = {"source": source, "response_model": row.get("response_model")}
    part = next((name for name in SOURCES if source.startswith(name)), source)
    return Item(str(row["pair_id"]), part, prompt, (chosen,), (rejected,), prompt_group(prompt), origin, better, facts)


def duels(item: Item, seed: int) -> tuple[Duel, ...]:
    """As published, and swapped."""
    assert item.chosen_is is not None, "a row of JudgeBench has an order"
    return Duel(0, 0, item.chosen_is), Duel(0, 0, OTHER[item.chosen_is])


def marks(item: Item, heard: Heard) -> tuple[float, float]:
    """(right, the same verdict in both orders)."""
    total = sum(WORTH.get(outcome or "", 0) for outcome in heard.outcomes)
    return float(total > 0), float(heard.outcomes[0] is not None and heard.outcomes[0] == heard.outcomes[1])


def figures(items: Sequence[Item], marks: Floats, orderless: bool) -> Iterator[Figure]:
    """Overall, sources, and how often both orders agree where they could differ."""
    parts = np.array([item.part for item in items])
    yield mean("overall", range(len(items)), marks[:, 0])
    for name in sorted(set(parts.tolist()), key=lambda name: (SOURCES.index(name) if name in SOURCES else 9, name)):
        yield mean(name, np.flatnonzero(parts == name), marks[:, 0])
    if not orderless:
        yield mean("same verdict in both orders", range(len(items)), marks[:, 1])


def notes(items: Sequence[Item], heard: Sequence[Heard]) -> Iterator[str]:
    """Equal scores, and files that the official tables keep apart."""
    ties = [item for item, one in zip(items, heard, strict=True) if one.scores is not None and one.outcomes[0] == "tie"]
    if ties:
        lucky = sum(item.chosen_is == "B" for item in ties)
        given = f"the official runner, which gives equal scores to B, would find {lucky} right"
        yield f"{counted(len(ties), 'pair')} of equal scores not right ({given})"
    models = sorted({str(item.facts["response_model"]) for item in items})
    if len(models) > 1:
        yield f"answers of {len(models)} models together ({', '.join(models)}); official tables have one each"


def stored_scores(file: str | Path) -> StoredScores:
    """The scores in a file of the official runner's outputs (a reward model's `judgments`), as a judge.

    Raises RowError for a row without them.
    """
    found: dict[Key, float | None] = {}
    name = "stored scores"
    for origin, row in read_rows(str(file), Report.strict()):
        try:
            require(row, "question", "response_A", "response_B", "judgments")
            judgment = _scored(row["judgments"])
            for slot, score in zip("AB", judgment["scores"], strict=True):
                found[key_of(answered(user_prompt(row, "question"), text(row, f"response_{slot}")))] = float(score)
        except RowError as error:
            raise error.at(origin) from None
        name = str(judgment.get("judge_model") or name)
    return StoredScores(found, name)


def _scored(judgments: Any) -> dict[str, Any]:
    """The first judgment, which is of A and B in this order."""
    match judgments:
        case [{"judgment": {"scores": [int() | float(), int() | float()]} as judgment}, *_]:
            return judgment
    return refuse("judgments", judgments, "its first judgment holds two scores", "give a reward model's output file")


JUDGEBENCH = register(
    Benchmark(
        name="judgebench",
        title="JudgeBench",
        about="350 and 270 pairs of one model's answers, one right and one wrong (ScalerLab, MIT)",
        metric="share of right pairs",
        hub=("ScalerLab/JudgeBench:gpt",),
        item=item,
        marks=marks,
        figures=figures,
        duels=duels,
        notes=notes,
    )
)
