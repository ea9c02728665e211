"""From raw rows to train.parquet and test.parquet: the whole preparation, as a stream.

    rows ─▶ convert ─▶ trim, system ─▶ filters ─▶ spool.parquet ─▶ split by group ─▶ train.parquet, test.parquet
                │                        │
                └──── report.json, dropped.jsonl (what was left out, why, and where it stands)

Nothing holds all rows: what grows with them is 16 bytes for duplicates, the groups and one length each. The spool is
needed because groups can only be divided when all have been seen; the second pass copies columns and parses nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from cookbook_lib.config import CookbookError
from cookbook_lib.data import catalog as catalog
from cookbook_lib.data import quality
from cookbook_lib.data.conversion import converted
from cookbook_lib.data.converters.registry import Converter, Options, check_options, converter_named
from cookbook_lib.data.lengths import Lengths
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.parquet import ConversationWriter, RecordWriter, publish_split
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report, nothing_kept
from cookbook_lib.data.sources import Row, Source, generated_rows, own_inputs, read_rows, source_named
from cookbook_lib.data.splits import Groups, check_ratio, stratum_of


class Spoolable(Protocol):
    """What a record says of itself, whatever it is a record of."""

    @property
    def origin(self) -> Origin | None: ...

    @property
    def group(self) -> str | None: ...


Record = TypeVar("Record", bound=Spoolable)


@dataclass(frozen=True)
class Preparation:
    """What every preparation is told, whatever it makes of its rows."""

    source: str
    output: Path
    inputs: tuple[str, ...] = ()
    converter: str | None = None
    """instead of the source's own"""
    limit: int = -1
    """rows read at most; -1: all (embedded: its own number)"""
    test_ratio: float = 0.1
    seed: int = 0
    filters: tuple[quality.Filter, ...] = (quality.not_empty,)
    keep_duplicates: bool = False
    tokenizer: str | None = None
    """path of a tokenizer that measures lengths; None counts characters"""
    progress: bool = False


@dataclass(frozen=True)
class Job(Preparation):
    """One preparation of conversations: what the command line says, in types."""

    system: str | None = None
    """system message for conversations that have none"""
    options: Options = field(default_factory=Options)


@dataclass
class Tally(Generic[Record]):
    """What is gathered while records stream past, and how to look at one of them."""

    report: Report
    lengths: Lengths
    duplicates: quality.Duplicates[Record]
    stratum: Callable[[Record], str]
    conversations: Callable[[Record], tuple[Conversation, ...]]
    """what filters judge and lengths measure: for a pair, its prompt with either answer"""
    kept: Callable[[Record], None] = lambda record: None
    """told of every record that is kept"""
    groups: Groups = field(default_factory=Groups)


def prepare(job: Job) -> dict[str, Any]:
    """Run the job and return the content of report.json. Raises CookbookError where nothing can be written."""
    source, converter = checked(job)
    make_folder(job.output)
    report, lengths = Report(job.output / "dropped.jsonl"), Lengths(job.tokenizer)
    duplicates: quality.Duplicates[Conversation] = quality.Duplicates()
    tally = Tally(report, lengths, duplicates, stratum_of, lambda conversation: (conversation,))
    conversations = _conversations(job, source, converter, report)
    return write_splits(job, tally, conversations, ConversationWriter, lambda: {"converter": converter.name})


