"""The prompts and answers of benchmark files, whatever their benchmark calls them.

    prompt               RewardBench, RewardBench 2, RM-Bench      question    JudgeBench
    conversation_input   RMB, in messages                          input       LLMBar

Only texts are taken, for comparing training data with them; which answer is better is none of a training's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, Origin, RowError, refuse
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.dialogue import messages_in
from cookbook_lib.data.reward.registry import user_turn
from cookbook_lib.data.sources import read_rows
from cookbook_lib.data.spellings import normalise

PROMPTS = ("prompt", "question", "conversation_input", "input")
ANSWERS = (
    ("chosen", "rejected"),
    ("response_A", "response_B"),
    ("output_1", "output_2"),
    ("chosen", "reject"),
    ("bon_best", "loser_list"),
)
TEXT_KEYS = ("answer", "content", "text")


class BenchmarkText(NamedTuple):
    """One row of a benchmark: what is asked, and all answers to it."""

    benchmark: str
    origin: Origin
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]


def benchmark_texts(name: str, files: str | Path | Sequence[str | Path]) -> Iterator[BenchmarkText]:
    """The rows of one benchmark's files; raises RowError for a row without a prompt or answers, CookbookError for no file."""
    inputs = [str(file) for file in ([files] if isinstance(files, str | Path) else files)]
    for origin, row in read_rows(inputs, Report.strict()):
        try:
            yield BenchmarkText(name, origin, _prompt(row), tuple(_answers(row)))
        except RowError as error:
            raise error.at(origin) from None


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    name = next((name for name in PROMPTS if row.get(name)), None)
    if name is None:
        rule = f"a benchmark's row has one of them (columns here: {', '.join(row)})"
        refuse(" or ".join(PROMPTS), MISSING, rule, "rename its prompt to `prompt`")
    value = messages_in(row[name])
    return user_turn(value) if isinstance(value, str) else normalise(value)


def _answers(row: Mapping[str, Any]) -> Iterator[str]:
    names = next((names for names in ANSWERS if all(name in row for name in names)), None)
    if names is None:
        known = ", ".join(" and ".join(names) for names in ANSWERS)
        refuse("answers", MISSING, f"a benchmark's row has {known}", "rename its answers to `chosen` and `rejected`")
    for name in names:
        yield from _texts(name, row[name])


def _texts(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(f"{field}[{index}]", item)
    else:
        text = next((value[key] for key in TEXT_KEYS if key in value), None) if isinstance(value, Mapping) else None
        if not isinstance(text, str):
            refuse(
                field,
                value,
                "an answer is text, or an object that holds it in `answer`",
                "correct the benchmark's file",
            )
        yield text
