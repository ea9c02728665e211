"""Tasks in parquet, as preparation streams them: verl's columns (verl.py), with a schema that is known beforehand.

    data_source · prompt · ability · reward_model {style, ground_truth} · extra_info {index, origin, ...}

`index` counts the tasks that were kept, over train and test together; `origin` is the row that a task was made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from cookbook_lib.data.judge import verl
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.parquet import RecordWriter
from cookbook_lib.data.reward.storage import MESSAGES, TEXT

PLACE = [("index", pa.int64()), ("origin", TEXT)]
WORDING = [("rubric", TEXT), ("prompt_version", pa.int64())]
JUDGE = pa.struct([(name, TEXT) for name in ("kind", "pair_id", "order", "group")])


def schema_of(extra: list[tuple[str, pa.DataType]]) -> pa.Schema:
    """verl's columns with this extra_info, and the group by which preparation divides the rows."""
    truth = pa.struct([("style", TEXT), ("ground_truth", TEXT)])
    columns = [("data_source", TEXT), ("prompt", MESSAGES), ("ability", TEXT), ("reward_model", truth)]
    return pa.schema([*columns, ("extra_info", pa.struct(extra)), ("group", TEXT)])


VERDICTS = schema_of([*PLACE, *WORDING, ("judge", JUDGE)])
ANSWERS = schema_of(PLACE)


class TaskWriter(RecordWriter[JudgeTask]):
    """Writes tasks whose truths and messages are text."""

    def row_of(self, record: JudgeTask) -> dict[str, Any]:
        _check_plain(record)
        row = verl.row_of(record)
        place = {"index": self.rows, "origin": str(record.origin) if record.origin else None}
        return row | {"extra_info": place | row.get("extra_info", {}), "group": record.group}

    def finished(self, table: pa.Table) -> pa.Table:
        return table.drop_columns(["group"])  # a verdict's is in extra_info.judge, an answer's follows from its prompt


def verdict_writer(path: Path) -> TaskWriter:
    """A writer of scores and preferences."""
    return TaskWriter(path, VERDICTS)


def answer_writer(path: Path) -> TaskWriter:
    """A writer of tasks with known answers."""
    return TaskWriter(path, ANSWERS)


def _check_plain(task: JudgeTask) -> None:
    """What does not fit the schema would be lost without a word."""
    for number, message in enumerate(task.prompt):
        if message.keys() - {"role", "content"}:
            found, rule = sorted(message), "a prompt in this layout is made of role and content"
            refuse(f"prompt[{number}]", found, rule, "leave out conversations that call tools")
    if task.kind == "answer" and not isinstance(task.truth, str):
        refuse("answer", task.truth, "an answer is text here", "write it as a string")
