"""Reading a field of a row, with the sentence that is due when it is not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.origin import MISSING, refuse


def text_field(row: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that the row has; it must be a string."""
    for name in names:
        if row.get(name) is not None:
            return checked_text(name, row[name])
    columns = ", ".join(sorted(map(str, row))) or "none"
    rule = f"the row must have it (it has: {columns})"
    return refuse(" or ".join(names), MISSING, rule, "name the source that fits the file")


def optional_text(row: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that the row has, or an empty string."""
    return next((checked_text(name, row[name]) for name in names if row.get(name) is not None), "")


def objects_in(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list, such as the responses to one prompt."""
    value = row.get(name, MISSING)
    if not isinstance(value, list | tuple):
        refuse(name, value, "it is a list of objects", "correct the row, or name the source that fits")
    for place, each in enumerate(value):
        if not isinstance(each, Mapping):
            refuse(f"{name}[{place}]", each, "it is an object", "correct the row, or name the source that fits")
    return list(value)


def checked_text(name: str, value: Any) -> str:
    """The value, if it is a string."""
    if not isinstance(value, str):
        refuse(name, value, "it must be a string", "write it as text")
    return value


def whole_number(row: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """A whole number in [low, high]; 3.0 counts, true does not."""
    value = row.get(name, MISSING)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value % 1:
        refuse(name, value, f"it must be a whole number from {low} to {high}", "correct the row")
    if not low <= value <= high:
        refuse(name, value, f"it must lie between {low} and {high}", "correct the row")
    return int(value)
