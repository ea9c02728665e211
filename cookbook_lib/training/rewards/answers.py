r"""Rewards of answers that can be checked: 1 where the stated answer is the true one, 0 where it is another.

    gsm8k         "#### 72" or "A: 72"         a number, compared as one: 1,000 is 1000.0
    char_count    "\boxed{3}"                   a number
    exact_match   "#### teal", "Answer: teal", "\boxed{teal}", or nothing more than "Teal."

The answer is in the last line of what follows the reasoning, and it is stated once: a text that repeats itself, hedges
or goes through the candidates states none. "Answer: \boxed{teal}" states one answer, "Answer: teal or \boxed{red}" two.
`data/truth.py`, by which evaluation asks whether a text contains the answer, is not strict enough to be paid by: a list
of all candidates contains it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.verdicts import final_part
from cookbook_lib.training.rewards.base import Sample, TaskCheck, refuse_task, said


def _braced(depth: int) -> str:
    r"""What stands between braces, with up to so many levels of braces in it: \sqrt{\frac{1}{2}} has two."""
    deeper = rf"(?:\{{{_braced(depth - 1)}\}}[^{{}}\n]*)*" if depth else ""
    return rf"[^{{}}\n]*{deeper}"


HASHES = re.compile(r"^[ \t]*####(?!#)(.*)$", re.MULTILINE)
LETTER = re.compile(r"^[ \t]*A:(.*)$", re.MULTILINE)
NEXT_LETTER = re.compile(r"^[ \t]*B:(.*)$", re.MULTILINE)
WORD = re.compile(r"^[ \t*]*(?:Final )?Answer\**:(.*)$", re.MULTILINE | re.IGNORECASE)
BOXED = re.compile(rf"\\boxed\{{({_braced(3)})\}}")
BOX_ALONE = re.compile(rf"[ \t\r*$]*{BOXED.pattern}[ \t\r*$.]*")
MARKS = (HASHES, WORD, BOXED)

NUMBER = re.compile(r"([-+\u2212]?)\$?((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)\.?")


def gsm8k(samples: Sequence[Sample]) -> list[float | None]:
    """The number after #### or A: is the true one. None: none is stated, or several are."""
    return [_equal_numbers(sample, read_solution) for sample in samples]


def char_count(samples: Sequence[Sample]) -> list[float | None]:
    r"""The number in \boxed{} is the true one. None: none is stated, or several are."""
    return [_equal_numbers(sample, read_count) for sample in samples]


def exact_match(samples: Sequence[Sample]) -> list[float | None]:
    """The stated answer is the true one, in any case and spacing, with or without a full stop. None: none is stated."""
    return [_equal_texts(sample) for sample in samples]


def read_solution(text: str) -> Decimal | None:
    """The number that a text states after #### or A:. Beside a number after B:, A: is a name in a list and no mark."""
    listed = _numbers(final_part(text), NEXT_LETTER)
    return read_number(text, HASHES) if listed else read_number(text, HASHES, LETTER)


def read_count(text: str) -> Decimal | None:
    r"""The number that a text states in \boxed{}."""
    return read_number(text, BOXED)


def read_number(text: str, *marks: re.Pattern[str]) -> Decimal | None:
    """The number that a text states as its answer: behind one of the marks, once, and in the last line."""
    part = final_part(text).rstrip()
    found = _numbers(part, *marks)
    return number(_bare(found[0][1])) if _is_the_end(found, part) else None


def read_text(text: str) -> str | None:
    """The answer that a text states in words: behind a mark, once, and in the last line; or its only line."""
    part = final_part(text).strip()
    found = _marked(part, *MARKS)
    if not found and "\n" not in part:
        return _bare(part) or None
    return _bare(found[0][1]) or None if _is_the_end(found, part) else None


def states_answer(text: str) -> bool:
    """Whether any of the rewards above reads an answer in it."""
    return any(read(text) is not None for read in (read_solution, read_count, read_text))


def number(text: str) -> Decimal | None:
    """The number that a text is, digits grouped by commas or not; None for anything more or else."""
    match = NUMBER.fullmatch(text.strip())
    return None if match is None else Decimal(("" if match[1] in ("", "+") else "-") + match[2].replace(",", ""))


def true_number(task: JudgeTask) -> Decimal:
    """The number that a task knows to be right. Raises RowError where it knows none."""
    truth = number(str(_truth(task)))
    if truth is None:
        refuse_task(task, "truth", task.truth, "this reward compares numbers", "take exact_match, or correct the row")
    return truth


def true_text(task: JudgeTask) -> str:
    """The answer that a task knows to be right, as it is compared. Raises RowError where no text can state it."""
    text = str(_truth(task))
    stated = read_text("#### " + " ".join(text.split()))
    if stated is None or not (truth := _comparable(stated)) or truth != _comparable(text):
        refuse_task(task, "truth", task.truth, "no text can state it as its one answer", "correct the row")
    return truth


def checks(truth: Callable[[JudgeTask], object]) -> TaskCheck:
    """Raises RowError for a task whose truth cannot be read so."""

    def check(tasks: Sequence[JudgeTask]) -> None:
        for task in tasks:
            truth(task)

    return check


def _equal_numbers(sample: Sample, read: Callable[[str], Decimal | None]) -> float | None:
    truth, stated = true_number(sample.task), read(said(sample))
    return None if stated is None else float(stated == truth)


def _equal_texts(sample: Sample) -> float | None:
    truth, stated = true_text(sample.task), read_text(said(sample))
    return None if stated is None else float(_comparable(stated) == truth)


def _numbers(part: str, *marks: re.Pattern[str]) -> list[re.Match[str]]:
    return [match for match in _marked(part, *marks) if number(_bare(match[1])) is not None]


def _marked(part: str, *marks: re.Pattern[str]) -> list[re.Match[str]]:
    """The statements. A box that is all of what another mark states is that one's."""
    found = [match for mark in marks for match in mark.finditer(part)]
    alone = (BOX_ALONE.fullmatch(part, *match.span(1)) for match in found)
    within = {box.start(1) for box in alone if box}
    return [match for match in found if match.start(1) not in within]


def _is_the_end(found: list[re.Match[str]], part: str) -> bool:
    """One statement in all, and it stands in the last line."""
    return len(found) == 1 and found[0].start() > part.rfind("\n")


def _bare(text: str) -> str:
    """Without blanks, bold, or a box around all of it."""
    box = BOX_ALONE.fullmatch(text)
    return _bare(box[1]) if box else text.strip(" \t\r*")


def _comparable(text: str) -> str:
    return _bare(" ".join(text.split())).casefold().rstrip(".")


def _truth(task: JudgeTask) -> str | int | float:
    if task.kind != "answer":
        refuse_task(task, "kind", task.kind, "this reward is for answers", "set reward.functions to what is asked")
    if not isinstance(task.truth, str | int | float):
        refuse_task(task, "truth", task.truth, "this reward compares texts and numbers", "take tool_call, or custom")
    return task.truth
