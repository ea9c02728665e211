"""Reading and writing tasks: ours, which are verl's layout (verl.py), those of others in it, and OpenJudge's (openjudge.py).

    train.parquet ──▶ rows ──▶ JudgeTask(prompt, kind, truth, ...)  ──▶ other.parquet, other.jsonl

Reading streams, whatever the size of the file. A written file appears under its name when it is whole.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge import openjudge, verl
from cookbook_lib.data.judge.records import ORDERS, JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric
from cookbook_lib.data.origin import MISSING, Origin, RowError, refuse, shown
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import read_rows

Files = str | Path | Sequence[str | Path]
Layout = Literal["verl", "openjudge"]

CUT = "half a pair at the limit"
HALF, EVEN = "the other order of its pair is beyond the limit", "make data.train_max_samples or val_max_samples even"


def read_tasks(
    files: Files, *, rubric: Rubric | None = None, limit: int = -1, report: Report | None = None
) -> Iterator[JudgeTask]:
    """Stream the tasks of parquet or JSON Lines files, at most `limit` (-1: all), and no half pair for its sake.

    rubric: asks for the verdicts on OpenJudge's rows; None is the project's own. Other rows were asked by whoever wrote them.
    report: rows that cannot be used are written there and left out; without one, the first of them raises RowError.
    Raises CookbookError for a file that is missing, empty or not what its name says.
    """
    report = Report.strict() if report is None else report
    return up_to(limit, _tasks(files, rubric or load_rubric(), report), report)


def up_to(limit: int, tasks: Iterator[JudgeTask], report: Report) -> Iterator[JudgeTask]:
    """The first `limit` tasks, -1: all; less the last, where the other order of its pair would be the next one.

    It would be asked in one order only, which rewards and figures of pairs refuse. What is left out is told to the report.
    """
    if limit < 0:
        yield from tasks
        return
    asked: Counter[tuple[str | None, str | None]] = Counter()
    for number, task in enumerate(islice(tasks, limit), start=1):
        asked[task.pair_id, task.order] += 1
        if number == limit and _is_half(task, asked) and _is_other_order(task, next(tasks, None)):
            report.drop(task.origin, CUT, field="pair_id", found=shown(task.pair_id), rule=HALF, fix=EVEN)
        else:
            yield task


def _is_half(task: JudgeTask, asked: Counter[tuple[str | None, str | None]]) -> bool:
    """Whether its pair was asked more often in its order than in the other."""
    counts = [asked[task.pair_id, order] for order in ORDERS]
    return task.pair_id is not None and asked[task.pair_id, task.order] == max(counts) > min(counts)


def _is_other_order(task: JudgeTask, other: JudgeTask | None) -> bool:
    return other is not None and other.pair_id == task.pair_id and other.order != task.order


def write_tasks(path: str | Path, tasks: Iterable[JudgeTask], layout: Layout = "verl") -> int:
    """Write tasks to a .parquet or .jsonl file and return how many rows that made; they are held in memory until then.

    openjudge: one row for both orders of a pair; the prompts must be ours. Raises RowError for a task that the layout
    cannot hold, and CookbookError for a file that cannot be written.
    """
    if layout not in ("verl", "openjudge"):
        raise CookbookError(f"layout {layout!r} is not known; choose verl or openjudge")
    row_of = verl.row_of if layout == "verl" else openjudge.row_of
    rows = [row_of(task) for task in (tasks if layout == "verl" else _one_of_each_pair(tasks))]
    _publish(Path(path), rows)
    return len(rows)


def _tasks(files: Files, rubric: Rubric, report: Report) -> Iterator[JudgeTask]:
    for origin, row in read_rows(files, report):
        try:
            made = tasks_in_row(row, origin, rubric)
        except RowError as error:
            report.refuse(error.at(origin))
            continue
        for task in made:
            report.keep(origin)
            yield task


def tasks_in_row(row: dict[str, Any], origin: Origin, rubric: Rubric) -> tuple[JudgeTask, ...]:
    """The tasks in a row of any layout; raises RowError where it breaks a rule."""
    if "input" in row and "output" in row:
        return openjudge.tasks_of(row, origin, rubric)
    if "prompt" in row and "reward_model" in row:
        return (verl.task_of(row, origin),)
    return _no_task(row)


def _no_task(row: dict[str, Any]) -> NoReturn:
    columns = ", ".join(sorted(map(str, row))) or "none"
    rule = f"a task has verl's prompt and reward_model, or OpenJudge's input and output (columns here: {columns})"
    missing = "reward_model" if "prompt" in row else "prompt"
    refuse(missing, MISSING, rule, "prepare the file with scripts/prepare_reward_data.py")


def _one_of_each_pair(tasks: Iterable[JudgeTask]) -> Iterator[JudgeTask]:
    """The tasks without those that only ask about an earlier pair in the other order."""
    seen: set[str] = set()
    for task in tasks:
        if task.pair_id is None or task.pair_id not in seen:
            yield task
        if task.pair_id is not None:
            seen.add(task.pair_id)


def _publish(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows under a temporary name, and then give the file its own."""
    if not rows:
        raise CookbookError(f"there is no task to write to {path}; give at least one")
    if path.suffix not in (".parquet", ".jsonl"):
        raise CookbookError(f"{path} has no ending that is written; name it .parquet or .jsonl")
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (_write_parquet if path.suffix == ".parquet" else _write_lines)(partial, rows)
        os.replace(partial, path)
    except OSError as error:
        raise CookbookError(f"cannot write {path} ({error.strerror or error}); choose another place") from None
    except (pa.ArrowException, TypeError, ValueError) as error:
        found = str(error).splitlines()[0]
        raise CookbookError(f"cannot write {path}: its rows do not fit one table ({found}); write .jsonl") from None
    finally:
        partial.unlink(missing_ok=True)


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Columns are those of all rows together, in the order in which they first come."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
