"""What a judge judges by: a task, principles, and what each score means. In words of the project, or in a file of yours.

    name: support                                  a YAML file; every key but `principles` is required
    version: 1                                     raise it when the wording changes: results name both
    task: Judge whether the customer is helped.
    principles:
      - A step that cannot be undone is announced before it is told.
    levels:                                        whole numbers without gaps: the scale that scores are on
      0: leads the customer astray
      1: solves nothing
      2: solves it

The project's own are in rubric_files/: one short rubric for each attribute of HelpSteer2, and `full`, which says more of
helpfulness. Comparisons use task and principles; levels are for scores.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cookbook_lib.config import CookbookError

FOLDER = Path(__file__).parent / "rubric_files"
DEFAULT = "helpfulness"
LONGEST_SCALE = 101


@dataclass(frozen=True)
class Rubric:
    """levels: score -> what it means, of every whole number from the lowest to the highest.

    Raises CookbookError for an empty text, and for a scale with gaps.
    """

    name: str
    version: int
    task: str
    principles: tuple[str, ...]
    levels: Mapping[int, str]

    def __post_init__(self) -> None:
        _check_text("task", self.task)
        for number, principle in enumerate(self.principles, start=1):
            _check_text(f"principle {number}", principle)
        _check_levels(self.levels)
        object.__setattr__(self, "levels", dict(sorted(self.levels.items())))

    @property
    def lowest(self) -> int:
        """The lowest score of the scale."""
        return min(self.levels)

    @property
    def highest(self) -> int:
        """The highest score of the scale."""
        return max(self.levels)

    @property
    def title(self) -> str:
        """Name and version, as results name the rubric: `helpfulness 1`."""
        return f"{self.name} {self.version}"


def load_rubric(path: str | Path | None = None) -> Rubric:
    """The rubric of a YAML file, or one of the project's own by its name; None is `helpfulness`.

    Raises CookbookError for a file that is not there, and for one that breaks a rule: the file, the key and what it holds.
    """
    if path is None or str(path) in own_rubrics():
        return _own(str(path or DEFAULT))
    file = Path(path).expanduser()
    return _unchanged(file, file.stat().st_mtime_ns) if file.is_file() else rubric_from(file)


def own_rubrics() -> tuple[str, ...]:
    """The names of the project's own rubrics."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@lru_cache(maxsize=8)
def _unchanged(file: Path, _written: int) -> Rubric:
    """The rubric of a file as long as nobody writes it: rows by the thousand ask for it."""
    return rubric_from(file)


@cache
def _own(name: str) -> Rubric:
    return rubric_from(FOLDER / f"{name}.yaml")


def rubric_from(file: Path) -> Rubric:
    """The rubric in this YAML file; see `load_rubric` for what it raises."""
    given = _read(file)
    known = [entry.name for entry in fields(Rubric)]
    for key in given:
        if key not in known:
            _refuse(file, f"key {key!r} is none of a rubric's; {_nearest(str(key), known)}")
    for key in known:
        if key not in given and key != "principles":
            _refuse(file, f"key {key!r} is missing; a rubric has {', '.join(known)}")
    try:
        return _made(given)
    except CookbookError as error:
        _refuse(file, str(error))


def _read(file: Path) -> dict[Any, Any]:
    if not file.is_file():
        names = own_rubrics()
        raise CookbookError(
            f"there is no rubric {file}; give a YAML file, or a name: {_nearest(str(file), names, said=', '.join(names))}"
        )
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        _refuse(file, f"it cannot be read as YAML ({' '.join(str(error).split())}); correct it")
    if not isinstance(given, dict):
        _refuse(file, f"it holds {type(given).__name__}, but a rubric is keys with values; see rubric_files/full.yaml")
    return given


def _made(given: Mapping[str, Any]) -> Rubric:
    name, version, principles, levels = (given.get(key) for key in ("name", "version", "principles", "levels"))
    _check_text("name", name)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise CookbookError(f"version is {version!r}, but it counts the wordings from 1; write a whole number")
    if not isinstance(principles, list | None):
        raise CookbookError(f"principles is {principles!r}, but it is a list of sentences; begin each with '- '")
    if not isinstance(levels, dict):
        raise CookbookError(f"levels is {levels!r}, but it says what each score means; write 0: ..., 1: ...")
    return Rubric(str(name), version, given["task"], tuple(principles or ()), levels)


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise CookbookError(f"{name} is {text!r}, but it must be text; write a sentence")


def _check_levels(levels: Mapping[Any, Any]) -> None:
    for score, meaning in levels.items():
        if isinstance(score, bool) or not isinstance(score, int):
            raise CookbookError(f"levels has {score!r}, but a score is a whole number; write it without a point")
        _check_text(f"level {score}", meaning)
    if not 2 <= len(levels) <= LONGEST_SCALE or max(levels) - min(levels) + 1 != len(levels):
        found = ", ".join(map(str, sorted(levels))) or "nothing"
        rule = f"a scale has 2 to {LONGEST_SCALE} whole numbers without gaps"
        raise CookbookError(f"levels has {found}, but {rule}; write one line for each score")


def _nearest(name: str, known: Iterable[str], said: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else said or f"a rubric has {', '.join(known)}"


def _refuse(file: Path, what: str) -> NoReturn:
    raise CookbookError(f"rubric {file}: {what}")
