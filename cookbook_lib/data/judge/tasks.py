"""Tasks as tokens, in memory: what a rollout is generated from, and whose truth it is checked against.

    files ─▶ tasks ─▶ chat template, with the header of the answer ─▶ ids (P,) ─▶ TaskSet
                                                     └─▶ longer than max_prompt_length: left out and counted, never cut

A prompt is as long as it is when rendered. What is cut from a judge's prompt is its end, which says what to answer: so it
is not cut, and both orders of a pair are left out together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.fingerprint import digest_of_rows, fingerprint
from cookbook_lib.data.judge.files import Files, read_tasks, up_to
from cookbook_lib.data.judge.orders import asked_together
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric
from cookbook_lib.data.prompt import prompt_ids
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.report import Report

TOO_LONG = "too_long"
SHOWN_PER_REASON = 3


@dataclass(frozen=True)
class TokenTask:
    """One task as tokens: ids (P,), up to and including the header of the answer."""

    ids: NDArray[np.int32]
    task: JudgeTask


@dataclass(frozen=True)
class TaskSet:
    """Tasks in the order of their rows, and what was left out."""

    items: tuple[TokenTask, ...]
    left_out: dict[str, tuple[int, tuple[str, ...]]]
    """reason -> how many, and where the first are"""
    fingerprint: str
    """equal for equal tasks, tokenizer, template and options"""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> TokenTask:
        return self.items[i]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each prompt, (n,)."""
        return np.array([len(item.ids) for item in self.items], np.int64)

    @cached_property
    def largest_id(self) -> int:
        """The largest token id of all prompts: a model needs more embeddings than that."""
        return max(int(item.ids.max(initial=0)) for item in self.items)

    @cached_property
    def partners(self) -> tuple[int | None, ...]:
        """For each task the number of the one that asks about the same pair in the other order, or None."""
        units = asked_together(item.task for item in self.items)
        other = {i: j for pair in units if len(pair) == 2 for i, j in (pair, pair[::-1])}
        return tuple(other.get(i) for i in range(len(self)))

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return {reason: count for reason, (count, _) in self.left_out.items()}

    def report(self) -> str:
        """What was kept, what was dropped, why, and where the first of each kind are."""
        kinds = Counter(item.task.kind for item in self.items)
        told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        lines = [
            f"{len(self):,} prompts ({told}), {int(self.lengths.sum()):,} tokens, at most {int(self.lengths.max()):,}"
        ]
        for reason, (count, first) in self.left_out.items():
            lines += [f"{count:,} dropped: {reason}", *(f"    {sentence}" for sentence in first)]
        return "\n".join(lines)


def tokenize_tasks(
    source: Files | Sequence[JudgeTask],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_length: int,
    limit: int = -1,
    rubric: Rubric | None = None,
    thinking: bool = False,
    progress: Callable[[int], object] | None = None,
) -> TaskSet:
    """Tokenise tasks, from files or as they are.

    max_prompt_length: tokens of the rendered prompt. limit: tasks at most, -1: all, and rubric: see `read_tasks`. thinking: see
    `prompt_ids`. progress: called with rows just done. Rows that cannot be used are left out and counted.
    Raises CookbookError when no prompt is left.
    """
    report, drops = Report(), Drops()
    given = _given(source, limit, rubric, report)
    kept: dict[int, TokenTask] = {}  # by row
    for pair in _pairs(given):
        try:
            kept |= {row: TokenTask(_ids(task, tokenizer, max_prompt_length, thinking), task) for row, task in pair}
        except RowRefused as refusal:
            drops.add(refusal.reason, len(pair), str(refusal))
        if progress:
            progress(len(pair))
    drops.account(report)
    if not kept:
        raise drops.nothing_left(source)
    items = [kept[row] for row in sorted(kept)]
    options = {"max_prompt_length": max_prompt_length, "thinking": thinking}
    name = fingerprint(tokenizer, options, digest_of_rows(item.task for item in items))
    return TaskSet(tuple(items), drops.summary(), name)


def _pairs(tasks: Iterable[JudgeTask]) -> list[list[tuple[int, JudgeTask]]]:
    """(row, task) of all that ask about one pair, wherever they stand in a file that was shuffled; every other alone."""
    pairs: dict[str | int, list[tuple[int, JudgeTask]]] = defaultdict(list)
    for row, task in enumerate(tasks):
        pairs[row if task.pair_id is None else task.pair_id].append((row, task))
    return list(pairs.values())


def both_orders(tasks: Iterable[JudgeTask]) -> Iterator[tuple[JudgeTask, ...]]:
    """Tasks that stand next to each other and ask about one pair, together; every other task alone."""
    numbered = enumerate(tasks)
    for _, members in groupby(numbered, key=lambda entry: entry[1].pair_id or entry[0]):
        yield tuple(task for _, task in members)


def too_long(task: JudgeTask, tokens: int, max_prompt_length: int) -> RowRefused:
    """The refusal of a prompt of so many tokens."""
    found = f"the prompt has {tokens:,} tokens, and at most {max_prompt_length:,} are allowed"
    return RowRefused(TOO_LONG, found, "raise data.max_prompt_length", task.origin)


class Drops:
    """Counts what is left out, and keeps the first sentences of each reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, count: int, sentence: str) -> None:
        """So many tasks are left out."""
        self.counts[reason] += count
        self.first[reason] = [*self.first[reason], sentence][:SHOWN_PER_REASON]

    def account(self, report: Report) -> None:
        """Enter what the reader of files left out."""
        for rule, count in report.reasons.items():
            for e in report.examples[rule][:SHOWN_PER_REASON]:
                sentence = f"{e['file']} row {e['row']}: {e['field']} is {e['found']}, but {e['rule']}; {e['fix']}"
                self.add(rule, 0, sentence)
            self.counts[rule] += count

    def summary(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """reason -> how many, and where the first are; the most frequent reason first."""
        return {reason: (count, tuple(self.first[reason])) for reason, count in self.counts.most_common()}

    def nothing_left(self, source: object) -> CookbookError:
        """The error of a source of which no task is left."""
        name = "the tasks given" if not isinstance(source, str | Path) else str(source)
        if not self.counts:
            return CookbookError(f"there is no task in {name}; give at least one")
        why = "; ".join(f"{count:,} x {reason}" for reason, count in self.counts.most_common())
        first = self.first[self.counts.most_common(1)[0][0]][0]
        return CookbookError(f"no prompt of {name} can be used ({why}); the first: {first}")


def _given(
    source: Files | Sequence[JudgeTask], limit: int, rubric: Rubric | None, report: Report
) -> Iterable[JudgeTask]:
    if not isinstance(source, str | Path) and all(isinstance(entry, JudgeTask) for entry in source):
        return up_to(limit, iter([entry for entry in source if isinstance(entry, JudgeTask)]), report)
    names = [source] if isinstance(source, str | Path) else [str(entry) for entry in source]
    return read_tasks([str(name) for name in names], rubric=rubric, limit=limit, report=report)


def _ids(task: JudgeTask, tokenizer: PreTrainedTokenizerBase, most: int, thinking: bool) -> NDArray[np.int32]:
    try:
        ids = np.array(prompt_ids(task.prompt, tokenizer, thinking=thinking), np.int32)
    except RowRefused as refusal:
        raise refusal.at(task.origin) from None
    if len(ids) > most:
        raise too_long(task, len(ids), most)
    return ids
