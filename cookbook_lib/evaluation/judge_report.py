"""Everything about one judge, in one place: a table, a JSON document, and the numbers behind the pictures.

    ScoredPairs ──▶ judge_report ──▶ JudgeReport ──▶ rows()      one dict a figure: section, measure, value, rows, note
                                                 └─▶ as_json()   the same in numbers, with what display draws:
                                                                 margins, reliability, answers, mistakes, benchmarks

The document is plain: `display.judge_pictures(document)` draws it now, or from the file later. Other measures (agreement,
consistency, position bias, best-of-n) join as further sections: name -> {measure: figure}.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.bias import format_bias, length_bias
from cookbook_lib.evaluation.calibration import Calibrated, calibrate
from cookbook_lib.evaluation.intervals import Groups, mean_by_group
from cookbook_lib.evaluation.judges import told_apart
from cookbook_lib.evaluation.measure import (
    Floats,
    Measure,
    Scores,
    as_scores,
    differences,
    pick,
    same_length,
    undefined,
)
from cookbook_lib.evaluation.metrics import pair_accuracy, pair_credits

MISTAKES, SHOWN_ANSWERS = 12, 4000  # cards, and dots of the scatter; more answers than that are thinned evenly
Sections = Mapping[str, Mapping[str, Measure]]


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs and what a judge scored them, in columns of (n,). Raises CookbookError when their lengths differ.

    prompts: text or messages; they are also what the bootstrap draws, unless `groups` says otherwise. ties: pairs that the
    data calls equal; they count in the accuracy alone. lengths: of the answers in tokens; None counts characters.
    """

    prompts: Sequence[Any]
    chosen: Sequence[str]
    rejected: Sequence[str]
    chosen_scores: Scores
    rejected_scores: Scores
    groups: Groups = None
    ties: Sequence[bool] | None = None
    chosen_lengths: Sequence[int] | None = None
    rejected_lengths: Sequence[int] | None = None

    def __post_init__(self) -> None:
        same_length(**{name: getattr(self, name) for name in self.__dataclass_fields__})

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def prompt_groups(self) -> list[Any]:
        """(n,) what the bootstrap draws."""
        return list(self.groups) if self.groups is not None else [repr(prompt) for prompt in self.prompts]

    def lengths(self) -> tuple[list[int], list[int]]:
        """Of chosen and of rejected answers."""
        texts = ((self.chosen_lengths, self.chosen), (self.rejected_lengths, self.rejected))
        one, two = ([len(text) for text in said] if given is None else list(given) for given, said in texts)
        return one, two

    def decided(self) -> "ScoredPairs":
        """Without the pairs that the data calls equal."""
        if self.ties is None:
            return self
        kept = ~np.asarray(self.ties, bool)
        columns = {name: pick(getattr(self, name), kept) for name in self.__dataclass_fields__}
        return ScoredPairs(**columns)  # type: ignore[arg-type]


