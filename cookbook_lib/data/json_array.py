"""A JSON array, item by item, through a sliding buffer: a 10 GB array needs the memory of its longest item.

    [ {...}, {...}, {..
                   └── start: everything before it is done with; an item that the buffer cuts waits for the next chunk

The decoder says where it failed. A failure at the very end of the buffer may only mean that the rest is not read yet;
anywhere else the array is broken, and so is the file, since nothing tells where the next item would begin.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from cookbook_lib.config import CookbookError

CHUNK = 1 << 20
LONGEST_ROW = 256 * CHUNK
CUT_MARGIN = 16  # characters: a cut "\\u00e9", literal or number fails this close to the end


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


DECODER = json.JSONDecoder(parse_constant=_no_constant)


def array_items(path: Path, stream: IO[bytes]) -> Iterator[Any]:
    """The items of the array, one by one. `buffer[start:]` is what has been read and not yet decoded."""
    text = _Text(path, stream)
    buffer, start, expects_item = text.read().lstrip("\ufeff \t\r\n")[1:], 0, True
    number = 0
    while True:
        start = _skip_space(buffer, start)
        if start == len(buffer):
            buffer, start = _more(path, text, "", number), 0
            continue
        if buffer[start] == "]":
            return _check_tail(path, buffer[start + 1 :] + text.read())
        if not expects_item:
            _expect_comma(path, buffer[start], number)
            start, expects_item = start + 1, True
            continue
        decoded = _decode_item(path, buffer, start, number)
        if decoded is None:
            buffer, start = _more(path, text, buffer[start:], number), 0
            continue
        item, start = decoded
        number, expects_item = number + 1, False
        yield item


class _Text:
    """A binary stream as text chunks; a character cut by a chunk's end waits for the next chunk."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self._decoder = path, stream, codecs.getincrementaldecoder("utf-8")()

    def read(self) -> str:
        """The next characters; an empty string at the end of the file alone."""
        try:
            text, chunk = "", b"?"
            while chunk and not text:
                chunk = self._stream.read(CHUNK)
                text = self._decoder.decode(chunk, final=not chunk)
            return text
        except UnicodeDecodeError as error:
            raise CookbookError(f"{self._path} is not UTF-8 ({error.reason}); save it as UTF-8") from None


def _skip_space(buffer: str, start: int) -> int:
    while start < len(buffer) and buffer[start] in " \t\r\n":
        start += 1
    return start


def _decode_item(path: Path, buffer: str, start: int, number: int) -> tuple[Any, int] | None:
    """The item that begins at `start` and the index after it, or None if the buffer ends inside it."""
    try:
        return DECODER.raw_decode(buffer, start)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(buffer) - CUT_MARGIN or error.msg.startswith("Unterminated string")
        if cut and len(buffer) < LONGEST_ROW:
            return None
        raise CookbookError(f"{path} stops being JSON in row {number + 1} ({error.msg}); correct the file") from None


def _more(path: Path, text: _Text, rest: str, number: int) -> str:
    chunk = text.read()
    if not chunk:
        raise CookbookError(f"{path} ends inside its array after row {number} (no closing bracket); copy it again")
    return rest + chunk


def _expect_comma(path: Path, found: str, number: int) -> None:
    if found != ",":
        raise CookbookError(f"{path} has {found!r} after row {number}, where a comma or ] must stand; correct the file")


def _check_tail(path: Path, tail: str) -> None:
    if tail.strip():
        raise CookbookError(f"{path} goes on after its array ({tail.strip()[:40]!r}); keep one array in a file")
