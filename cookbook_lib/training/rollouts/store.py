"""A round on disk: what was asked, answered and earned, to be looked at; and the numbers to be learned from, to go on from.

    <run>/rollouts/round_00000012.parquet           one row a completion, in order
        round · group · row · data_source · truth · prompt · completion          to look at
        reward, parsed, finished, length, ...                                    numbers of the completion
        kept                                                                     False: left out, its group had no spread
        prompt_ids · completion_ids · advantages · old_logps · ref_logps · ...   one a token; null where left out
    <run>/rollouts/validation_00000100.parquet      the same of a validation, after step 100

A file appears under its name when it is whole. `made_by` says what a round came from (settings and weights): a run that goes on
reads its own rounds, and no other's. Floats are stored as they are, so it goes on bit for bit.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import COLUMNS, Group
from cookbook_lib.training.rollouts.judging import Answered

FOLDER = "rollouts"
KEY = b"cookbook.rollouts"
TOKENS = {"prompt_ids": pa.int32(), "completion_ids": pa.int32()} | dict.fromkeys(COLUMNS, pa.float32())


@dataclass(frozen=True)
class Round:
    """What the updates of one round learn from."""

    number: int
    groups: tuple[Group, ...]
    seconds: float  # that it took to make
    settings: str = ""  # what it came from, beside weights
    weights: int = -1  # of the policy that answered: weights.weights_sum


def round_file(run: Path, number: int) -> Path:
    return run / FOLDER / f"round_{number:08d}.parquet"


def validation_file(run: Path, step: int) -> Path:
    return run / FOLDER / f"validation_{step:08d}.parquet"


def write_round(path: Path, made: Round, answered: Sequence[Answered]) -> None:
    """Write the round: its groups, and beside them those of `answered` that are not among them. Raises CookbookError."""
    kept = {group.number: group for group in made.groups}
    rows = [row for one in answered for row in _rows(made.number, one, kept.get(one.group.number))]
    about = {"round": made.number, "seconds": made.seconds, "settings": made.settings, "weights": made.weights}
    table = pa.Table.from_pylist(rows, schema=_schema(rows, about))
    partial = path.with_name(f".writing-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CookbookError(
            f"{path} cannot be written ({error.strerror or error}): make room, or set rollout.save=false."
        ) from None


def read_round(path: Path) -> Round | None:
    """A round as it was written, of the groups that were kept; None where there is no file, or none that is whole."""
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[KEY])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    rows = [row for row in _arrays(table) if row["kept"]]
    stats = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if kind == pa.float64()]
    groups = tuple(_group(list(own), stats) for _, own in groupby(rows, key=lambda row: row["group"]))
    return Round(about["round"], groups, about["seconds"], about["settings"], about["weights"])


def _rows(number: int, one: Answered, kept: Group | None) -> list[dict[str, Any]]:
    group = kept or one.group
    return [
        {
            "round": number,
            "group": group.number,
            "row": group.row,
            "data_source": _writable(one.task.data_source),
            "truth": _writable(json.dumps(one.task.truth, ensure_ascii=False, default=str)),
            "prompt": one.prompt,
            "completion": text,
            "kept": kept is not None,
            "finished": group.finished[i],
            "prompt_ids": group.prompt,
            "completion_ids": group.completions[i],
        }
        | {name: own[i] for name, own in group.stats.items() if name != "finished"}
        | {name: group.columns[name][i] for name in COLUMNS if name in group.columns}
        for i, text in enumerate(one.texts)
    ]


def _writable(text: str) -> str:
    """Half a surrogate pair is spelled, as JSON spells it: a parquet file holds no such character."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _schema(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> pa.Schema:
    kinds: dict[str, Any] = {"round": pa.int64(), "group": pa.int64(), "row": pa.int64()}
    kinds |= dict.fromkeys(("data_source", "truth", "prompt", "completion"), pa.string())
    kinds |= {"kept": pa.bool_(), "finished": pa.bool_()}
    names = dict.fromkeys(name for row in rows for name in row)
    fields = [(name, kinds.get(name) or (pa.list_(TOKENS[name]) if name in TOKENS else pa.float64())) for name in names]
    return pa.schema(fields, metadata={KEY: json.dumps(about).encode()})


def _arrays(table: pa.Table) -> list[dict[str, Any]]:
    """Rows whose lists are numpy arrays."""
    columns: dict[str, Sequence[Any]] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        columns[name] = column.to_numpy(zero_copy_only=False) if name in TOKENS else column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _group(rows: list[dict[str, Any]], stats: Sequence[str]) -> Group:
    first = rows[0]
    columns = [name for name in COLUMNS if first.get(name) is not None]
    finished = tuple(row["finished"] for row in rows)
    known = [name for name in stats if first[name] is not None]
    return Group(
        row=first["row"],
        prompt=np.array(first["prompt_ids"], np.int32),
        completions=tuple(np.array(row["completion_ids"], np.int32) for row in rows),
        finished=finished,
        number=first["group"],
        columns={name: tuple(np.array(row[name], np.float32) for row in rows) for name in columns},
        stats={name: tuple(row[name] for row in rows) for name in known} | {"finished": tuple(map(float, finished))},
    )
