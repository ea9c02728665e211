"""Reading preference pairs and scored responses, ours and others'. What ours look like on disk is said in storage.py.

    train.parquet ──▶ rows ──▶ PreferencePair(prompt, chosen, rejected, margin, tie)      read_pairs
                           └─▶ ScoredResponse(prompt, response, {"score": 3.0})           read_scores

Files that we wrote are taken literally; in those of others a prompt or an answer may be text, messages or the JSON of
messages (dialogue.py). Reading streams, whatever the size of the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, Origin, RowError, refuse
from cookbook_lib.data.records import opening_group
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.dialogue import prompt_and_answers
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord, ScoredResponse
from cookbook_lib.data.reward.registry import user_turn
from cookbook_lib.data.sources import read_rows

Files = str | Path | Sequence[str | Path]
Record = TypeVar("Record", bound=RewardRecord)

OURS = {"source", "group", "origin"}  # columns of every file of ours


def read_pairs(
    files: Files,
    *,
    prompt_key: str = "prompt",
    chosen_key: str = "chosen",
    rejected_key: str = "rejected",
    limit: int = -1,
    report: Report | None = None,
) -> Iterator[PreferencePair]:
    """Stream the pairs of parquet or JSON Lines files, at most `limit` (-1: all).

    Columns `margin` (a number, 0 or more) and `tie` (true or false) are read where they are.
    report: rows that cannot be used are written there and left out; without one, the first of them raises RowError.
    Raises CookbookError for a file that is missing, empty or not what its name says.
    """

    def pair(row: dict[str, Any], origin: Origin) -> PreferencePair:
        prompt, (chosen, rejected) = _dialogue(row, prompt_key, chosen_key, rejected_key)
        margin, tie = _number(row, "margin"), _flag(row, "tie")
        return PreferencePair(prompt, chosen, rejected, margin, tie, origin, *_labels(row, prompt))

    return _read(files, pair, limit, report)


def read_scores(
    files: Files,
    *,
    prompt_key: str = "prompt",
    response_key: str = "response",
    attributes: Sequence[str] = ("score",),
    limit: int = -1,
    report: Report | None = None,
) -> Iterator[ScoredResponse]:
    """Stream the scored responses of parquet or JSON Lines files, at most `limit` (-1: all); see `read_pairs`.

    attributes: columns of numbers; a null says that this response has no such score, and one at least must be there.
    """

    def scored(row: dict[str, Any], origin: Origin) -> ScoredResponse:
        prompt, (response,) = _dialogue(row, prompt_key, response_key)
        scores = {name: value for name in attributes if (value := _number(row, name, required=True)) is not None}
        return ScoredResponse(prompt, response, scores, origin, *_labels(row, prompt))

    return _read(files, scored, limit, report)


def _read(
    files: Files, record_of: Callable[[dict[str, Any], Origin], Record], limit: int, report: Report | None
) -> Iterator[Record]:
    found = _records(files, record_of, Report.strict() if report is None else report)
    return found if limit < 0 else islice(found, limit)


def _records(files: Files, record_of: Callable[[dict[str, Any], Origin], Record], report: Report) -> Iterator[Record]:
    for origin, row in read_rows(files, report):
        try:
            record = record_of(row, origin)
        except RowError as error:
            report.refuse(error.at(origin))
            continue
        report.keep(origin)
        yield record


def _dialogue(row: Mapping[str, Any], prompt_key: str, *answer_keys: str) -> tuple[tuple[Message, ...], list[str]]:
    """Literally where we wrote the row: an answer of ours that happens to be JSON stays text."""
    if not row.keys() >= {*OURS, prompt_key, *answer_keys}:
        return prompt_and_answers(row, prompt_key, *answer_keys)
    exact, prompt = row.get(f"{prompt_key}_json"), row[prompt_key]
    answers = [row[key] for key in answer_keys]
    if exact:
        return tuple(json.loads(exact)), answers
    return user_turn(prompt) if isinstance(prompt, str) else tuple(prompt), answers


def _labels(row: Mapping[str, Any], prompt: tuple[Message, ...]) -> tuple[str, str | None]:
    group, source = row.get("group"), row.get("source")
    return (
        group if isinstance(group, str) else opening_group(prompt),
        source if isinstance(source, str) else None,
    )


def _number(row: Mapping[str, Any], name: str, required: bool = False) -> float | None:
    value = row.get(name, MISSING)
    if value is MISSING and required:
        columns = ", ".join(sorted(map(str, row)))
        refuse(name, value, f"it was named as an attribute (columns here: {columns})", "correct the attributes")
    if value is None or value is MISSING:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(name, value, "it must be a number", "write 3 or 3.0, or null where it is not known")
    return float(value)


def _flag(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    if not isinstance(value, bool | None):
        refuse(name, value, "it is true or false", "correct the column, or leave it out")
    return bool(value)
