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
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cookbook_lib.config import CookbookError
from cookbook_lib.data import catalog as catalog
from cookbook_lib.data import quality
from cookbook_lib.data.conversion import converted
from cookbook_lib.data.converters.registry import Converter, Options, check_options, converter_named
from cookbook_lib.data.lengths import Lengths
from cookbook_lib.data.origin import RowError
from cookbook_lib.data.parquet import ConversationWriter, publish_split
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report, nothing_kept
from cookbook_lib.data.sources import Row, Source, generated_rows, read_rows, source_named
from cookbook_lib.data.splits import Groups, check_ratio, stratum_of


@dataclass(frozen=True)
class Job:
    """One preparation: what the command line says, in types."""

    source: str
    output: Path
    inputs: tuple[str, ...] = ()
    converter: str | None = None
    """instead of the source's own"""
    limit: int = -1
    """rows read at most; -1: all (embedded: its own number)"""
    test_ratio: float = 0.1
    seed: int = 0
    system: str | None = None
    """system message for conversations that have none"""
    options: Options = field(default_factory=Options)
    filters: tuple[quality.Filter, ...] = (quality.not_empty,)
    keep_duplicates: bool = False
    tokenizer: str | None = None
    """path of a tokenizer that measures lengths; None counts characters"""
    progress: bool = False


@dataclass
class Tally:
    """What is gathered while conversations stream past."""

    report: Report
    lengths: Lengths
    groups: Groups = field(default_factory=Groups)
    duplicates: quality.Duplicates = field(default_factory=quality.Duplicates)


def prepare(job: Job) -> dict[str, Any]:
    """Run the job and return the content of report.json. Raises CookbookError where nothing can be written."""
    source, converter = checked(job)
    started = time.monotonic()
    _make_folder(job.output)
    tally = Tally(Report(job.output / "dropped.jsonl"), Lengths(job.tokenizer))
    spool = job.output / "spool.parquet"
    try:
        with ConversationWriter(spool) as writer:
            for conversation in _kept(job, source, converter, tally):
                _spool(conversation, writer, tally)
        splits = publish_split(spool, job.output, tally.groups.test_groups(job.test_ratio, job.seed))
    except OSError as error:
        raise CookbookError(f"cannot write to {job.output} ({error.strerror or error}); make room there") from None
    finally:
        spool.unlink(missing_ok=True)
        tally.report.close()
    summary = _summary(job, tally, splits, time.monotonic() - started)
    _write_json(job.output / "report.json", summary)
    if not splits["train"]["rows"]:
        raise nothing_kept(summary, job.output / "report.json")
    return summary


def checked(job: Job) -> tuple[Source, Converter]:
    """The job's source and converter, once everything that can be wrong beforehand is not."""
    source = source_named(job.source)
    converter = converter_named(job.converter or source.converter)
    check_options(converter, job.options)
    check_ratio(job.test_ratio)
    if job.limit == 0 or job.limit < -1:
        raise CookbookError(f"limit is {job.limit}, but at least one row must be read; leave it out to read all")
    if source.generate and job.inputs:
        raise CookbookError(f"source {source.name!r} makes its own rows and reads no --input; leave one of them out")
    if not source.generate and not source.hub and not job.inputs:
        raise CookbookError(f"source {source.name!r} has no public data set; give --input FILE_OR_FOLDER")
    return source, converter


def with_system(conversation: Conversation, system: str | None) -> Conversation:
    """The conversation with this system message, if it has none of its own."""
    if system is None or conversation.messages[0]["role"] == "system":
        return conversation
    return replace(conversation, messages=({"role": "system", "content": system}, *conversation.messages))


def _kept(job: Job, source: Source, converter: Converter, tally: Tally) -> Iterator[Conversation]:
    rows = tqdm(_rows(job, source, tally.report), unit=" rows", disable=not job.progress, file=sys.stderr)
    for conversation in converted(rows, converter, job.options, tally.report):
        conversation, repair = quality.trim_ends(conversation)
        if repair:
            tally.report.repair(repair)
        if job.system and conversation.messages[0]["role"] == "system":
            tally.report.repair("with a system message of their own")
        conversation = with_system(conversation, job.system)
        reason = next(filter(None, (keep(conversation) for keep in job.filters)), None)
        if reason:
            tally.report.drop(conversation.origin, reason)
        elif not job.keep_duplicates and (reason := tally.duplicates(conversation)):
            tally.report.drop(conversation.origin, reason, same_as=tally.duplicates.first_place(conversation))
        else:
            yield conversation


def _rows(job: Job, source: Source, report: Report) -> Iterator[Row]:
    if source.generate and not job.inputs:
        rows = generated_rows(source.name, source.generate(job.limit, job.seed), report)
    else:
        rows = read_rows(list(job.inputs) or f"hub:{source.hub}", report)
    return rows if job.limit < 0 else islice(rows, job.limit)


def _spool(conversation: Conversation, writer: ConversationWriter, tally: Tally) -> None:
    try:
        writer.write(conversation)
    except RowError as error:
        tally.report.refuse(error.at(conversation.origin))
        return
    tally.report.keep(conversation.origin)
    tally.lengths.add(conversation)
    tally.groups.add(str(conversation.group), stratum_of(conversation))


def _summary(job: Job, tally: Tally, splits: dict[str, Any], seconds: float) -> dict[str, Any]:
    rows = tally.report.counts["rows_read"]
    return {
        "source": job.source,
        "converter": job.converter or source_named(job.source).converter,
        "seed": job.seed,
        "test_ratio": job.test_ratio,
        **tally.report.summary(),
        "duplicates": tally.duplicates.found,
        "lengths": tally.lengths.summary(),
        "splits": splits,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / max(seconds, 1e-9)),
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dropped.jsonl").write_text("")
    except OSError as error:
        raise CookbookError(f"cannot write to {folder} ({error.strerror}); choose another --output") from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
