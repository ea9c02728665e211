"""Converters by name: a row as somebody published it -> conversations.

    @register_converter("tickets", about="question, answer: our support tickets")
    def tickets(row, options):
        return chat(row["question"], row["answer"])

A converter returns one Conversation or several, calls `refuse(...)` for a row that breaks the format, and raises
RowSkipped for one that the user's own rule leaves out. `gather` joins rows that belong together before they are
converted (both answers to one prompt, say).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from cookbook_lib.config import CookbookError
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.sources import Row


@dataclass(frozen=True)
class Options:
    """What a user may ask of a converter; each converter names those that it uses."""

    min_correctness: int = 4
    """helpsteer2: keep responses whose correctness, 0 to 4, is at least this"""
    reward_threshold: float = 0.95
    """gym: keep rollouts whose reward is at least this"""
    max_reward: float = 1.0
    """gym: a reward above this is an error, since the threshold would mean something else"""
    aspect: str = "helpfulness"
    """judge: the score that verdicts are about"""
    verdict: Literal["first", "last"] = "last"
    """judge: whether the verdict stands last, after its critique, where it is read; or first"""
    asks: Literal["both", "scores", "preferences"] = "both"
    """judge: for the score of a response, for the better of two, or for both"""
    orders: Literal["one", "both"] = "one"
    """judge: ask about two responses in one order, drawn by a coin, or in both, so that no place is better"""
    rubric: str | None = None
    """judge: what is judged by, a YAML file or a name; None is the short one of the aspect"""


Convert = Callable[[dict[str, Any], Options], Conversation | Iterable[Conversation]]
AnyConvert = TypeVar("AnyConvert", bound=Convert)
Gather = Callable[[Iterable[Row]], Iterator[Row]]


@dataclass(frozen=True)
class Converter:
    """A named converter, what it reads, and which options change what it does."""

    name: str
    convert: Convert
    about: str
    uses: tuple[str, ...] = ()
    gather: Gather | None = None


CONVERTERS: dict[str, Converter] = {}


def register_converter(
    name: str, *, about: str = "", uses: tuple[str, ...] = (), gather: Gather | None = None
) -> Callable[[AnyConvert], AnyConvert]:
    """Decorator: the function takes (row, options) and returns Conversations."""

    def register(convert: AnyConvert) -> AnyConvert:
        CONVERTERS[name] = Converter(name, convert, about or (convert.__doc__ or "").strip(), uses, gather)
        return convert

    return register


def converter_named(name: str) -> Converter:
    """The registered converter, or a CookbookError that lists those there are."""
    if name not in CONVERTERS:
        raise CookbookError(f"converter {name!r} is not known; choose one of {', '.join(sorted(CONVERTERS))}")
    return CONVERTERS[name]


def check_options(converter: Converter, options: Options) -> None:
    """Raise CookbookError for options that were set and that this converter does not read."""
    changed = [field.name for field in fields(Options) if getattr(options, field.name) != field.default]
    idle = [f"--{name.replace('_', '-')}" for name in changed if name not in converter.uses]
    if idle:
        raise CookbookError(f"{', '.join(idle)} has no effect on {converter.name!r} rows; leave it out")
