"""Where a row came from, and how a row says that it cannot be used.

    train.jsonl row 17: messages[2].role is 'bot', but a role is one of system, user, assistant, tool; rename it.
    └── Origin ───┘     └─ field ──────┘ └found┘       └─ rule ─────────────────────────────────────┘  └─ fix ─┘

A converter knows the field, the value, the rule and the fix; it does not know the file. So it calls `refuse(...)`, and
whoever reads the file adds the place with `error.at(origin)`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from cookbook_lib.config import CookbookError

LONGEST_VALUE_SHOWN = 80


class Origin(NamedTuple):
    """A file and a 1-based row in it: the line of JSON Lines, the item of a JSON array, the row of a parquet file."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file} row {self.row}"


class RowError(CookbookError):
    """One row breaks one rule. Reported and counted; the rows after it are read on."""

    def __init__(self, file: str, row: int, field: str, found: Any, rule: str, fix: str) -> None:
        self.file, self.row, self.field, self.found, self.rule, self.fix = file, row, field, found, rule, fix
        place = f"{file} row {row}: " if file else ""
        super().__init__(f"{place}{field} is {shown(found)}, but {rule}; {fix}")

    def at(self, origin: Origin | None) -> RowError:
        """The same error, with its place."""
        if origin is None or self.file:
            return self
        return RowError(origin.file, origin.row, self.field, self.found, self.rule, self.fix)


class RowSkipped(Exception):
    """A rule of the user's choosing leaves this row out (a score below the threshold, say); the row is sound."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def refuse(field: str, found: Any, rule: str, fix: str) -> NoReturn:
    """Raise the RowError of a row whose place the caller does not know."""
    raise RowError("", 0, field, found, rule, fix)


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and short."""
    if value is MISSING:
        return "missing"
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE_SHOWN else text[:LONGEST_VALUE_SHOWN] + "..."


class _Missing:
    """Stands for a key that a row does not have (None is a value that it may have)."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