class Benchmark(Protocol):
    """What a report needs to know of a benchmark's result."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def incomplete(self) -> str: ...


@dataclass(frozen=True)
class JudgeReport:
    """A judge's figures by section, and the numbers of its pictures."""

    name: str
    sections: dict[str, dict[str, Measure]]
    numbers: dict[str, Any]
    notes: tuple[str, ...] = field(
        default=("95 % intervals in brackets: bootstrap over prompts; Wilson where all agree",)
    )

    def rows(self, *sections: str) -> list[dict[str, Any]]:
        """One dict a figure, of all sections or of those named."""
        return [
            {"": section, "measure": name, "value": figure.text(), "rows": figure.rows, "note": figure.note}
            for section, figures in self.sections.items()
            if not sections or section in sections
            for name, figure in figures.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None: json.dumps(..., allow_nan=False) takes it."""
        figures = {
            section: {name: figure.as_dict() for name, figure in found.items()}
            for section, found in self.sections.items()
        }
        return {"judge": self.name, "measures": figures, **self.numbers, "notes": list(self.notes)}


def judge_report(
    name: str,
    pairs: ScoredPairs,
    *,
    baselines: Mapping[str, tuple[Scores, Scores]] | None = None,
    benchmarks: Sequence[Benchmark] = (),
    more: Sections | None = None,
    seed: int = 0,
) -> JudgeReport:
    """Measure a judge by its scores of pairs.

    baselines: name -> (scores of chosen, scores of rejected), on the same pairs. benchmarks: results of this judge.
    more: further sections, from the other measures of this room.
    """
    decided = pairs.decided()
    calibrated = calibrate(decided.chosen_scores, decided.rejected_scores, groups=decided.prompt_groups, seed=seed)
    sections = {
        "accuracy": _accuracy(pairs, baselines or {}, seed),
        "calibration": _calibration(calibrated),
        "length": length_bias(
            *_scores(decided), *decided.lengths(), groups=decided.prompt_groups, seed=seed
        ).measures(),
        "formatting": format_bias(
            *_scores(decided), decided.chosen, decided.rejected, groups=decided.prompt_groups, seed=seed
        ).measures(),
        **{section: dict(figures) for section, figures in (more or {}).items()},
    }
    numbers = {
        "margins": _plain(differences(*_scores(decided))),
        "reliability": _reliability(calibrated),
        "answers": answer_rows(decided),
        "mistakes": confident_mistakes(decided),
        "benchmarks": benchmark_rows({name: benchmarks}),
    }
    return JudgeReport(name, sections, numbers)


def side_by_side(reports: Sequence[JudgeReport], *sections: str) -> list[dict[str, Any]]:
    """One dict a figure, of all sections or of those named: section, measure, and a column for each judge; a dash where a
    judge has no such figure (one that compares has no calibration, one that scores writes nothing).

    Figures of unlike numbers of rows say theirs, `1.000 [0.676, 1.000] n=8`; notes have a column where there are any. Judges of
    one name are numbered: `qwen`, `qwen (2)`.
    """
    names = told_apart([report.name for report in reports])
    named = dict.fromkeys(section for report in reports for section in report.sections)
    rows = []
    for section in (name for name in named if not sections or name in sections):
        owned = {name: report.sections.get(section, {}) for name, report in zip(names, reports, strict=True)}
        for measure in dict.fromkeys(measure for figures in owned.values() for measure in figures):
            found = {name: figures[measure] for name, figures in owned.items() if measure in figures}
            cells = dict.fromkeys(names, "–") | _cells(found)
            rows.append({"": section, "measure": measure, **cells, "note": _noted_by(found)})
    if not any(row["note"] for row in rows):
        rows = [{column: cell for column, cell in row.items() if column != "note"} for row in rows]
    return rows


def _cells(found: Mapping[str, Measure]) -> dict[str, str]:
    """The figure of each judge, with its rows where they are not everybody's."""
    unlike = len({figure.rows for figure in found.values()}) > 1
    return {
        name: figure.text() + (f" n={figure.rows:,}" if unlike and figure.interval is not None else "")
        for name, figure in found.items()
    }


def _noted_by(found: Mapping[str, Measure]) -> str:
    """What is to be known of these figures: whose it is, unless it is said of all."""
    notes = {name: figure.note for name, figure in found.items()}
    if len(set(notes.values())) == 1:
        return next(iter(notes.values()))
    return "; ".join(f"{name}: {note}" for name, note in notes.items() if note)


def benchmark_rows(results: Mapping[str, Sequence[Benchmark]]) -> list[dict[str, Any]]:
    """{judge: results} as rows: name, judge, value, low, high (None where there is none), incomplete (what is missing, or "")."""
    rows = []
    for judge, found in results.items():
        for r in found:
            value, low, high = (x if math.isfinite(x) else None for x in (r.value, *r.interval))
            ends = {"low": low, "high": high}
            rows.append({"name": r.name, "judge": judge, "value": value, **ends, "incomplete": r.incomplete})
    return rows


def answer_rows(pairs: ScoredPairs) -> list[dict[str, Any]]:
    """One row an answer: length, score, chosen (whether it is); thinned to SHOWN_ANSWERS."""
    scores = np.concatenate([as_scores(side) for side in _scores(pairs)])
    lengths = np.concatenate([np.asarray(side, int) for side in pairs.lengths()])
    places = np.flatnonzero(~np.isnan(scores))
    kept = places[np.linspace(0, len(places) - 1, min(len(places), SHOWN_ANSWERS)).astype(int)]
    return [{"length": int(lengths[i]), "score": float(scores[i]), "chosen": bool(i < len(pairs))} for i in kept]


def confident_mistakes(pairs: ScoredPairs, count: int = MISTAKES) -> list[dict[str, Any]]:
    """The pairs whose rejected answer scores higher, by most first: prompt, chosen, rejected, score_chosen, score_rejected."""
    d = differences(*_scores(pairs))
    wrong = [int(i) for i in np.argsort(d, kind="stable") if d[i] < 0][:count]
    chosen, rejected = map(as_scores, _scores(pairs))
    return [
        {
            "prompt": pairs.prompts[i],
            "chosen": pairs.chosen[i],
            "rejected": pairs.rejected[i],
            "score_chosen": float(chosen[i]),
            "score_rejected": float(rejected[i]),
        }
        for i in wrong
    ]


def _scores(pairs: ScoredPairs) -> tuple[Scores, Scores]:
    return pairs.chosen_scores, pairs.rejected_scores


def _accuracy(pairs: ScoredPairs, baselines: Mapping[str, tuple[Scores, Scores]], seed: int) -> dict[str, Measure]:
    options: Any = {"groups": pairs.prompt_groups, "ties": pairs.ties, "seed": seed}
    found = {
        "pairs in order": pair_accuracy(*_scores(pairs), **options),
        "pairs in order, equal scores half right": pair_accuracy(*_scores(pairs), equal="half", **options),
    }
    for name, scores in baselines.items():
        found[name] = pair_accuracy(*scores, **options)
        found[f"lead over {name}"] = _lead(pairs, scores, seed)
    return found


def _lead(pairs: ScoredPairs, baseline: tuple[Scores, Scores], seed: int) -> Measure:
    """The difference in accuracy, on the same draws."""
    ties = np.zeros(len(pairs), bool) if pairs.ties is None else np.asarray(pairs.ties, bool)
    ours, theirs = (pair_credits(differences(*scores), ties) for scores in (_scores(pairs), baseline))
    if not len(ours):
        return undefined("there is no pair")
    return Measure(mean_by_group(ours - theirs, pairs.prompt_groups, seed=seed), len(ours))


def _calibration(found: Calibrated) -> dict[str, Measure]:
    chance = found.raw.by_chance
    said = "" if chance is None else f"a calibrated judge would show {chance:.3f}"
    raw = found.raw
    figures = {
        "ECE": _noted(raw.ece, said),
        "Brier": raw.brier,
        "log loss": raw.log_loss,
        "temperature": found.temperature,
    }
    if found.fitted is not None:
        figures["ECE at temperatures of other prompts"] = found.fitted.ece
        figures["log loss at temperatures of other prompts"] = found.fitted.log_loss
    return figures


def _noted(figure: Measure, more: str) -> Measure:
    return Measure(figure.interval, figure.rows, "; ".join(filter(None, (figure.note, more))))


def _reliability(found: Calibrated) -> dict[str, Any]:
    sides = {"scores as they are": found.raw, "at fitted temperatures": found.fitted}
    return {
        name: {"points": side.point_rows(), "ece": side.ece.value} for name, side in sides.items() if side is not None
    }


def _plain(values: Floats) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def write_report(document: Mapping[str, Any], folder: str | Path) -> Path:
    """Write report.json into `folder`, made if need be. Raises CookbookError where it cannot be written."""
    path = Path(folder) / "report.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise CookbookError(f"{path} cannot be written ({error.strerror}); name another folder.") from None
    return path
