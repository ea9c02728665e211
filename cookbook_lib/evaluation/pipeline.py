"""The closing table of the pipeline: what each step was worth, beside the best possible where anybody knows it.

step            measure          before               after                    best possible
SFT             loss, answers    the base model       the tuned one            of the embedded world
Bradley-Terry   pairs in order   1/2: scores equal    the reward model         of the embedded world
                                 longer wins, bag of words: judges that understand nothing
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from cookbook_lib.config import Config
from cookbook_lib.data.records import Conversation, read_conversations
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs
from cookbook_lib.evaluation.benchmarks import BenchmarkResult, benchmark_named, evaluate
from cookbook_lib.evaluation.best_possible import best_order, least_loss
from cookbook_lib.evaluation.judge_report import JudgeReport
from cookbook_lib.evaluation.judges import Judge
from cookbook_lib.evaluation.measure import joined
from cookbook_lib.evaluation.open_judge import open_judge
from cookbook_lib.evaluation.sft import Comparison, figures

NOT_KNOWN = "–"
NOTHING = ("longer wins", "bag of words")


def pipeline_rows(
    sft: Config,
    bt: Config,
    summaries: Mapping[str, Mapping[str, Any]],
    answers: Comparison | None,
    report: JudgeReport | None,
    benchmarks: Sequence[BenchmarkResult],
    output: Path,
) -> list[dict[str, str]]:
    """The rows of the table. `output` gets them as JSON, with the summaries of both runs and the judge's whole report."""
    rows = [*_answer_rows(sft, answers), *_judge_rows(bt, report), *map(_benchmark_row, benchmarks)]
    document = {"rows": rows, "summaries": dict(summaries), "judge": report.as_json() if report else None}
    output.write_text(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    return rows


def on_benchmarks(
    checkpoint: str | Path | Judge,
    benchmarks: Mapping[str, Any],
    *,
    device: str = "auto",
    limit: int = -1,
    judges: Sequence[Judge] = (),
    trust_remote_code: bool = False,
    progress: Callable[[str, int, int], object] | None = None,
    seed: int = 0,
) -> list[BenchmarkResult]:
    """A judge, and the other `judges` beside it, on benchmarks: name -> file, folder, hub name, or None (as published).

    checkpoint: a judge, or the folder of one: a reward model, or a causal model that writes its verdicts (open_judge.py).
    seed: as benchmarks' evaluate has it.
    Raises CookbookError for a benchmark that is not known, or whose file is not one of its.
    """
    if not benchmarks:
        return []
    loaded = {name: benchmark_named(name).load(files, limit=limit) for name, files in benchmarks.items()}
    options: Any = {"device": device, "trust_remote_code": trust_remote_code}
    judge: Judge = open_judge(checkpoint, **options) if isinstance(checkpoint, str | Path) else checkpoint
    found = [
        evaluate(one, name, items, partial(progress, f"{one.name}: {name}") if progress else None, seed=seed)
        for name, items in loaded.items()
        for one in (judge, *judges)
    ]
    return [_in_part(result) if result.items == limit else result for result in found]


def _in_part(result: BenchmarkResult) -> BenchmarkResult:
    """Marked as a part, beside what was missing before."""
    said = f"of the first {result.items:,} rows alone: not to be compared with published figures"
    parts = {name: replace(part, incomplete=joined(part.incomplete, said)) for name, part in result.parts.items()}
    lacking = joined(result.incomplete, said)
    return replace(result, notes=(*result.notes, said), incomplete=lacking, parts=parts)


def _answer_rows(sft: Config, answers: Comparison | None) -> list[dict[str, str]]:
    if answers is None:
        return []
    best = {"loss per token": _least(sft, answers), "exact answers": 1.0 if _least(sft, answers) else None}
    return [
        _row(
            f"SFT: {figure.name}",
            figure.base.text(figure.spec) if figure.base else NOT_KNOWN,
            figure.checkpoint.text(figure.spec),
            _told(best[figure.name], figure.spec),
            figure.rows,
        )
        for figure in figures(answers)
        if figure.name in best
    ]


def _least(sft: Config, answers: Comparison) -> float | None:
    """The floor of the loss on the rows that were compared."""
    held_out: list[Conversation] = list(islice(read_conversations(_files(sft), report=Report()), len(answers.rows)))
    supervised = float(answers.checkpoint.losses.weight.sum())
    return least_loss(held_out, supervised) if len(held_out) == len(answers.rows) else None


def _judge_rows(bt: Config, report: JudgeReport | None) -> list[dict[str, str]]:
    if report is None:
        return []
    accuracy, log_loss = report.sections["accuracy"], report.sections["calibration"]["log loss"]
    ours = accuracy["pairs in order"]
    d = bt.data
    held_out = list(
        islice(
            read_pairs(
                _files(bt),
                prompt_key=d.prompt_key,
                chosen_key=d.chosen_key,
                rejected_key=d.rejected_key,
                report=Report(),
            ),
            ours.rows,
        )
    )
    best = _told(best_order(held_out), ".1%")
    found = [
        _row("Bradley-Terry: pairs in order", f"{0.5:.1%}", ours.text(".1%"), best, ours.rows),
        _row("Bradley-Terry: log loss", f"{0.693147:.3f}", log_loss.text(".3f"), NOT_KNOWN, log_loss.rows),
    ]
    return found + [
        _row(f"{name}, which understands nothing", "", accuracy[name].text(".1%"), best, accuracy[name].rows)
        for name in NOTHING
        if name in accuracy
    ]


def _benchmark_row(result: BenchmarkResult) -> dict[str, str]:
    return _row(result.name, "", result.whole.text(".1%"), "100.0%", None)


def _row(what: str, before: str, after: str, best: str, rows: int | None) -> dict[str, str]:
    counted = "" if rows is None else f"{rows:,}"
    return {"": what, "before": before, "after": after, "best possible": best, "rows": counted}


def _told(value: float | None, spec: str) -> str:
    return NOT_KNOWN if value is None else f"{value:{spec}}"


def _files(config: Config) -> Any:
    return config.data.val_files or []
