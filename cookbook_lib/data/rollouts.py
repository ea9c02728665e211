"""NeMo Gym rollouts as JSON Lines for other trainers: messages and tools, or plain input and output.

    openai   {"messages": [...], "tools": [...]}    everything; tool-call arguments are objects, as chat templates want
    simple   {"input": "...", "output": "..."}      the last question and its final answer; tools and system are lost

The file appears under its name only when it is whole, and not at all when no rollout could be used.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data import quality
from cookbook_lib.data.conversion import converted
from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.lengths import Lengths
from cookbook_lib.data.origin import RowError, refuse
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report, nothing_kept
from cookbook_lib.data.sources import Row, read_rows


def as_openai(conversation: Conversation) -> dict[str, Any]:
    """Messages, and tools where there are any."""
    tools = {"tools": conversation.tools} if conversation.tools else {}
    return {"messages": conversation.messages, **tools}


def as_simple(conversation: Conversation) -> dict[str, Any]:
    """The final answer and the user message that it answers; RowError where there is no such pair."""
    messages = conversation.messages
    said = [n for n, message in enumerate(messages) if message["role"] == "assistant" and message["content"]]
    asked = [n for n, message in enumerate(messages[: said[-1]] if said else ()) if message["role"] == "user"]
    if not asked:
        roles = [message["role"] for message in messages]
        refuse("messages", roles, "the simple form needs a question and an answer in words", "use --format openai")
    return {"input": messages[asked[-1]]["content"], "output": messages[said[-1]]["content"]}


FORMATS: dict[str, Callable[[Conversation], dict[str, Any]]] = {"openai": as_openai, "simple": as_simple}


def transform_rollouts(
    inputs: Iterable[str],
    output: Path,
    *,
    form: str = "openai",
    options: Options | None = None,
    watch: Callable[[Iterable[Row]], Iterable[Row]] = lambda rows: rows,
) -> dict[str, Any]:
    """Write the rollouts whose reward is high enough to `output`, and `<output>.report.json` beside it.

    `watch` sees the rows pass (a progress bar). Returns the report. Raises CookbookError when nothing was written.
    """
    started, report, lengths = time.monotonic(), Report(), Lengths()
    partial = output.with_name(output.name + ".partial")
    rows = watch(read_rows(list(inputs), report))
    conversations = converted(rows, converter_named("gym"), options or Options(), report)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            for conversation in conversations:
                _write(stream.write, conversation, FORMATS[form], report, lengths)
        summary = _publish(partial, output, report, lengths, time.monotonic() - started)
    except OSError as error:
        raise CookbookError(f"cannot write {output} ({error.strerror or error}); choose another --output") from None
    finally:
        partial.unlink(missing_ok=True)
    if not report.kept:
        raise nothing_kept(summary, report_path(output))
    return summary


def report_path(output: Path) -> Path:
    """Where the report of a transformed file stands."""
    return output.with_name(output.name + ".report.json")


def _write(
    write: Callable[[str], Any],
    conversation: Conversation,
    form: Callable[[Conversation], dict[str, Any]],
    report: Report,
    lengths: Lengths,
) -> None:
    if reason := quality.not_empty(conversation):
        report.drop(conversation.origin, reason)
        return
    try:
        line = json.dumps(form(conversation), ensure_ascii=False, allow_nan=False)
    except RowError as error:
        report.refuse(error.at(conversation.origin))
        return
    write(line + "\n")
    report.keep(conversation.origin)
    lengths.add(conversation)


def _publish(partial: Path, output: Path, report: Report, lengths: Lengths, seconds: float) -> dict[str, Any]:
    splits = {"output": {"file": str(output) if report.kept else None, "rows": report.kept}}
    speed = {"seconds": round(seconds, 2), "rows_per_second": round(report.counts["rows_read"] / max(seconds, 1e-9))}
    summary = {**report.summary(), "lengths": lengths.summary(), "splits": splits, **speed}
    report_path(output).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if report.kept:
        os.replace(partial, output)
    return summary
