"""A comparison as plain rows: for a table, for samples side by side, for a JSON file."""

from typing import Any

from cookbook_lib.evaluation.answers import Answer
from cookbook_lib.evaluation.sft import Comparison, Figure, figures

NO_ANSWERS = "exact answers are not measured: no row of this data states its answer"


def table_rows(found: Comparison) -> list[dict[str, str]]:
    """One dict a figure: name, base, checkpoint, change, rows; intervals in brackets."""
    return [
        {
            "": figure.name,
            "base": "–" if figure.base is None else figure.base.text(figure.spec),
            "checkpoint": figure.checkpoint.text(figure.spec),
            "change": _change(figure),
            "rows": f"{figure.rows:,}",
        }
        for figure in figures(found)
    ]


def notes(found: Comparison) -> list[str]:
    """What a reader of the table must know besides."""
    said = ["95 % intervals in brackets: bootstrap over rows, changes on the same draws; Wilson for shares"]
    if not any(question.expected is not None for question in found.rows.questions):
        said.append(NO_ANSWERS)
    if found.rows.left_out:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in found.rows.left_out.items())
        said.append(f"rows left out: {reasons}")
    return said


def sample_rows(found: Comparison, count: int = 4) -> list[dict[str, Any]]:
    """The first questions with what the data and each model answer, and whether that is right."""
    sides = {"base": found.base, "checkpoint": found.checkpoint}
    rows: list[dict[str, Any]] = []
    for i, question in enumerate(found.rows.questions[:count]):
        row: dict[str, Any] = {
            "prompt": [{"role": m["role"], "content": m.get("content")} for m in question.messages],
            "reference": question.reference,
            "expected": question.expected,
        }
        for name, side in sides.items():
            if side is not None:
                row |= _told(name, side.answers[i])
        rows.append(row)
    return rows


def sample_cards(found: Comparison, count: int = 4) -> list[dict[str, str]]:
    """The first questions as text, to be shown side by side: prompt, what the data says, what each model says."""
    sides = {"base": found.base, "checkpoint": found.checkpoint}
    cards = []
    for i, question in enumerate(found.rows.questions[:count]):
        said = {name: side.answers[i].text for name, side in sides.items() if side is not None}
        cards.append({"prompt": question.messages[-1]["content"], "expected": question.reference, **said})
    return cards


def as_json(found: Comparison, base: str, data: list[str]) -> dict[str, Any]:
    """Everything, for a file. `base`: the sentence of find_base."""
    settings = {key: str(value) for key, value in vars(found.settings).items()}
    return {
        "checkpoint": str(found.checkpoint.folder),
        "base": None if found.base is None else str(found.base.folder),
        "notes": [base, *notes(found)],
        "data": data,
        "rows": len(found.rows),
        "left_out": found.rows.left_out,
        "settings": settings,
        "figures": {figure.name: _numbers(figure) for figure in figures(found)},
        "samples": sample_rows(found, len(found.rows.questions)),
    }


def _change(figure: Figure) -> str:
    if figure.change is None:
        return "–"
    return ("x " if figure.name == "perplexity" else "") + figure.change.text(
        figure.spec if figure.name == "perplexity" else "+" + figure.spec
    )


def _told(name: str, answer: Answer) -> dict[str, Any]:
    return {name: answer.text, f"{name} right": answer.right, f"{name} ended": answer.finished}


def _numbers(figure: Figure) -> dict[str, Any]:
    sides = {"base": figure.base, "checkpoint": figure.checkpoint, "change": figure.change}
    return {"rows": figure.rows} | {name: side and side.as_dict() for name, side in sides.items()}
