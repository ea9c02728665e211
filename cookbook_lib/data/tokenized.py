"""Every conversation of a source tokenised and masked, once: in parallel, in order, kept on disk.

    files ─▶ conversations ─▶ chunks ─▶ encode, on every core ─▶ blocks, in order ─▶ <cache>/<fingerprint>/ ─▶ TokenSet
                                                 └─▶ refused rows: counted, with the first of each kind

The fingerprint covers what the tokens depend on: the bytes of the files (or the conversations), tokenizer, template,
options and the code of this room. Files stream in bounded memory. Work begins in this process; others are started, fresh
ones and not forks, when there is more to do than they take to start. Nothing here knows of ranks.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.fingerprint import digest_of_files, digest_of_rows, fingerprint
from cookbook_lib.data.masking import TrainOn, encode, encoder_for
from cookbook_lib.data.records import Conversation, read_conversations
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import HUB_PREFIX
from cookbook_lib.data.token_set import COLUMNS, Block, TokenSet, TokenWriter
from cookbook_lib.data.truncation import Truncation

ROWS_PER_CHUNK = 64
PATIENCE_S = 4.0  # a fresh process takes about half of this to import what it needs
Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Options:
    """What `encode` is told about every row."""

    max_length: int
    truncation: Truncation
    train_on: TrainOn


@dataclass(frozen=True)
class Encode:
    """A chunk of conversations -> a Block. Pickled once for each process."""

    tokenizer: PreTrainedTokenizerBase
    options: Options

    def __call__(self, chunk: list[Conversation]) -> Block:
        examples, dropped = [], []
        for conversation in chunk:
            try:
                examples.append(encode(conversation, self.tokenizer, **asdict(self.options)))
            except RowRefused as refusal:
                if refusal.reason == "too_long" and self.options.truncation == "error":
                    raise
                dropped.append((refusal.reason, str(refusal)))
        rows = [(example.input_ids, example.weights, example.roles) for example in examples]
        columns = zip(*rows, strict=True) if rows else [[np.array([], dtype)] for dtype in COLUMNS.values()]
        return Block(tuple(np.concatenate(column) for column in columns), [len(row[0]) for row in rows], dropped)


def tokenize(
    source: Files | Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    truncation: Truncation = "right",
    train_on: TrainOn = "assistant",
    messages_key: str = "messages",
    tools_key: str | None = None,
    limit: int = -1,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
) -> TokenSet:
    """Tokenise files (or conversations), or open what an earlier call with the same made; see `encode` for the options.

    limit: only this many conversations, -1 = all. workers: processes, 0 = one per core. progress: called with the number
    of rows just done; `tqdm(unit=" rows").update` fits. Rows left out are in the set's `dropped` and `report()`.
    Raises CookbookError when no row is left, or, with truncation "error", at the first that is too long.
    """
    encoder_for(tokenizer).require_usable()  # before any work
    options = Options(max_length, truncation, train_on)
    rows = _Rows.of(source, messages_key, tools_key, limit)
    name = fingerprint(tokenizer, asdict(options), rows.digest)
    folder = Path(cache_dir).expanduser() / name
    if folder.is_dir():
        return TokenSet.open(folder)
    with TokenWriter(folder.parent) as writer:
        for block in _in_order(Encode(tokenizer, options), rows.read(), workers or _cores()):
            writer.write(block)
            if progress:
                progress(block.rows)
        rows.account(writer)
        if not writer.lengths:
            raise _nothing_left(rows.name, writer)
        return writer.finish(folder, fingerprint=name, source=rows.name, **asdict(options))


# --------------------------------------------------------------------------------------------------------- the source


@dataclass(frozen=True)
class _Rows:
    """The conversations, a digest of all that they consist of, and what the reader leaves out."""

    name: str
    digest: bytes
    read: Callable[[], Iterable[Conversation]]
    report: Report

    @staticmethod
    def of(source: Files | Sequence[Conversation], messages_key: str, tools_key: str | None, limit: int) -> "_Rows":
        report = Report()
        names = [source] if isinstance(source, str | Path) else source
        given = [name for name in names if isinstance(name, Conversation)]
        if len(given) == len(names):
            kept = given if limit < 0 else given[:limit]
            return _Rows(f"{len(kept):,} conversations", digest_of_rows(kept), lambda: kept, report)
        texts = [str(name) for name in names]
        options = {"messages_key": messages_key, "tools_key": tools_key, "limit": limit}

        def read() -> Iterator[Conversation]:
            return read_conversations(texts, messages_key=messages_key, tools_key=tools_key, limit=limit, report=report)

        if any(text.startswith(HUB_PREFIX) for text in texts):  # what a hub name stands for can change: look
            held = list(read())
            return _Rows(", ".join(texts), digest_of_rows(held), lambda: held, report)
        return _Rows(", ".join(texts), digest_of_files(texts, options), read, report)

    def account(self, writer: TokenWriter) -> None:
        """Enter what the reader left out."""
        for rule, count in self.report.reasons.items():
            places = [
                f"{e['file']} row {e['row']}: {e['field']} is {e['found']}, but {e['rule']}; {e['fix']}"
                for e in self.report.examples[rule]
            ]
            writer.drop(rule, count, places)


def _nothing_left(name: str, writer: TokenWriter) -> CookbookError:
    if not writer.counts:
        return CookbookError(f"there is no conversation in {name}; give at least one.")
    why = "; ".join(f"{count:,} x {reason}" for reason, count in writer.counts.most_common())
    first = writer.first[writer.counts.most_common(1)[0][0]][0]
    return CookbookError(f"no row of {name} can be learned from ({why}); the first: {first}")


# ------------------------------------------------------------------------------------------------------- the processes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(work: Encode, conversations: Iterable[Conversation], workers: int) -> Iterator[Block]:
    """Blocks in the order of the rows: from this process alone while that is quick, then from several."""
    chunks = _chunks(iter(conversations))
    alone_until = time.monotonic() + PATIENCE_S
    for chunk in chunks:
        yield work(chunk)
        if workers > 1 and time.monotonic() > alone_until:
            yield from _in_processes(work, chunks, workers)


def _chunks(conversations: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    while chunk := list(islice(conversations, ROWS_PER_CHUNK)):
        yield chunk


def _in_processes(work: Encode, chunks: Iterator[list[Conversation]], workers: int) -> Iterator[Block]:
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


def _run(chunk: list[Conversation]) -> Block:
    return _work(chunk)
