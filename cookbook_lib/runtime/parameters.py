"""Parameters of a headless run: read from the command line, checked against the notebook's own.

    -p lr 1e-5   ->   {"lr": 1e-05}        a value becomes a bool, None or a number where it reads as one (as in papermill)
    -y '{"files": ["a", "b"]}'             JSON, for lists and for strings that look like numbers

papermill passes an unknown name on with a warning, and without a cell tagged `parameters` it injects at the top, where the
notebook's own values win. Both are errors here.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cookbook_lib.runtime.settings import RuntimeSettingError

Value = Any
_WORDS: dict[str, Value] = {"True": True, "False": False, "None": None}


def parse_value(text: str) -> Value:
    """A word of the command line as papermill reads it: True | False | None | int | float | str."""
    if text in _WORDS:
        return _WORDS[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def collect(pairs: Iterable[Sequence[str]], json_texts: Iterable[str]) -> dict[str, Value]:
    """All of -y, then all of -p on top; raises RuntimeSettingError for text that is not a JSON object."""
    parameters: dict[str, Value] = {}
    for text in json_texts:
        parameters |= _read_json(text)
    return parameters | {name: parse_value(value) for name, value in pairs}


def check(notebook: str, given: Iterable[str]) -> None:
    """Refuse names that the notebook's parameters cell does not have; raises RuntimeSettingError with the nearest one."""
    if not (names := list(given)):
        return
    known = declared(notebook)
    if not known:
        raise RuntimeSettingError(
            f"{notebook} takes no parameters, but {', '.join(names)} was given: "
            "tag its first code cell `parameters` and assign literals there."
        )
    problems = [_unknown(name, known) for name in names if name not in known]
    if problems:
        raise RuntimeSettingError(f"{notebook} has no {'; no '.join(problems)}. Its parameters are {', '.join(known)}.")


def declared(notebook: str) -> list[str]:
    """The names that the notebook's parameters cell assigns, in its order."""
    from papermill import inspect_notebook

    return list(inspect_notebook(notebook))


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"parameter {name!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else "")


def _read_json(text: str) -> dict[str, Value]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RuntimeSettingError(
            f"-y {text!r} is not JSON ({error}); write an object, as in '{{\"lr\": 1e-5}}'."
        ) from error
    if not isinstance(values, dict):
        raise RuntimeSettingError(f"-y {text!r} is a {type(values).__name__}; write an object of names and values.")
    return values
