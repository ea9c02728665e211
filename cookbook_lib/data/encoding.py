"""Every row of a source encoded once: in parallel, in order, kept on disk.

    rows ─▶ chunks ─▶ encode, on every core ─▶ blocks, in order ─▶ <cache>/<fingerprint>/
                         └─▶ refused rows: counted, with the first of each kind

What a row is (a conversation, a pair) and how it is encoded is the caller's; this file knows neither, nor ranks. Work begins
in this process; others are started, fresh ones and not forks, when there is more to do than they take to start.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.fingerprint import digest_of_files, digest_of_rows
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import HUB_PREFIX
from cookbook_lib.data.token_set import Block, TokenWriter

ROWS_PER_CHUNK = 64
PATIENCE_S = 4.0  # a fresh process takes about half of this to import what it needs
Files = str | Path | Sequence[str | Path]
Encode = Callable[[list[Any]], Block]  # a chunk of rows; pickled once for each process


@dataclass(frozen=True)
class Rows:
    """Rows to encode, a digest of all that they consist of, and what their reader leaves out."""

    name: str
    digest: bytes
    read: Callable[[], Iterable[Any]]
    report: Report
    kind: str  # "conversation", "pair": what a sentence calls a row

    @staticmethod
    def of(
        source: Any, kind: str, is_row: type, read: Callable[..., Iterator[Any]], limit: int, **options: Any
    ) -> "Rows":
        """`source`: files, or a sequence of rows (`is_row`). read(files, limit=, report=, **options) streams files."""
        report = Report()
        names = [source] if isinstance(source, str | Path) else source
        given = [name for name in names if isinstance(name, is_row)]
        if len(given) == len(names):
            kept = given if limit < 0 else given[:limit]
            return Rows(f"{len(kept):,} {kind}s", digest_of_rows(kept), lambda: kept, report, kind)
        texts = [str(name) for name in names]

        def stream() -> Iterator[Any]:
            return read(texts, limit=limit, report=report, **options)

        if any(text.startswith(HUB_PREFIX) for text in texts):  # what a hub name stands for can change: look
            held = list(stream())
            return Rows(", ".join(texts), digest_of_rows(held), lambda: held, report, kind)
        digest = digest_of_files(texts, {**options, "limit": limit})
        return Rows(", ".join(texts), digest, stream, report, kind)

    def account(self, writer: TokenWriter) -> None:
        """Enter what the reader left out."""
        for rule, count in self.report.reasons.items():
            places = [
                f"{e['file']} row {e['row']}: {e['field']} is {e['found']}, but {e['rule']}; {e['fix']}"
                for e in self.report.examples[rule]
            ]
            writer.drop(rule, count, places)


def encode_rows(
    rows: Rows,
    encode: Encode,
    folder: Path,
    columns: Mapping[str, type],
    *,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
    **meta: Any,
) -> None:
    """Make `folder`, whole, unless it is there. workers: processes, 0 = one per core. progress: called with rows just done.

    Raises CookbookError when no row is left.
    """
    if folder.is_dir():
        return
    with TokenWriter(folder.parent, columns) as writer:
        for block in _in_order(encode, rows.read(), workers or _cores()):
            writer.write(block)
            if progress:
                progress(block.rows)
        rows.account(writer)
        if not writer.lengths:
            raise _nothing_left(rows, writer)
        writer.finish(folder, fingerprint=folder.name, source=rows.name, **meta)


def _nothing_left(rows: Rows, writer: TokenWriter) -> CookbookError:
    if not writer.counts:
        return CookbookError(f"there is no {rows.kind} in {rows.name}; give at least one.")
    why = "; ".join(f"{count:,} x {reason}" for reason, count in writer.counts.most_common())
    first = writer.first[writer.counts.most_common(1)[0][0]][0]
    return CookbookError(f"no row of {rows.name} can be learned from ({why}); the first: {first}")


# ------------------------------------------------------------------------------------------------------- the processes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(work: Encode, rows: Iterable[Any], workers: int) -> Iterator[Block]:
    """Blocks in the order of the rows: from this process alone while that is quick, then from several."""
    chunks = _chunks(iter(rows))
    alone_until = time.monotonic() + PATIENCE_S
    for chunk in chunks:
        yield work(chunk)
        if workers > 1 and time.monotonic() > alone_until:
            yield from _in_processes(work, chunks, workers)


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield chunk


def _in_processes(work: Encode, chunks: Iterator[list[Any]], workers: int) -> Iterator[Block]:
    """At most two chunks a process are on their way, so memory stays bounded."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(work,))
    try:
        pending: deque[Future[Block]] = deque(pool.submit(_run, chunk) for chunk in islice(chunks, 2 * workers))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(_run, chunk) for chunk in islice(chunks, 1))
    except BrokenProcessPool:
        raise CookbookError(
            f"one of {workers} tokenisation processes was killed, probably for memory; lower data.num_workers."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_work: Encode


def _begin(work: Encode) -> None:
    global _work
    _work = work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and ends them


def _run(chunk: list[Any]) -> Block:
    return _work(chunk)
