"""What ends the run of a generative judge: it, and the model that it started from, on the run's own held-out prompts.

    before, after ─▶ the same prompts, the likeliest text of each ─▶ agreement with the truth, side by side; the texts

Both are read from their folders, as anybody would, so the figures are of the model that was saved. One after the other: what was
trained still lies beside them. The files of validation rollouts hold the same texts as training saw them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cookbook_lib.config import Config
from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.evaluation.judge_report import JudgeReport, side_by_side
from cookbook_lib.evaluation.judges import key_of
from cookbook_lib.evaluation.open_judge import open_generative
from cookbook_lib.evaluation.panel import reports_on_tasks
from cookbook_lib.evaluation.transcripts import Statement

BEFORE, AFTER = "before", "after"
Said = dict[tuple[Any, ...], Statement]  # by what was asked


@dataclass(frozen=True)
class JudgesCompared:
    """A report each, and the texts of both to the same prompts."""

    reports: tuple[JudgeReport, ...]
    texts: tuple[tuple[JudgeTask, Statement, Statement], ...]

    def rows(self, *sections: str) -> list[dict[str, Any]]:
        """One dict a figure, with a column for each of the two; of all sections or of those named."""
        return side_by_side(self.reports, *sections)

    def samples(self, most: int) -> list[dict[str, str]]:
        """{prompt, before, after, truth} of up to `most` prompts: first those on which the verdict is another one."""
        changed = sorted(self.texts, key=lambda one: one[1].parsed == one[2].parsed)
        return [
            {"prompt": _judged(task), BEFORE: before.text, AFTER: after.text, "truth": str(task.truth)}
            for task, before, after in changed[:most]
        ]


def compare_judges(config: Config, before: Path, after: Path, tasks: Sequence[JudgeTask]) -> JudgesCompared:
    """Both models on `tasks`, one text a prompt, at most config.rollout.max_new_tokens tokens long, asked as the run asked
    (rollout.thinking, data.chat_template) and read as it read (judge.lowest and judge.highest, where a prompt has no scale).

    Raises CookbookError where no task asks for a verdict, and for folders that hold no language model.
    """
    report, first = _asked(config, BEFORE, before, tasks)
    other, second = _asked(config, AFTER, after, tasks)
    asked = [(task, (task.kind, key_of(task.prompt), 0)) for task in tasks]
    texts = [(task, first[key], second[key]) for task, key in asked if key in first and key in second]
    return JudgesCompared((report, other), tuple(texts))


def _asked(config: Config, name: str, folder: Path, tasks: Sequence[JudgeTask]) -> tuple[JudgeReport, Said]:
    """A judge's report and what it said. Its model goes before the next one comes."""
    judge = open_generative(
        folder,
        name=name,
        max_new_tokens=config.rollout.max_new_tokens,
        thinking=config.rollout.thinking,
        chat_template=config.data.chat_template,  # a base's folder does not know it
        scale=(config.judge.lowest, config.judge.highest) if config.recipe == "generative_pointwise" else None,
        device=config.trainer.device,
        trust_remote_code=config.model.trust_remote_code,
        keep=True,
    )
    [report] = reports_on_tasks([judge], tasks)
    return report, {one.asked: one for one in judge.transcript}


def _judged(task: JudgeTask) -> str:
    """What the judgement is about, without the frame that the judge is asked in; the whole prompt where it has another."""
    found = quoted(task.prompt)
    if found is None:
        return str(task.prompt[-1].get("content"))
    names = ["response"] if len(found.responses) == 1 else ["A", "B"]
    turns = [(str(message["role"]), str(message["content"])) for message in found.prompt]
    return "\n".join(f"{who}: {text}" for who, text in [*turns, *zip(names, found.responses, strict=True)])
