"""Rows of JSON files, streamed: JSON Lines and JSON arrays, told apart by their first character, not by their name.

    [ {...}, {...} ]     an array: decoded item by item from a sliding buffer, so a 10 GB array needs no 10 GB
    {...}\\n{...}\\n       lines: split on "\\n" alone (U+2028 in a string ends no line); "\\r" before it is space

A line that is not JSON is a broken row and the next line is read on; an array that stops being JSON is a broken file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from cookbook_lib.config import CookbookError
from cookbook_lib.data.json_array import DECODER, array_items
from cookbook_lib.data.origin import Origin, RowError, shown


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


def _array(path: Path, stream: IO[bytes]) -> Iterator[tuple[Origin, dict[str, Any]]]:
    for number, item in enumerate(array_items(path, stream), start=1):
        if not isinstance(item, dict):
            raise CookbookError(
                f"{path} row {number} is {shown(item)}, but every item must be an object; correct the file"
            )
        yield Origin(str(path), number), item
