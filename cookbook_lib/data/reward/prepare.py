"""From raw rows to train.parquet and test.parquet of pairs or scores: the preparation of data/prepare.py, for rewards.

    rows ─▶ gather, convert ─▶ contamination ─▶ ties, gaps ─▶ filters, duplicates ─▶ split by prompt ─▶ train, test

A filter judges a conversation, so it judges a pair twice: its prompt with either answer. A pair is a duplicate when prompt,
chosen and rejected came before, whatever the margin; a pair that prefers the other of the same two answers is kept, as
people do disagree, and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data import quality
from cookbook_lib.data.lengths import Lengths
from cookbook_lib.data.prepare import Preparation, Tally, check_preparation, make_folder, rows_of, write_splits
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.catalog import REWARD_SOURCES
from cookbook_lib.data.reward.conversion import converted_rewards, kept_pairs, uncontaminated
from cookbook_lib.data.reward.decontamination import Contamination
from cookbook_lib.data.reward.figures import Figures
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord
from cookbook_lib.data.reward.registry import (
    Kind,
    RewardConverter,
    RewardOptions,
    check_reward_options,
    kind_for,
    reward_converter_named,
)
from cookbook_lib.data.reward.storage import pair_writer, score_writer
from cookbook_lib.data.sources import Source, source_named

KEPT_TIE = "as ties, of which neither answer is better"
OPPOSED = "although an earlier pair prefers the other answer"


@dataclass(frozen=True)
class RewardJob(Preparation):
    """One preparation of reward data: what the command line says, in types."""

    kind: Kind | None = None
    """pairs or scores; None is what the source makes first"""
    options: RewardOptions = field(default_factory=RewardOptions)
    decontaminate: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """benchmarks by name, and their files: what they ask is left out"""
    decontaminate_answers: bool = False
    """what shares its words with a benchmark's answer is left out as well"""

    def contamination(self) -> Contamination | None:
        """What finds the benchmarks' texts; None where none is named. Raises CookbookError for answers of no benchmark."""
        if self.decontaminate_answers and not self.decontaminate:
            raise CookbookError(
                "--decontaminate-answers has no effect without a benchmark; give --decontaminate NAME=FILE"
            )
        return Contamination.of(self.decontaminate, answers=self.decontaminate_answers) if self.decontaminate else None


def prepare_reward(job: RewardJob) -> dict[str, Any]:
    """Run the job and return the content of report.json. Raises CookbookError where nothing can be written."""
    source, converter, kind = checked_reward(job)
    contamination = job.contamination()
    make_folder(job.output)
    report, figures = Report(job.output / "dropped.jsonl", unit=kind), Figures()
    duplicates = quality.Duplicates(digest_of_record)

    def notice(record: RewardRecord) -> None:
        figures.add(record)
        if isinstance(record, PreferencePair) and record.tie:
            report.repair(KEPT_TIE)
        elif isinstance(record, PreferencePair) and _opposite(record) in duplicates:
            report.repair(OPPOSED)

    tally = Tally(report, Lengths(job.tokenizer), duplicates, stratum_of_record, conversations_of, notice)
    records = records_of(job, source, converter, kind, report, contamination)
    writer = pair_writer if kind == "pairs" else score_writer

    def facts() -> dict[str, Any]:
        said = {"converter": converter.name, "kind": kind, "options": vars(job.options), **figures.summary()}
        return said | {"benchmarks": contamination.summary()} if contamination else said

    return write_splits(job, tally, records, writer, facts)


def records_of(
    job: RewardJob,
    source: Source,
    converter: RewardConverter,
    kind: Kind,
    report: Report,
    contamination: Contamination | None,
) -> Iterator[RewardRecord]:
    """The records of a job's rows, less what benchmarks ask, ties and narrow pairs."""
    records = converted_rewards(rows_of(job, source, report), converter, kind, job.options, report)
    if contamination:
        records = uncontaminated(records, contamination, report)
    return kept_pairs(records, job.options, report)


def checked_reward(job: RewardJob) -> tuple[Source, RewardConverter, Kind]:
    """The job's source, converter and kind, once everything that can be wrong beforehand is not."""
    source = source_named(job.source, REWARD_SOURCES)
    converter = reward_converter_named(job.converter or source.converter)
    kind = kind_for(converter, job.kind)
    check_reward_options(converter, kind, job.options)
    check_preparation(job, source)
    return source, converter, kind


def conversations_of(record: RewardRecord) -> tuple[Conversation, ...]:
    """The record as conversations: the prompt with each of its answers."""
    answers = (record.chosen, record.rejected) if isinstance(record, PreferencePair) else (record.response,)
    return tuple(Conversation((*record.prompt, {"role": "assistant", "content": text})) for text in answers)


def stratum_of_record(record: RewardRecord) -> str:
    """What must be represented on both sides: where a record is from, and whether it is a tie."""
    return f"{record.source}/tie" if isinstance(record, PreferencePair) and record.tie else str(record.source)


def digest_of_record(record: RewardRecord) -> bytes:
    """16 bytes: the prompt with its answers; of a pair in their order, unless it is a tie; of a response its scores, too."""
    parts = [quality.digest_of(conversation) for conversation in conversations_of(record)]
    if isinstance(record, PreferencePair):
        parts = sorted(parts) if record.tie else parts
    else:
        parts.append(repr(sorted(record.scores.items())).encode())
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _opposite(pair: PreferencePair) -> PreferencePair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)