def write_splits(
    job: Preparation,
    tally: Tally[Record],
    records: Iterable[Record],
    writer_for: Callable[[Path], RecordWriter[Record]],
    facts: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Filter the records, divide them by group, and account for all of it: the content of report.json.

    facts: what the report says of this kind of record, asked for when all have passed.
    Raises CookbookError where nothing can be written.
    """
    started, spool = time.monotonic(), job.output / "spool.parquet"
    try:
        with writer_for(spool) as writer:
            for record in passed(records, job, tally):
                _spool(record, writer, tally)
        splits = publish_split(spool, job.output, tally.groups.test_groups(job.test_ratio, job.seed), writer.finished)
    except OSError as error:
        raise CookbookError(f"cannot write to {job.output} ({error.strerror or error}); make room there") from None
    finally:
        spool.unlink(missing_ok=True)
        tally.report.close()
    summary = _summary(job, tally, splits, time.monotonic() - started, facts())
    _write_json(job.output / "report.json", summary)
    if not splits["train"]["rows"]:
        raise nothing_kept(summary, job.output / "report.json")
    return summary


def checked(job: Job) -> tuple[Source, Converter]:
    """The job's source and converter, once everything that can be wrong beforehand is not."""
    source = source_named(job.source)
    converter = converter_named(job.converter or source.converter)
    check_options(converter, job.options)
    check_preparation(job, source)
    return source, converter


def check_preparation(job: Preparation, source: Source) -> None:
    """Raise CookbookError where the job contradicts itself or its source."""
    check_ratio(job.test_ratio)
    if job.limit == 0 or job.limit < -1:
        raise CookbookError(f"limit is {job.limit}, but at least one row must be read; leave it out to read all")
    if source.generate and job.inputs:
        raise CookbookError(f"source {source.name!r} makes its own rows and reads no --input; leave one of them out")
    if not source.generate and not source.hub and not job.inputs:
        raise CookbookError(f"source {source.name!r} has no public data set; give --input FILE_OR_FOLDER")


def with_system(conversation: Conversation, system: str | None) -> Conversation:
    """The conversation with this system message, if it has none of its own."""
    if system is None or conversation.messages[0]["role"] == "system":
        return conversation
    return replace(conversation, messages=({"role": "system", "content": system}, *conversation.messages))


def rows_of(job: Preparation, source: Source, report: Report) -> Iterator[Row]:
    """The rows that the job reads: its inputs, else what the source makes, else its data set on the hub."""
    if source.generate and not job.inputs:
        rows = generated_rows(source.name, source.generate(job.limit, job.seed), report)
    else:
        rows = read_rows(list(own_inputs(source, job.inputs, report)) or f"hub:{source.hub}", report)
    limited = rows if job.limit < 0 else islice(rows, job.limit)
    return iter(tqdm(limited, unit=" rows", disable=not job.progress, file=sys.stderr))


def make_folder(folder: Path) -> None:
    """Make the output folder, with an empty list of what was left out; raises CookbookError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dropped.jsonl").write_text("")
    except OSError as error:
        raise CookbookError(f"cannot write to {folder} ({error.strerror}); choose another --output") from None


def _conversations(job: Job, source: Source, converter: Converter, report: Report) -> Iterator[Conversation]:
    for conversation in converted(rows_of(job, source, report), converter, job.options, report):
        conversation, repair = quality.trim_ends(conversation)
        if repair:
            report.repair(repair)
        if job.system and conversation.messages[0]["role"] == "system":
            report.repair("with a system message of their own")
        yield with_system(conversation, job.system)


def passed(records: Iterable[Record], job: Preparation, tally: Tally[Record]) -> Iterator[Record]:
    """The records that no filter of the job drops, and that did not come before."""
    for record in records:
        found = (keep(seen) for seen in tally.conversations(record) for keep in job.filters)
        reason = next(filter(None, found), None)
        if reason:
            tally.report.drop(record.origin, reason)
        elif not job.keep_duplicates and (reason := tally.duplicates(record)):
            tally.report.drop(record.origin, reason, same_as=tally.duplicates.first_place(record))
        else:
            yield record


def _spool(record: Record, writer: RecordWriter[Record], tally: Tally[Record]) -> None:
    try:
        writer.write(record)
    except RowError as error:
        tally.report.refuse(error.at(record.origin))
        return
    tally.report.keep(record.origin)
    tally.kept(record)
    for conversation in tally.conversations(record):
        tally.lengths.add(conversation)
    tally.groups.add(str(record.group), tally.stratum(record))


def _summary(
    job: Preparation, tally: Tally[Any], splits: dict[str, Any], seconds: float, facts: dict[str, Any]
) -> dict[str, Any]:
    rows = tally.report.counts["rows_read"]
    return {
        "source": job.source,
        **facts,
        "seed": job.seed,
        "test_ratio": job.test_ratio,
        **tally.report.summary(),
        "duplicates": tally.duplicates.found,
        "lengths": tally.lengths.summary(),
        "splits": splits,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / max(seconds, 1e-9)),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
