"""The reward of calling the right tools: 1 where the calls are the true ones, in any order, 0 where they are others.

    <tool_call>
    {"name": "get_stock", "arguments": {"sku": 7}}        or "parameters"; one object or several, in one block or several
    </tool_call>

Calls are compared as JSON is: 7 is 7.0 and neither "7" nor true, keys have no order. A block that is not JSON, or lacks
its end, leaves no call at all. Text around the calls is free, calls inside the reasoning are none.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.verdicts import final_part
from cookbook_lib.training.rewards.base import Sample, refuse_task, said

Calls = Counter[tuple[str, Hashable]]

OPEN, CLOSE = "<tool_call>", "</tool_call>"
SPACE = re.compile(r"\s*")


def tool_call(samples: Sequence[Sample]) -> list[float | None]:
    """The calls are the true ones. None: no call can be read."""
    return [_equal_calls(sample) for sample in samples]


def read_calls(text: str) -> Calls | None:
    """How often each call is made, arguments in a form that compares as JSON does; None where there is none, or one that
    is not sound."""
    try:
        calls = Counter(_call(value) for block in _blocks(final_part(text)) for value in _objects(block))
    except (ValueError, ArithmeticError, RecursionError):  # not JSON, a number beyond Decimal's, nested beyond reading
        return None
    return calls or None


def true_calls(task: JudgeTask) -> Calls:
    """The calls that a task knows to be right: text with such blocks, or a list of {name, arguments}."""
    if task.kind != "answer":
        refuse_task(task, "kind", task.kind, "this reward is for answers", "set reward.functions to what is asked")
    calls = read_calls(task.truth) if isinstance(task.truth, str) else _listed(task.truth)
    if calls is None:
        rule = f"it holds calls, as {OPEN}JSON{CLOSE} or a list (were none right, all text without one would be paid)"
        refuse_task(task, "truth", task.truth, rule, "correct the row, or leave it out")
    return calls


def _equal_calls(sample: Sample) -> float | None:
    truth, calls = true_calls(sample.task), read_calls(said(sample))
    return None if calls is None else float(calls == truth)


def _listed(truth: Any) -> Calls | None:
    written = "\n".join(map(json.dumps, truth if isinstance(truth, list) else [truth]))
    return read_calls(f"{OPEN}{written}{CLOSE}")


def _blocks(part: str) -> Iterator[str]:
    """What stands between each opening tag and its end. Raises ValueError where one lacks the other."""
    outside, *opened = part.split(OPEN)
    if CLOSE in outside or any(piece.count(CLOSE) != 1 for piece in opened):
        raise ValueError("a tag lacks its other")
    return (piece.partition(CLOSE)[0] for piece in opened)


def _objects(block: str) -> Iterator[Any]:
    """The JSON values of a block, one after the other."""
    place = SPACE.match(block).end()  # type: ignore[union-attr]  # matches everywhere
    while place < len(block):
        value, place = DECODER.raw_decode(block, place)
        yield value
        place = SPACE.match(block, place).end()  # type: ignore[union-attr]


def _call(value: Any) -> tuple[str, Hashable]:
    """Name and arguments of a call. Raises ValueError where it is none."""
    arguments = [value[key] for key in ("arguments", "parameters") if key in value] if isinstance(value, dict) else []
    if len(arguments) != 1 or not isinstance(value.get("name"), str):
        raise ValueError("a call has a name and arguments")
    written = DECODER.decode(arguments[0]) if isinstance(arguments[0], str) else arguments[0]
    if not isinstance(written, dict):
        raise ValueError("arguments are an object")
    return value["name"], _comparable(written)


def _comparable(value: Any) -> Hashable:
    """A value that equals another exactly where JSON means the same; True is not 1, as it is in Python."""
    if isinstance(value, dict):
        return "object", frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(_comparable, value))
    return type(value).__name__, value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_int=Decimal, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_unique)
