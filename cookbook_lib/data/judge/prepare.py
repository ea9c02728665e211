"""From raw rows to train.parquet and test.parquet of tasks: prompts for reinforcement learning, with their truths.

    score-judge        scored responses ─▶ how good is it?                   every source that makes scores
    preference-judge   pairs            ─▶ which is better?, in both orders  every source that makes pairs
    answers            conversations whose right answer is known ─▶ the question itself: gsm8k, char_count, embedded

Pairs and scores are prepared as for reward models (data/reward/prepare.py: contamination, ties, filters, duplicates), and
then each becomes one task or two. Everything about one opening question stays on one side of the split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from cookbook_lib.data import quality
from cookbook_lib.data.catalog import SOURCES
from cookbook_lib.data.conversion import converted
from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.judge.job import MADE_OF, TaskJob, rubric_for, scale_for
from cookbook_lib.data.judge.orders import prompt_text
from cookbook_lib.data.judge.questions import Scale, answer_task, preference_tasks, score_task
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric
from cookbook_lib.data.judge.storage import answer_writer, verdict_writer
from cookbook_lib.data.judge.tasks import both_orders
from cookbook_lib.data.lengths import Lengths, tokenizer_at
from cookbook_lib.data.origin import Origin, RowError, shown
from cookbook_lib.data.prepare import Tally, check_preparation, make_folder, passed, rows_of, write_splits
from cookbook_lib.data.prompt import prompt_ids
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.figures import Figures
from cookbook_lib.data.reward.prepare import (
    checked_reward,
    conversations_of,
    digest_of_record,
    records_of,
    stratum_of_record,
)
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord
from cookbook_lib.data.sources import source_named

UNIT = "prompts"
ANY_RESPONSE = Options(min_correctness=0)  # an answer is known whether or not the response gives it


def prepare_tasks(job: TaskJob) -> dict[str, Any]:
    """Run the job and return the content of report.json. Raises CookbookError where nothing can be written."""
    return _prepare_answers(job) if job.ask == "answers" else _prepare_verdicts(job)


def _prepare_verdicts(job: TaskJob) -> dict[str, Any]:
    source, converter, kind = checked_reward(replace(job, kind=MADE_OF[job.ask]))
    rubric, scale = rubric_for(job), scale_for(job, converter) if kind == "scores" else None
    contamination = job.contamination()
    make_folder(job.output)
    report, figures, truths = Report(job.output / "dropped.jsonl", unit=UNIT), Figures(), Counter[str]()
    duplicates: quality.Duplicates[Any] = quality.Duplicates(digest_of_record)  # two records make no equal tasks
    records = records_of(job, source, converter, kind, report, contamination)
    sifted = passed(records, job, Tally(report, Lengths(), duplicates, stratum_of_record, conversations_of))
    asked = _asked(sifted, rubric, scale, figures, report)
    tasks = fitting(named_apart(asked) if job.keep_duplicates else asked, job, report)
    tally = Tally(report, Lengths(job.tokenizer), duplicates, stratum_of_task, conversations_of_task, counter(truths))

    def facts() -> dict[str, Any]:
        said: dict[str, Any] = {"converter": converter.name, "kind": job.ask, "unit": UNIT, "rubric": rubric.title}
        said |= {"options": vars(job.options), **figures.summary(), "truths": dict(truths.most_common())}
        return said | {"benchmarks": contamination.summary()} if contamination else said

    sieved = replace(job, filters=(), keep_duplicates=True)  # the records were
    return write_splits(sieved, tally, tasks, verdict_writer, facts)


def _prepare_answers(job: TaskJob) -> dict[str, Any]:
    source = source_named(job.source, SOURCES)
    converter = converter_named(job.converter or source.converter)
    check_preparation(job, source)
    make_folder(job.output)
    report = Report(job.output / "dropped.jsonl", unit=UNIT)
    conversations = converted(rows_of(job, source, report), converter, ANY_RESPONSE, report)
    asked = _questions(conversations, job.instruction, report)
    duplicates: quality.Duplicates[JudgeTask] = quality.Duplicates(digest_of_task)
    tally = Tally(report, Lengths(job.tokenizer), duplicates, stratum_of_task, conversations_of_task)

    def facts() -> dict[str, Any]:
        return {"converter": converter.name, "kind": job.ask, "unit": UNIT, "instruction": job.instruction}

    return write_splits(job, tally, fitting(asked, job, report), answer_writer, facts)


def _asked(
    records: Iterable[RewardRecord], rubric: Rubric, scale: Scale | None, figures: Figures, report: Report
) -> Iterator[JudgeTask]:
    """Records -> tasks, both orders of a pair next to each other; a score off the scale goes to the report."""
    for record in records:
        try:
            made = _tasks(record, rubric, scale)
        except RowError as error:
            _drop(error, record.origin, report)
        else:
            figures.add(record)
            yield from made


def _tasks(record: RewardRecord, rubric: Rubric, scale: Scale | None) -> tuple[JudgeTask, ...]:
    return (
        preference_tasks(record, rubric) if isinstance(record, PreferencePair) else (score_task(record, rubric, scale),)
    )


def _questions(conversations: Iterable[Conversation], instruction: str | None, report: Report) -> Iterator[JudgeTask]:
    for conversation in conversations:
        try:
            yield answer_task(conversation, instruction)
        except RowError as error:
            _drop(error, conversation.origin, report)


def fitting(tasks: Iterable[JudgeTask], job: TaskJob, report: Report) -> Iterator[JudgeTask]:
    """The tasks whose prompts, rendered, have at most job.max_prompt_length tokens; a pair stays or goes as a whole."""
    if job.max_prompt_length is None:
        yield from tasks
        return
    tokenizer = tokenizer_at(str(job.tokenizer))
    for pair in both_orders(tasks):
        tokens = max(len(prompt_ids(task.prompt, tokenizer)) for task in pair)
        if tokens <= job.max_prompt_length:
            yield from pair
        for task in pair if tokens > job.max_prompt_length else ():
            report.drop(task.origin, f"longer than {job.max_prompt_length:,} tokens when rendered", found=tokens)


def named_apart(tasks: Iterable[JudgeTask]) -> Iterator[JudgeTask]:
    """The tasks, a pair that came before under a name of its own: a name is shared by two orders, and by no more."""
    times: Counter[str] = Counter()
    for pair in both_orders(tasks):
        name = pair[0].pair_id
        if name is None:
            yield from pair
            continue
        for first in range(0, len(pair), 2):
            times[name] += 1
            own = name if times[name] == 1 else f"{name}-{times[name]}"
            yield from (replace(task, pair_id=own) for task in pair[first : first + 2])


def stratum_of_task(task: JudgeTask) -> str:
    """What must be represented on both sides: where a task is from, and what is right; of a pair, only whether it is a tie."""
    return f"{task.data_source}/{task.truth}" if task.kind == "score" else f"{task.data_source}/{task.truth == 'tie'}"


def conversations_of_task(task: JudgeTask) -> tuple[Conversation, ...]:
    """The prompt, whose length is counted."""
    return (Conversation(task.prompt),)


def digest_of_task(task: JudgeTask) -> bytes:
    """16 bytes: the prompt and its truth."""
    return hashlib.blake2b(f"{prompt_text(task.prompt)}\x1f{task.truth}".encode(), digest_size=16).digest()


def counter(truths: Counter[str]) -> Any:
    """What counts the truths of tasks that are kept: the most frequent one is what a judge that never reads would say."""
    return lambda task: truths.update([str(task.truth)])


def _drop(error: RowError, origin: Origin | None, report: Report) -> None:
    report.drop(origin, error.rule, field=error.field, found=shown(error.found), fix=error.fix)
