"""Rows through a converter: conversations out, and everything else into the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cookbook_lib.data.converters.registry import Converter, Options
from cookbook_lib.data.messages import require_answer
from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.records import Conversation, opening_group
from cookbook_lib.data.report import Report
from cookbook_lib.data.sources import Row


def converted(rows: Iterable[Row], converter: Converter, options: Options, report: Report) -> Iterator[Conversation]:
    """Rows -> conversations with their origin; rows that cannot be converted go to the report."""
    for origin, row in converter.gather(rows) if converter.gather else rows:
        try:
            made = converter.convert(row, options)
            made = [made] if isinstance(made, Conversation) else list(made)
            for conversation in made:
                require_answer(conversation.messages)
        except RowError as error:
            report.refuse(error.at(origin))
        except RowSkipped as skipped:
            report.skip(origin, skipped.reason)
        else:
            for conversation in made:
                yield conversation.labelled(origin, conversation.group or opening_group(conversation.messages))
