"""Judges of every kind on the same rows: a report each, one table of all, and what two that write have in common.

judges ─┬─▶ pairs   reports_on_pairs     accuracy, calibration, biases, probes, writing      ─▶ together(reports)
        ├─▶ scores  reports_on_scores    agreement with given scores                         ─▶ together(reports)
        ├─▶ tasks   reports_on_tasks     agreement with known verdicts, of those that write  ─▶ together(reports)
        └─▶ texts   drift_rows           how much longer each writes than the first does
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.judge_report import JudgeReport, side_by_side
from cookbook_lib.evaluation.judged_pairs import report_on
from cookbook_lib.evaluation.judged_tasks import judge_tasks, score_agreement
from cookbook_lib.evaluation.judges import Mark, answered, reasons
from cookbook_lib.evaluation.measure import counted
from cookbook_lib.evaluation.probes import probes
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.transcripts import write_transcript
from cookbook_lib.evaluation.writing import length_drift, writing

SCALE = "exact, off by and kappa suppose scores on the scale of the data; spearman does not"
OpenJudge = RewardJudge | GenerativeJudge
Watch = Callable[[str, int, int], object]  # what is asked, answers just finished, of how many


def reports_on_pairs(
    judges: Sequence[OpenJudge],
    pairs: Sequence[PreferencePair],
    *,
    training: Sequence[PreferencePair] = (),
    seed: int = 0,
    watch: Watch | None = None,
) -> list[JudgeReport]:
    """One report a judge; `training` is what a bag of words learns from."""
    return [_on_pairs(judge, pairs, training, seed, watch) for judge in judges]


def reports_on_scores(
    judges: Sequence[OpenJudge], responses: Sequence[ScoredResponse], *, seed: int = 0, watch: Watch | None = None
) -> list[JudgeReport]:
    """One report a judge: its scores of single answers beside those of the data (the attribute `score`)."""
    shown = [answered(one.prompt, one.response) for one in responses]
    groups = [one.group or repr(one.prompt) for one in responses]
    truth = [one.scores["score"] for one in responses]
    found = []
    for judge in judges:
        _watched(judge, "scores", len(shown), watch)
        before = judge.mark()
        sections = {"scores": score_agreement(judge.score(shown), truth, groups=groups, seed=seed)}
        judge.progress = None
        if isinstance(judge, GenerativeJudge):
            sections["writing"] = writing(judge, since=before, seed=seed)
        found.append(JudgeReport(judge.name, sections, {}, (SCALE, *unscored(judge, before))))
    return found


def reports_on_tasks(
    judges: Sequence[OpenJudge], tasks: Sequence[JudgeTask], *, seed: int = 0, watch: Watch | None = None
) -> list[JudgeReport]:
    """One report for each judge that writes: the others cannot be asked in somebody else's words."""
    found = []
    for judge in (one for one in judges if isinstance(one, GenerativeJudge)):
        _watched(judge, "tasks", len(tasks) * judge.votes, watch)
        before = judge.mark()
        sections = judge_tasks(judge, tasks, seed=seed)
        judge.progress = None
        notes = (f"{judge.name} {judge.about}; here each prompt as it was prepared", *unscored(judge, before))
        found.append(JudgeReport(judge.name, sections, {}, notes))
    return found


def marks(judges: Sequence[OpenJudge]) -> list[Mark]:
    """How much each judge has said so far."""
    return [judge.mark() for judge in judges]


def reports_on_writing(judges: Sequence[OpenJudge], since: Sequence[Mark], *, seed: int = 0) -> list[JudgeReport]:
    """One report for each judge that wrote something since a mark (benchmarks say nothing of how it was written)."""
    return [
        JudgeReport(judge.name, {"writing": writing(judge, since=mark, seed=seed)}, {}, tuple(unscored(judge, mark)))
        for judge, mark in zip(judges, since, strict=True)
        if isinstance(judge, GenerativeJudge) and len(judge.judgements) > mark.judgements
    ]


def together(reports: Sequence[JudgeReport]) -> list[dict[str, Any]]:
    """Rows of a table: a column for each judge where there are several."""
    return reports[0].rows() if len(reports) == 1 else side_by_side(reports)


def drift_rows(judges: Sequence[OpenJudge], *, seed: int = 0) -> list[dict[str, Any]]:
    """One dict a figure for each judge that keeps its texts but the first, beside which it is put; [] without a second one."""
    writers = [judge for judge in judges if isinstance(judge, GenerativeJudge) and judge.transcript]
    return [
        {"judge": judge.name, "beside": writers[0].name, "measure": name, "value": figure.text(), "note": figure.note}
        for judge in writers[1:]
        for name, figure in length_drift(writers[0].transcript, judge.transcript, seed=seed).items()
    ]


def unscored(judge: OpenJudge, since: Mark) -> list[str]:
    """What a reader must know of what a judge could not be asked since a mark, however often it came up."""
    why = reasons(judge.refused[since.refused :])
    if not why:
        return []
    if isinstance(judge, GenerativeJudge):
        return [f"{counted(len(why), 'prompt')} that {judge.name} could not be asked; the first: {why[0]}"]
    return [f"{counted(len(why), 'answer')} of {judge.name} without a score; the first: {why[0]}"]


def write_transcripts(judges: Sequence[OpenJudge], folder: Path) -> list[Path]:
    """transcript.parquet, or transcript-1.parquet and so on: all that the judges wrote which keep their texts."""
    kept = [judge for judge in judges if isinstance(judge, GenerativeJudge) and judge.transcript]
    names = ["transcript"] if len(kept) == 1 else [f"transcript-{n}" for n in range(1, len(kept) + 1)]
    return [
        write_transcript(judge.transcript, folder / f"{name}.parquet") for judge, name in zip(kept, names, strict=True)
    ]


def _on_pairs(
    judge: OpenJudge,
    pairs: Sequence[PreferencePair],
    training: Sequence[PreferencePair],
    seed: int,
    watch: Watch | None,
) -> JudgeReport:
    votes = judge.votes if isinstance(judge, GenerativeJudge) else 1
    _watched(judge, "pairs", 2 * len(pairs) * votes, watch)

    before, lacking = judge.mark(), list[str]()

    def more() -> dict[str, Any]:
        judge.progress = None  # probes ask as much again, and nobody has counted how much
        lacking.extend(unscored(judge, before))  # of the pairs; what probes could not ask, their own figures say
        return probes(judge, pairs, seed=seed)

    found = report_on(judge, pairs, training=training, more=more, seed=seed)
    if isinstance(judge, GenerativeJudge):
        found = replace(found, notes=(*found.notes, f"{judge.name} {judge.about}"))
    return replace(found, notes=(*found.notes, *judge.notes, *lacking))


def _watched(judge: OpenJudge, what: str, total: int, watch: Watch | None) -> None:
    if watch is not None:
        judge.progress = lambda done: watch(f"{judge.name}: {what}", done, total)
