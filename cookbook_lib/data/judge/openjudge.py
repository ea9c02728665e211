"""OpenJudge's layout of judge data: what was asked and answered, with labels; a judge's prompt is made from it.

    input    [{role, content}]                              the conversation
    output   [{answer: {role, content, label}}]             one response, label {helpfulness: 3}         ─▶ a score
                                                            two of them, label {preference: "A"} in both ─▶ both orders
    source   "helpsteer2"

Reading is the converter of the same name (reward/converters/openjudge.py) and then a prompt of ours; writing takes such a
prompt apart again. Calls of tools are text in this layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.questions import preference_tasks, score_task
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.reward.converters.openjudge import from_openjudge
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord
from cookbook_lib.data.reward.registry import RewardOptions
from cookbook_lib.data.spellings import parsed

PREFIX = "openjudge/"  # what the converter puts before the source
LABEL = "helpfulness"


def tasks_of(row: dict[str, Any], origin: Origin, rubric: Rubric) -> tuple[JudgeTask, ...]:
    """The tasks in a row, which is named as their place; raises RowError where the row breaks the layout."""
    tasks: list[JudgeTask] = []
    for record in from_openjudge(row, "pairs" if _compares(row) else "scores", RewardOptions()):
        if isinstance(record, RowError):
            raise record
        tasks += _tasks(record, origin, rubric)
    return tuple(tasks)


def row_of(task: JudgeTask) -> dict[str, Any]:
    """The task as a row; raises RowError for one that is no verdict, or whose prompt is not ours."""
    found = quoted(task.prompt)
    if task.kind == "answer" or found is None:
        rule = "this layout holds scores and preferences that a prompt of this project asks for"
        text = task.prompt[-1].get("content")
        raise RowError("", 0, f"prompt of kind {task.kind}", text, rule, "write verl's layout").at(task.origin)
    label = {LABEL: task.truth} if task.kind == "score" else {"preference": task.truth}
    answers = [{"role": "assistant", "content": text, "label": label} for text in found.responses]
    return {
        "input": list(found.prompt),
        "output": [{"answer": answer} for answer in answers],
        "source": task.data_source.removeprefix(PREFIX),
    }


def _tasks(record: RewardRecord, origin: Origin, rubric: Rubric) -> tuple[JudgeTask, ...]:
    placed = replace(record, origin=origin)
    return preference_tasks(placed, rubric) if isinstance(placed, PreferencePair) else (score_task(placed, rubric),)


def _compares(row: Mapping[str, Any]) -> bool:
    """Whether any label says which response is better; what is wrong with the others, the converter says."""
    outputs = parsed("output", row["output"]) if isinstance(row["output"], str) else row["output"]
    listed = outputs if isinstance(outputs, list | tuple) else ()
    answers = [output.get("answer") for output in listed if isinstance(output, Mapping)]
    labels = [answer.get("label") for answer in answers if isinstance(answer, Mapping)]
    return any(isinstance(label, Mapping) and label.get("preference") is not None for label in labels)
