"""All pictures of one judge, from the plain document that its report is (evaluation/judge_report.py, or its JSON file).

    document ──▶ {"margins": Picture, "reliability": Picture, "length": Picture, "benchmarks": Picture, "mistakes": Html}

What the document lacks is left out; `save_pictures` writes the rest beside the report.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookbook_lib.display.benchmark_plots import benchmark_bars
from cookbook_lib.display.judge_plots import margin_histogram, reliability_diagram, score_against_length
from cookbook_lib.display.mistakes import confident_mistakes
from cookbook_lib.display.style import SANS
from cookbook_lib.display.views import Html, Picture

CORRELATION = "score and length, spearman"


def judge_pictures(document: Mapping[str, Any]) -> dict[str, Picture | Html]:
    """document: judge, margins, reliability, answers, mistakes, benchmarks, measures; any may be missing or empty."""
    measures = document.get("measures", {}).get("length", {})
    correlation = measures.get(CORRELATION, {}).get("value")
    found: dict[str, Picture | Html] = {}
    if margins := document.get("margins"):
        found["margins"] = margin_histogram(margins)
    if reliability := document.get("reliability"):
        found["reliability"] = reliability_diagram(reliability)
    if answers := document.get("answers"):
        found["length"] = score_against_length(answers, correlation=correlation)
    if benchmarks := document.get("benchmarks"):
        found["benchmarks"] = benchmark_bars(benchmarks)
    if mistakes := document.get("mistakes"):
        found["mistakes"] = confident_mistakes(mistakes)
    return found


def save_pictures(pictures: Mapping[str, Picture | Html], folder: str | Path) -> list[Path]:
    """Write name.png for figures and name.html for the rest; the folder is made when missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(name, view, folder) for name, view in pictures.items()]


def _save(name: str, view: Picture | Html, folder: Path) -> Path:
    if isinstance(view, Picture):
        return view.save(folder / f"{name}.png")
    path = folder / f"{name}.html"
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{html.escape(name)}</title>'
    path.write_text(f'<!doctype html>{head}<body style="font-family:{SANS};margin:24px">{view.html}</body>', "utf-8")
    return path
