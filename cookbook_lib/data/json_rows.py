"""Rows of JSON files, streamed: JSON Lines and JSON arrays, told apart by their first character, not by their name.

    [ {...}, {...} ]     an array: decoded item by item from a sliding buffer, so a 10 GB array needs no 10 GB
    {...}\\n{...}\\n       lines: split on "\\n" alone (U+2028 in a string ends no line); "\\r" before it is space

A line that is not JSON is a broken row and the next line is read on; an array that stops being JSON is a broken file.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin, RowError, shown

CHUNK = 1 << 20
LONGEST_ROW = 256 * CHUNK
# An error this close to the end of the buffer may only mean that the rest has not been read yet (a cut "\\u00e9").
CUT_MARGIN = 16


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


DECODER = json.JSONDecoder(parse_constant=_no_constant)


def json_rows(path: Path, on_bad_row: Callable[[RowError], None]) -> Iterator[tuple[Origin, dict[str, Any]]]:
    """Every row of a .json, .jsonl or gzipped file, with its place."""
    try:
        with open_binary(path) as stream:
            if _starts_with_bracket(stream):
                yield from _array(path, stream)
            else:
                yield from _lines(path, stream, on_bad_row)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CookbookError(f"{path} is not a whole gzip file ({error}); copy it again") from None


def open_binary(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where its name ends in .gz."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _starts_with_bracket(stream: IO[bytes]) -> bool:
    head = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    return head.startswith(b"[")


# -------------------------------------------------------------------------------------------------------------- lines


def _lines(
    path: Path, stream: IO[bytes], on_bad_row: Callable[[RowError], None]
) -> Iterator[tuple[Origin, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        origin = Origin(str(path), number)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            row = _decoded_line(line)
        except RowError as error:
            on_bad_row(error.at(origin))
            continue
        yield origin, row


def _decoded_line(line: bytes) -> dict[str, Any]:
    try:
        row = DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        rule = f"the line must be UTF-8 (byte {error.start})"
        raise RowError("", 0, "line", line[error.start : error.end], rule, "save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        rule = f"each line must be one JSON object ({error.msg})"
        raise RowError("", 0, "line", line.decode().strip(), rule, "correct or delete the line") from None
    if not isinstance(row, dict):
        raise RowError("", 0, "line", row, "each line must be one JSON object", "wrap the value in {...}")
    return row


# -------------------------------------------------------------------------------------------------------------- array


def _array(path: Path, stream: IO[bytes]) -> Iterator[tuple[Origin, dict[str, Any]]]:
    for number, item in enumerate(_items(path, stream), start=1):
        if not isinstance(item, dict):
            raise CookbookError(
                f"{path} row {number} is {shown(item)}, but every item must be an object; correct the file"
            )
        yield Origin(str(path), number), item


def _items(path: Path, stream: IO[bytes]) -> Iterator[Any]:
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
