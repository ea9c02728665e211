"""A table of finished cells, laid out twice: as HTML and as aligned text. What goes into the cells is tables.py's matter."""

import html
import unicodedata
from dataclasses import dataclass, replace

from cookbook_lib.display.style import HAIRLINE, SANS, TONES, tint
from cookbook_lib.display.views import Html

SHORT = 24  # characters that are never broken


@dataclass(frozen=True)
class Cell:
    """One formatted value; `tone` is good, bad, note, key or empty."""

    text: str
    right: bool = False
    tone: str = ""


def render_table(head: list[str], rows: list[list[Cell]], caption: str, max_rows: int) -> Html:
    """Lay out rows under a head (may be empty); after `max_rows` a line says how many are not shown, or that there are none."""
    shown, hidden = rows[:max_rows], max(0, len(rows) - max_rows)
    rest = f"… {hidden:,} more row{'s' * (hidden > 1)}" if hidden else "nothing to show" if caption and not rows else ""
    return Html(_html(head, shown, caption, rest), _text(head, shown, caption, rest))


def _html(head: list[str], rows: list[list[Cell]], caption: str, rest: str) -> str:
    right = _set_right(head, rows)
    rows = [[replace(cell, right=side) for cell, side in zip(row, right, strict=True)] for row in rows]
    titles = "".join(map(_html_title, head, right))
    top = f'<thead><tr style="background:none">{titles}</tr></thead>' if head else ""
    body = "".join(f'<tr style="background:none">{"".join(map(_html_cell, row))}</tr>' for row in rows)
    above = f'<div style="font-weight:600;margin-bottom:4px">{html.escape(caption)}</div>' if caption else ""
    below = f'<div style="opacity:.6;margin-top:4px">{rest}</div>' if rest else ""
    return (
        f'<div style="font:13px/1.45 {SANS};margin:6px 0;overflow-x:auto">{above}'
        f'<table style="border-collapse:collapse;border:none;font:inherit;font-variant-numeric:tabular-nums;margin:0">'
        f"{top}<tbody>{body}</tbody></table>{below}</div>"
    )


def _html_title(name: str, right: bool) -> str:
    return f'<th style="{_box(right)};font-weight:600;opacity:.7">{html.escape(name)}</th>'


def _html_cell(cell: Cell) -> str:
    shade = f";background:{tint(TONES[cell.tone], 0.18)}" if cell.tone else ""
    return f'<td style="{_box(cell.right)};{_flow(cell.text)}{shade}">{html.escape(cell.text)}</td>'


def _flow(text: str) -> str:
    """A short text stays on its line; a long one is broken, but not into a column of single words."""
    return "white-space:pre-wrap;min-width:15em" if len(text) > SHORT else "white-space:pre"


def _box(right: bool) -> str:
    lines = f"border:none;border-bottom:{HAIRLINE};vertical-align:top"
    return f"text-align:{'right' if right else 'left'};padding:3px 14px 3px 6px;{lines}"


def _text(head: list[str], rows: list[list[Cell]], caption: str, rest: str) -> str:
    marks = {"bad": " ✗", "good": " ✓"}
    lines = [[cell.text.replace("\n", " ⏎ ") + marks.get(cell.tone, "") for cell in row] for row in rows]
    right = _set_right(head, rows)
    widths = [max(map(_width, column)) for column in zip(*([head] if head else []), *lines, strict=True)]
    ruled = [head, ["─" * width for width in widths]] if head else []
    set_lines = ["  ".join(map(_pad, line, widths, right)).rstrip() for line in [*ruled, *lines]]
    return "\n".join([*([caption] if caption else []), *set_lines, *([rest] if rest else [])])


def _set_right(head: list[str], rows: list[list[Cell]]) -> list[bool]:
    """Which columns hold numbers, and at most dashes besides."""
    return [_numbers(column) for column in zip(*rows, strict=True)] or [False] * len(head)


def _numbers(column: tuple[Cell, ...]) -> bool:
    return any(cell.right for cell in column) and all(cell.right or cell.text in ("–", "=", "") for cell in column)


def _width(text: str) -> int:
    """Columns that a terminal gives to the text: two for a wide (East Asian) character, none for a combining one."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap
