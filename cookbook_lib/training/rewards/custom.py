"""A user's own reward: one function in a file of theirs.

    reward.functions=[exact,custom]  reward.weights=[1,0.2]  reward.custom=my_reward.py:brief

    def brief(samples):
        return [1 - min(sample.tokens, 200) / 200 for sample in samples]

    brief.lowest = 0.0          how low it goes: what a completion without a verdict gets; needed below 0

A sample is `base.Sample`: text, task (prompt, truth, data_source, extra, ...), finished, tokens, group. None says that
there is no verdict. Every process runs the file, and the first of them asks the function.

A run takes up the rounds that it finds only where the file is the one by which they were paid. What the file imports or
reads is not looked at: after a change there, begin in another folder.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import math
import numbers
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.training.rewards.base import Part

FORM = "path/to/file.py:function"


def custom_part(place: str, weight: float = 1.0) -> Part:
    """The part that pays what a function of a user's file says. Raises CookbookError where file or function do not do.

    place: path/to/file.py:function, the path from the working directory.
    """
    path, name = _split(place)
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    function = _function(_module(path), path, name)
    return Part("custom", function, _lowest(function, path, name), weight, place=f"{path}:{name}", source=source)


def _split(place: str) -> tuple[Path, str]:
    path, _, name = place.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise CookbookError(f"reward.custom is {place!r}, but it names a file and a function in it: {FORM}.")
    if not Path(path).is_file():
        raise CookbookError(f"reward.custom={place}: there is no file {Path(path).absolute()}; correct the path.")
    return Path(path).absolute(), name


def _module(path: Path) -> ModuleType:
    """The file, run as a module of its own name, so that two files called reward.py do not meet."""
    name = f"cookbook_reward_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path  # .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        told = f"{_line(error, path)} raises {type(error).__name__}: {error}"
        raise CookbookError(f"reward.custom={path}{told}; the file must run before its function can.") from error
    return module


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}," if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}," if lines else ""


def _function(module: ModuleType, path: Path, name: str) -> Any:
    function = getattr(module, name, None)
    if callable(function) and not inspect.isclass(function):
        return function
    found = vars(module).values()
    functions = [f.__name__ for f in found if inspect.isfunction(f) and f.__module__ == module.__name__]
    near = difflib.get_close_matches(name, functions, n=1, cutoff=0.0)
    hint = f"did you mean {near[0]}?" if near else "it defines no function at all."
    raise CookbookError(f"reward.custom={path}:{name}: the file has no function {name}; {hint}")


def _lowest(function: Any, path: Path, name: str) -> float:
    lowest = getattr(function, "lowest", 0.0)
    if not isinstance(lowest, numbers.Real) or not math.isfinite(lowest):
        raise CookbookError(f"{path}: {name}.lowest is {lowest!r}, but it is the least it pays, a finite number.")
    return float(lowest)
