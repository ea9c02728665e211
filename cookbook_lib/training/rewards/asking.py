"""Asking a reward function, and trusting nothing that it says.

    list of floats and None, one for each sample    ->    float64 (C,), NaN: no verdict

A user's function that raises, or returns another count, another type, NaN, infinity or less than its own lowest, stops
the run in a sentence with its file, its line and the sample: silently repaired, it would train the model on noise.
"""

from __future__ import annotations

import math
import numbers
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import shown
from cookbook_lib.training.rewards.base import Part, Sample

LARGEST = float(np.finfo(np.float32).max)


def ask(part: Part, samples: Sequence[Sample]) -> np.ndarray:
    """What a part's function pays, float64 (C,), NaN where it says None. Raises CookbookError as above."""
    values = _listed(part, _called(part, samples), samples)
    return np.array([_value(part, value, i, samples) for i, value in enumerate(values)], dtype=np.float64)


def _called(part: Part, samples: Sequence[Sample]) -> Any:
    try:
        return part.function(list(samples))
    except Exception as error:
        if not part.place:  # ours: its own errors are sentences already, and a bug of ours shall be seen as one
            raise
        _raise_for(part, error, samples)


def _listed(part: Part, values: Any, samples: Sequence[Sample]) -> list[Any]:
    values = values.tolist() if hasattr(values, "tolist") else values  # an array, or a tensor
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        _refuse(part, f"returned {_kind(values)}", "a list, one number or None for each sample")
    if len(values) != len(samples):
        _refuse(part, f"returned {len(values)} values for {len(samples)} samples", "one for each, in their order")
    return list(values)


def _value(part: Part, value: Any, i: int, samples: Sequence[Sample]) -> float:
    if value is None:
        return math.nan
    paid = _float(value)
    if paid is None:
        _refuse(part, f"returned {_kind(value)} for {described(samples, i)}", "a number, or None for no verdict")
    found = f"returned {paid:g} for {described(samples, i)}"
    if not abs(paid) <= LARGEST:
        _refuse(part, found, "a finite number that fp32 can hold, or None for no verdict")
    if paid < part.lowest:
        fix = f"say how low it goes: {part.place.rpartition(':')[2]}.lowest = {paid!r}"
        _refuse(part, found, f"nothing below its lowest, {part.lowest:g}; {fix}")
    return paid


def _float(value: Any) -> float | None:
    """The number that a value is; None for what is none. Infinity for whole numbers beyond floats."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value  # a scalar of numpy or torch
    try:
        return float(value) if isinstance(value, numbers.Real) else None
    except OverflowError:
        return math.inf


def described(samples: Sequence[Sample], i: int) -> str:
    """Which sample: its number, where its task was read, and the beginning of its text."""
    origin = samples[i].task.origin
    return f"sample {i} ({f'{origin}, ' if origin else ''}text {shown(samples[i].text)})"


def _raise_for(part: Part, error: Exception, samples: Sequence[Sample]) -> NoReturn:
    """Ask again for one sample at a time, to name the one; a function that fails for all of them together names none."""
    alone = (i for i, sample in enumerate(samples) if _fails(part, sample, type(error)))
    which = next(alone, None)
    place = f"{len(samples)} samples" if which is None else described(samples, which)
    frames = reversed(traceback.extract_tb(error.__traceback__))
    file = part.place.rpartition(":")[0]
    line = next((f", line {frame.lineno}," for frame in frames if frame.filename == file), "")
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    raise CookbookError(f"reward.custom={part.place}{line} raises {told} for {place}; mend the function.") from error


def _fails(part: Part, sample: Sample, kind: type[Exception]) -> bool:
    try:
        part.function([sample])
    except Exception as error:
        return type(error) is kind
    return False


def _kind(value: Any) -> str:
    return f"{shown(value)} of type {type(value).__name__}"


def _refuse(part: Part, found: str, rule: str) -> NoReturn:
    place = f"reward.custom={part.place}" if part.place else f"reward.functions {part.name}"
    raise CookbookError(f"{place} {found}, but a reward function returns {rule}.")
