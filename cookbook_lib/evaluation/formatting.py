"""Markdown in an answer: how much there is, and the same answer without it.

    "## Steps\\n- **one**\\n- two"   ->   {"headings": 1, "list items": 2, "bold": 1, ...}   ->   "Steps\\none\\ntwo"

What code fences hold is code and not formatting: it is neither counted nor changed, only the fences are.
"""

import re
from collections.abc import Callable


def _row(match: re.Match[str]) -> str:
    """`| a | b |` as `a, b`, and the line under a table's head as nothing."""
    cells = [cell.strip() for cell in match[1].split("|")]
    return "" if all(re.fullmatch(r":?-+:?", cell) for cell in cells) else ", ".join(cells)


# name -> (pattern, what is left of a match). The order matters to `strip_format`: the longer marks first.
MARKS: dict[str, tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = {
    "headings": (re.compile(r"^ {0,3}#{1,6} +(.*?)(?: +#+)?$", re.MULTILINE), r"\1"),
    "rules": (re.compile(r"^ {0,3}(?:-{3,}|\*{3,}|_{3,})[ ]*$\n?", re.MULTILINE), ""),
    "quotes": (re.compile(r"^ {0,3}> ?", re.MULTILINE), ""),
    "list items": (re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(?=\S)", re.MULTILINE), ""),
    "table rows": (re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE), _row),
    "bold": (re.compile(r"(?<!\w)(\*\*|__)(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),
    "italic": (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])"), r"\1"),
    "code": (re.compile(r"(?<!`)`([^`\n]+)`(?!`)"), r"\1"),
    "links": (re.compile(r"!?\[([^\]\n]*)\]\([^)\s]+\)"), r"\1"),
}
FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)^[ \t]*(?:```|~~~)[ \t]*$", re.MULTILINE | re.DOTALL)


def format_features(text: str) -> dict[str, int]:
    """How many marks of each kind: headings, list items, bold, ... and "fences" (blocks of code)."""
    prose = FENCE.sub("", text)
    found = {name: len(pattern.findall(prose)) for name, (pattern, _) in MARKS.items()}
    return {**found, "fences": len(FENCE.findall(text))}


def format_marks(text: str) -> int:
    """All marks together."""
    return sum(format_features(text).values())


def strip_format(text: str) -> str:
    """The answer in plain words: marks gone, line breaks and code as they were."""
    pieces, end = [], 0
    for block in FENCE.finditer(text):
        pieces += [_plain(text[end : block.start()]), block[1].removesuffix("\n")]
        end = block.end()
    return "".join([*pieces, _plain(text[end:])])


def _plain(prose: str) -> str:
    for pattern, left in MARKS.values():
        prose = pattern.sub(left, prose)
    return prose
