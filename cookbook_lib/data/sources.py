"""Where rows come from: files, folders, the hub, a frame in memory, a function of yours. Always as a stream.

    read_rows("train.jsonl.gz")                 .jsonl .json .parquet, each also .gz where that makes sense
    read_rows("folder/")                        every such file under it, in name order; of a published data set whose
                                                folders hold rows of several kinds, those of the source (own_inputs)
    read_rows("hub:openai/gsm8k#main:test")     Hugging Face hub: hub:name[#config][:split] or hub:name/file
    read_rows(frame)                            a pandas DataFrame

Another file type, or another place altogether, is one decorated function:

    @register_reader(".csv")
    def csv_rows(path):
        yield from csv.DictReader(path.open())

    @register_source("tickets", converter="alpaca")
    def tickets(limit, seed):
        for ticket in my_database():
            yield {"instruction": ticket.question, "output": ticket.answer}
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cookbook_lib.config import CookbookError
from cookbook_lib.data.hub import HUB_PREFIX as HUB_PREFIX
from cookbook_lib.data.hub import hub_file, hub_rows, is_hub, names_a_file
from cookbook_lib.data.json_rows import json_rows
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.report import Report

Row = tuple[Origin, dict[str, Any]]
Reader = Callable[[Path], Iterable[dict[str, Any]]]
Generator = Callable[[int, int], Iterable[dict[str, Any]]]

JSON_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".ndjson", ".ndjson.gz")
ROWS_PER_BATCH = 1024


@dataclass(frozen=True)
class Source:
    """A named place: which converter its rows need, and where they come from when no --input is given."""

    name: str
    converter: str
    about: str
    hub: str | None = None
    generate: Generator | None = None
    parts: tuple[str, ...] = ()
    """subfolders of the data set as published whose rows are of another kind than the others'"""
    part: str = ""
    """the one of them that is read; "" is what stands in none of them"""


READERS: dict[str, Reader] = {}
SOURCES: dict[str, Source] = {}


def register_reader(suffix: str) -> Callable[[Reader], Reader]:
    """Decorator: the function yields the rows (dicts) of a file whose name ends in `suffix`."""

    def register(reader: Reader) -> Reader:
        READERS[suffix] = reader
        return reader

    return register


def register_source(name: str, *, converter: str, about: str = "") -> Callable[[Generator], Generator]:
    """Decorator: the function takes (limit, seed) and yields the rows (dicts) that `converter` understands."""

    def register(generate: Generator) -> Generator:
        SOURCES[name] = Source(name, converter, about or (generate.__doc__ or "").strip(), generate=generate)
        return generate

    return register


def load_loader(path: Path) -> None:
    """Run a Python file whose decorated functions register themselves; raises CookbookError where it is not there."""
    if not path.is_file():
        raise CookbookError(f"there is no loader {path}; give a Python file that registers a source or a converter")
    runpy.run_path(str(path))


def source_named(name: str, known: Mapping[str, Source] | None = None) -> Source:
    """The registered source, or a CookbookError that lists those there are. known: another registry than SOURCES."""
    known = SOURCES if known is None else known
    if name not in known:
        raise CookbookError(f"source {name!r} is not known; choose one of {', '.join(sorted(known))}")
    return known[name]


def read_rows(inputs: Any, report: Report) -> Iterator[Row]:
    """Stream the rows of one input or of a list of them. Broken rows go to the report; broken files raise."""
    if isinstance(inputs, pd.DataFrame):
        yield from generated_rows("frame", _frame_rows(inputs), report)
        return
    for name in inputs if isinstance(inputs, list | tuple) else [inputs]:
        if is_hub(name) and names_a_file(str(name)):
            yield from _file_rows(hub_file(str(name)), report)
        elif is_hub(name):
            yield from generated_rows(str(name), hub_rows(str(name)), report)
        else:
            for path in files_of(Path(name)):
                yield from _file_rows(path, report)


def own_inputs(source: Source, inputs: Iterable[str], report: Report) -> Iterator[str]:
    """The inputs, a folder as published by the files of it that are the source's; the others are told to the report."""
    for name in inputs:
        yield from [name] if is_hub(name) else map(str, _own_files(source, Path(name), report))


def generated_rows(name: str, rows: Iterable[dict[str, Any]], report: Report) -> Iterator[Row]:
    """Rows that do not stand in a file, under the name of what makes them."""
    report.open_file(name)
    for number, row in enumerate(rows, start=1):
        origin = Origin(name, number)
        report.read(origin)
        yield origin, row
    report.close_file(name)


def files_of(path: Path) -> list[Path]:
    """The file itself, or the readable files under a folder in name order; raises CookbookError if there are none."""
    if path.is_file():
        return [path]
    if not path.exists():
        hub = f"; for a hub data set write {HUB_PREFIX}{path}" if len(path.parts) == 2 and not path.suffix else ""
        raise CookbookError(f"there is no file or folder {path}; check the path{hub}")
    found = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file))
    if not found:
        raise CookbookError(f"folder {path} has no file that ends in {', '.join(_suffixes())}; name the right folder")
    return found


def _own_files(source: Source, folder: Path, report: Report) -> list[Path]:
    """A folder that has nothing in the source's place is not as published, and is read as a whole."""
    files = files_of(folder)
    own = [file for file in files if _is_own(file.relative_to(folder), source)]
    if own:
        report.leave_aside(str(file) for file in files if not _is_own(file.relative_to(folder), source))
    return own or files


def _is_own(file: Path, source: Source) -> bool:
    return next((name for name in file.parts[:-1] if name in source.parts), "") == source.part


def _file_rows(path: Path, report: Report) -> Iterator[Row]:
    report.open_file(str(path))
    try:
        for origin, row in _reader(path, report):
            report.read(origin)
            yield origin, row
    except OSError as error:
        raise CookbookError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from None
    report.close_file(str(path))


def _reader(path: Path, report: Report) -> Iterator[Row]:
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return ((Origin(str(path), n), row) for n, row in enumerate(reader(path), start=1))
    if path.name.endswith(".parquet"):
        return _parquet_rows(path)
    if path.name.endswith(JSON_SUFFIXES):
        return json_rows(path, report.refuse_unread)
    raise CookbookError(f"{path} has no known ending; rename it to one of {', '.join(_suffixes())}")


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield Origin(str(path), number), row
    except pa.ArrowException as error:
        raise CookbookError(f"{path} is no whole parquet file ({str(error).splitlines()[0]}); write it again") from None


def _frame_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), ROWS_PER_BATCH):
        for row in frame.iloc[start : start + ROWS_PER_BATCH].to_dict("records"):
            yield {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """A cell as JSON would hold it: pandas keeps lists as arrays, and an empty cell as NaN."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and value != value else value


def _is_data(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.endswith(_suffixes())


def _suffixes() -> tuple[str, ...]:
    return (*JSON_SUFFIXES, ".parquet", *READERS)
