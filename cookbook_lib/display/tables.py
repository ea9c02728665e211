"""Small tables from plain values: HTML for a notebook, aligned text for a terminal, the same numbers in both.

    table(rows)                  dicts or tuples in a list, one dict (name, value), or a DataFrame
    comparison(before, after)    two dicts of numbers with their change, and whether it is for the better
    parity(rows, limit)          relative differences, green up to the limit and red above it

Numbers are set right and grouped by thousands, floats get four significant digits unless `formats` says otherwise,
None is a dash. Long tables are cut with a last line that says how many rows are not shown.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_lib.display.table_layout import Cell, render_table
from cookbook_lib.display.views import Html

Format = str | Callable[[Any], str]  # ".2%" or a function
Formats = Mapping[str, Format]


def table(data: Any, caption: str = "", formats: Formats | None = None, *, max_rows: int = 60) -> Html:
    """Show rows.

    data: a list of dicts (columns in order of appearance) or a DataFrame; a dict or a list of tuples, without a head.
    formats: column -> format spec (".2%") or function; for a dict, name -> the same. `{"loss": ".3f"}`.
    """
    formats = formats or {}
    if isinstance(data, Mapping):
        rows = [[Cell(str(name)), Cell(_cell(value, formats.get(name)).text)] for name, value in data.items()]
        return render_table([], rows, caption, max_rows)
    records = _records(data)
    if records and isinstance(records[0], tuple):
        return render_table([], [[_cell(value, None) for value in record] for record in records], caption, max_rows)
    columns = list(dict.fromkeys(name for record in records for name in record))
    rows = [[_cell(record.get(name), formats.get(name)) for name in columns] for record in records]
    return render_table([str(name) for name in columns], rows, caption, max_rows)


def comparison(
    before: Mapping[str, float],
    after: Mapping[str, float],
    caption: str = "",
    formats: Formats | None = None,
    *,
    names: tuple[str, str] = ("before", "after"),
    lower_is_better: Iterable[str] = ("loss", "perplexity"),
) -> Html:
    """Two measurements side by side, with the change.

    lower_is_better: endings of the names whose fall is good (`val/loss` ends in `loss`); for all others a rise is good.
    A name that only one side has gets a dash on the other.
    """
    formats, falling = formats or {}, tuple(lower_is_better)
    rows = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        change = _change(old, new, str(name).endswith(falling), formats.get(name))
        rows.append([Cell(str(name)), _cell(old, formats.get(name)), _cell(new, formats.get(name)), change])
    return render_table(["", *names, "change"], rows, caption, len(rows))


def parity(rows: Sequence[Mapping[str, Any]], limit: float, caption: str = "", *, label: str | None = None) -> Html:
    """Relative differences against a reference: floats are judged by `limit` (a float that is not finite is red),
    everything else is shown as it is. label: the column that names the row and is never judged."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_judged(row.get(name), limit, name != label) for name in columns] for row in rows]
    judged = [cell for row in cells for cell in row if cell.tone in ("good", "bad")]
    failed = sum(cell.tone == "bad" for cell in judged)
    verdict = f"{failed} of {len(judged)} above {limit:g}" if failed else f"all {len(judged)} within {limit:g}"
    return render_table(
        [str(name) for name in columns], cells, f"{caption} · {verdict}" if caption else verdict, len(cells)
    )


def _records(data: Any) -> list[Any]:
    if hasattr(data, "to_dict"):  # a DataFrame, without importing pandas
        return list(data.to_dict("records"))
    return list(data)


def _cell(value: Any, spec: Format | None) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, np.generic):  # of an array: its numbers read as Python's own
        value = value.item()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if spec is not None and value is not None:
        return Cell(spec(value) if callable(spec) else format(value, spec), right=number)
    return Cell(_plain(value), right=number)


def _plain(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return _significant(value)
        case Path():
            return str(value)
        case list() | tuple() if not value:
            return "–"
        case list() | tuple():
            return ", ".join(_plain(item) for item in value)
    return str(value)


def _significant(value: float) -> str:
    """Four significant digits, without an exponent where a reader does not need one."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e7):
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _change(old: float | None, new: float | None, falling: bool, spec: Format | None) -> Cell:
    if old is None or new is None or not (math.isfinite(old) and math.isfinite(new)):
        return Cell("–", right=True)
    difference = new - old
    if difference == 0:
        return Cell("=", right=True)
    amount = _cell(abs(difference), spec if isinstance(spec, str) else None).text
    better = (difference < 0) == falling
    return Cell(f"{'▼' if difference < 0 else '▲'} {amount}", right=True, tone="good" if better else "bad")


def _judged(value: Any, limit: float, judge: bool) -> Cell:
    if not judge or not isinstance(value, float):
        return _cell(value, None)
    within = math.isfinite(value) and abs(value) <= limit
    return Cell(f"{value:.1e}", right=True, tone="good" if within else "bad")
