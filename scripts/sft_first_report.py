"""What scripts/measure_sft_first.py found, as json, figure and page.

    value   mean over seeds of the test accuracy                       y_s, s = 1 .. S, each seed with its own test pairs
    +/-     t(S - 1, 97.5 %) x standard deviation / sqrt(S)            an interval needs two seeds

A difference of two arms is taken seed by seed, on the same pairs; over all sizes, of each seed's mean over them. The page has
the tables; what somebody wrote under its heading "What it says" is kept when the tables are written anew.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import transformers
from sft_first_run import held_out
from sft_first_world import CLASSES, Judged, halved

from cookbook_lib.data.reward.ceiling import best_accuracy
from cookbook_lib.display import saved_arms
from cookbook_lib.training.embedded import tiny_folder

T975 = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
}  # Student's t; beyond ten seeds the last, a little wide
NAMES = {"random": "random weights", "chat": "SFT on answers", "judged": "SFT on answers and judgements"}
PANELS = {
    "all": "all pairs",
    "recall": "a fact from memory decides",
    "reading": "a fact in the prompt decides",
    "form": "form decides",
}
FORM_ALONE = "best that sees form alone"
CONTRASTS = (("chat", "random"), ("judged", "random"), ("judged", "chat"))
WRITTEN = "## What it says"
Runs = Sequence[tuple[dict[str, Any], dict[str, Any]]]  # task, found


def write(stem: Path, given: dict[str, Any], checkpoints: dict[str, Any], rates: dict[str, float], runs: Runs) -> None:
    """STEM.json, what the figure is drawn from; STEM.svg; STEM.md."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    content = summary(given, checkpoints, rates, runs)
    _file(stem, "json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    saved_arms(_file(stem, "json")).save(_file(stem, "svg"))
    page = _file(stem, "md")
    own = page.read_text(encoding="utf-8").partition(WRITTEN)[2] if page.is_file() else "\n"
    page.write_text(markdown(stem.name, content) + WRITTEN + own, encoding="utf-8")


def summary(given: dict[str, Any], checkpoints: dict[str, Any], rates: dict[str, float], runs: Runs) -> dict[str, Any]:
    """Plain values: points of the figure, differences of arms, what the SFT models know, the settings."""
    accuracy = {(task["arm"], task["pairs"], task["seed"]): found["test"] for task, found in runs}
    tests = pairs_by_panel(given)
    settings = ("sizes", "seeds", "steps", "prompts", "judgements", "epochs", "rates", "held_out")

    def of(arm: str, size: int, panel: str) -> list[float]:
        return [accuracy[arm, size, seed][panel] for seed in given["seeds"]]

    points, differences = [], []
    for panel, size in product(PANELS, given["sizes"]):
        for arm, name in NAMES.items():
            values = of(arm, size, panel)
            points.append({"arm": name, "pairs": size, "panel": panel, **interval(values), "seeds": values})
    for panel, (arm, other) in product(PANELS, CONTRASTS):
        rows = [difference(of(arm, size, panel), of(other, size, panel)) for size in given["sizes"]]
        rows.append([fmean(seed) for seed in zip(*rows, strict=True)])  # each seed's mean over sizes
        for size, gains in zip([*given["sizes"], None], rows, strict=True):
            names = {"arm": NAMES[arm], "less": NAMES[other]}
            differences.append({**names, "pairs": size, "panel": panel, **interval(gains)})
    return {
        "figure": {"points": points, "panels": PANELS, "references": limits(tests)},
        "differences": differences,
        "checkpoints": checkpoints,
        "chosen_lr": {arm: rates[arm] for arm in NAMES},
        "test_pairs": {panel: len(members) for panel, members in tests.items()},
        "parameters": parameters(),
        "settings": {name: given[name] for name in settings},
    }


def parameters() -> int:
    """Of the embedded model, by its shape alone."""
    with torch.device("meta"):
        shape = transformers.AutoConfig.from_pretrained(tiny_folder())
        return transformers.AutoModelForCausalLM.from_config(shape).num_parameters()


def difference(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and 95 % interval over seeds; without ends where there is one seed."""
    value, n = fmean(values), len(values)
    if n < 2:
        return {"value": value, "low": None, "high": None}
    half = T975.get(n - 1, T975[9]) * stdev(values) / math.sqrt(n)
    return {"value": value, "low": value - half, "high": value + half}


def pairs_by_panel(given: dict[str, Any]) -> dict[str, list[Judged]]:
    """Those of all seeds, by panel."""
    sizes = dict(zip(("val", "test"), given["held_out"], strict=True))
    pairs = [judged for drawn in held_out(given["seeds"], sizes)["test"].values() for judged in halved(drawn)]
    return {"all": pairs} | {name: [judged for judged in pairs if judged.of_class == name] for name in CLASSES}


def limits(tests: dict[str, list[Judged]]) -> dict[str, dict[str, float]]:
    """Accuracy of the best possible judge, and of the best that knows no fact."""
    return {
        "best possible": {panel: best_accuracy(judged.pair for judged in pairs) for panel, pairs in tests.items()},
        FORM_ALONE: {panel: fmean(judged.by_form for judged in pairs) for panel, pairs in tests.items()},
    }


# ------------------------------------------------------------------------------------------------------------ the page


def markdown(name: str, content: dict[str, Any]) -> str:
    """The tables and how they came about."""
    s, size = content["settings"], content["parameters"] / 1e6
    chosen = ", ".join(f"{NAMES[arm]} {rate:g}" for arm, rate in content["chosen_lr"].items())
    tried, n = ", ".join(f"{rate:g}" for rate in s["rates"]), content["test_pairs"]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return f"""# Is SFT an essential start? Bradley-Terry on the embedded world

![accuracy of reward models by size of preference data]({name}.svg)

Larkspur Lane (`cookbook_lib/data/larkspur.py`), the embedded model ({size:.1f} M parameters), {len(s["seeds"])} seeds, each with its own
preference pairs, order, validation and test pairs; random weights are drawn anew for each seed, the SFT models are the same
for all. In half of the pairs both answers look alike and a fact decides; in the other half the form does (padded, garbled,
off-topic). Test pairs of all seeds: {n["recall"]:,} decided by a fact from memory, {n["reading"]:,} by one in the prompt, {n["form"]:,} by
form; none of their prompts is in any training data.

Every reward model takes {s["steps"]} steps of 32 pairs, however few pairs there are, and is tested at its best validation accuracy.
Each arm's learning rate is the best of {tried} by validation accuracy at the middle size and the first seed:
{chosen}.
CPU, bf16, {versions}. Brackets: 95 % interval of the mean over seeds (Student's t).

## Accuracy on test pairs

{_accuracy(content)}

Differences of arms, seed by seed on the same pairs, in percentage points:

{_differences(content)}

## What the SFT models know

{_knowledge(content)}

"""


def _accuracy(content: dict[str, Any]) -> str:
    rows = []
    for size in content["settings"]["sizes"]:
        for arm in NAMES.values():
            mine = {p["panel"]: p for p in content["figure"]["points"] if p["arm"] == arm and p["pairs"] == size}
            rows.append([f"{size:,}", arm, *(_percent(mine[panel]) for panel in PANELS)])
    for name, limit in content["figure"]["references"].items():
        rows.append(["", f"*{name}*", *(f"{limit[panel]:.1%}" for panel in PANELS)])
    return _table(["pairs", "start", *PANELS.values()], rows)


def _differences(content: dict[str, Any]) -> str:
    rows = []
    for arm, other in CONTRASTS:
        for size in [*content["settings"]["sizes"], None]:
            mine = {
                d["panel"]: d
                for d in content["differences"]
                if (d["arm"], d["less"], d["pairs"]) == (NAMES[arm], NAMES[other], size)
            }
            count = f"{size:,}" if size else "all sizes"
            rows.append([f"{NAMES[arm]} − {NAMES[other]}", count, *(_points(mine[panel]) for panel in PANELS)])
    return _table(["difference", "pairs", *PANELS.values()], rows)


def _knowledge(content: dict[str, Any]) -> str:
    head = ["", *(NAMES[arm] for arm in content["checkpoints"])]
    found = list(content["checkpoints"].values())
    rows = [
        ["right answers to chat questions", *(f"{f['answers_right']:.1%}" for f in found)],
        ["right scores when asked to judge", *(f"{f['verdicts_right']:.1%}" for f in found)],
        *(
            [f"likelier answer is the better one: {PANELS[panel]}", *(f"{f['likelihood'][panel]:.1%}" for f in found)]
            for panel in PANELS
        ),
        ["right answers / judgements trained on", *(f"{f['chats']:,} / {f['judgements']:,}" for f in found)],
        ["steps of 32 conversations", *(f"{f['steps']:,}" for f in found)],
    ]
    return _table(head, rows)


def _percent(point: dict[str, Any]) -> str:
    ends = "" if point["low"] is None else f" [{max(0.0, point['low']):.1%}, {min(1.0, point['high']):.1%}]"
    return f"{point['value']:.1%}{ends}"


def _points(point: dict[str, Any]) -> str:
    ends = "" if point["low"] is None else f" [{100 * point['low']:+.1f}, {100 * point['high']:+.1f}]"
    return f"{100 * point['value']:+.1f}{ends}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _file(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")
