"""RM-Bench (Liu et al. 2024, https://arxiv.org/abs/2410.16184): three styles of a right answer against three of a wrong one.

                      rejected: concise   plain   markdown
    chosen: concise           normal      hard     hard         M[i][j] = share of prompts whose chosen answer in style i
            plain             easy        normal   hard                   scores strictly higher than the rejected one in j
            markdown          easy        easy     normal

    hard, normal, easy    means of their three cells
    domain                mean of hard, normal, easy: chat, code, math, safety (safety-refuse and safety-response pooled)
    overall               mean of the domains; each difficulty is the mean of its domains too

A judge that compares holds nine duels a prompt, each in an order drawn by the seed. Ties and unreadable verdicts are wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cookbook_lib.data.origin import MISSING, Origin, refuse
from cookbook_lib.evaluation.benchmarks.base import Benchmark, register
from cookbook_lib.evaluation.benchmarks.figures import Figure, Floats, mean, mean_of, without
from cookbook_lib.evaluation.benchmarks.hearing import Duel, Heard, coin
from cookbook_lib.evaluation.benchmarks.items import (
    Item,
    Row,
    named_in,
    prompt_group,
    require,
    text,
    texts,
    user_prompt,
)

STYLES = ("concise", "plain", "markdown")
DOMAINS = ("chat", "code", "math", "safety")
FILES = {name: name for name in (*DOMAINS, "safety-refuse", "safety-response")}
CELLS = [(i, j) for i in range(len(STYLES)) for j in range(len(STYLES))]
LEVELS = {
    "easy": [c for c, (i, j) in enumerate(CELLS) if i > j],
    "normal": [c for c, (i, j) in enumerate(CELLS) if i == j],
    "hard": [c for c, (i, j) in enumerate(CELLS) if i < j],
}


def item(row: Row, origin: Origin) -> Item:
    """id, prompt, chosen[3], rejected[3]; domain from its column (total_dataset.json) or from the file's name."""
    require(row, "id", "prompt", "chosen", "rejected")
    said = text(row, "domain") if row.get("domain") is not None else named_in(origin.file, FILES)
    if said is None:
        refuse(
            "domain", MISSING, f"it is a column or in the file's name: {', '.join(FILES)}", "name the file as published"
        )
    domain = next((name for name in DOMAINS if said.startswith(name)), None)
    if domain is None:
        refuse("domain", said, f"it begins with {', '.join(DOMAINS)}", "take the published file")
    answers = {name: texts(row, name) for name in ("chosen", "rejected")}
    for name, found in answers.items():
        if len(found) != len(STYLES):
            refuse(
                name, f"{len(found)} answers", f"there is one a style: {', '.join(STYLES)}", "take the published file"
            )
    prompt = user_prompt(row, "prompt")
    identity = f"{said}/{row['id']}"
    return Item(identity, domain, prompt, answers["chosen"], answers["rejected"], prompt_group(prompt), origin)


def duels(item: Item, seed: int) -> tuple[Duel, ...]:
    """All nine, each in its own random order."""
    return tuple(Duel(i, j, coin(seed, item, i, j)) for i, j in CELLS)


def marks(item: Item, heard: Heard) -> tuple[float, ...]:
    """(share of the nine cells won, then the cells row by row)."""
    won = [float(outcome == "win") for outcome in heard.outcomes]
    return (sum(won) / len(won), *won)


def figures(items: Sequence[Item], marks: Floats, orderless: bool) -> Iterator[Figure]:
    """Overall, domains, difficulties, difficulties of each domain, cells."""
    parts = np.array([item.part for item in items])
    rows = {domain: np.flatnonzero(parts == domain) for domain in DOMAINS if domain in parts}
    cells = marks[:, 1:]
    levels = {
        domain: [mean(f"{domain}/{level}", own, cells[:, places].mean(1)) for level, places in LEVELS.items()]
        for domain, own in rows.items()
    }
    domains = [mean_of(domain, found) for domain, found in levels.items()]
    yield mean_of("overall", domains).lacking(without(DOMAINS, rows))
    yield from domains
    for k, level in enumerate(LEVELS):
        yield mean_of(level, [found[k] for found in levels.values()]).lacking(without(DOMAINS, rows))
    for found in levels.values():
        yield from found


def matrix(rows: Sequence[Mapping[str, Any]], domain: str | None = None) -> list[list[float]]:
    """M from the rows of a result: of one domain, or the mean of the domains (each counts the same)."""
    named = [domain] if domain else [name for name in DOMAINS if any(row["part"] == name for row in rows)]
    each = [np.mean([_cells(row) for row in rows if row["part"] == name], axis=0) for name in named]
    return np.mean(each, axis=0).reshape(len(STYLES), len(STYLES)).tolist()


def _cells(row: Mapping[str, Any]) -> list[float]:
    if "outcomes" in row:
        return [float(outcome == "win") for outcome in row["outcomes"]]
    pairs = [(row["chosen_scores"][i], row["rejected_scores"][j]) for i, j in CELLS]
    return [float(None not in pair and pair[0] > pair[1]) for pair in pairs]


def notes(items: Sequence[Item], heard: Sequence[Heard]) -> Iterator[str]:
    """Domains that the files do not have."""
    present = {item.part for item in items}
    missing = [domain for domain in DOMAINS if domain not in present]
    if missing:
        yield f"without {', '.join(missing)}: the overall is the mean of the {len(present)} domains that are there"
    kinds = {item.id.partition("/")[0] for item in items if item.part == "safety"}
    if len(kinds & {"safety-refuse", "safety-response"}) == 1:
        yield f"safety is {kinds.pop()} alone"


RM_BENCH = register(
    Benchmark(
        name="rm_bench",
        title="RM-Bench",
        about="1,327 prompts, three styles of a right and of a wrong answer: substance against style (THU-KEG, ODC-BY)",
        metric="mean of domains",
        hub=("THU-KEG/RM-Bench:train",),
        item=item,
        marks=marks,
        figures=figures,
        duels=duels,
        notes=notes,
    )
)
