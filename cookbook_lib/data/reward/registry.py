"""Reward converters by name: a row as somebody published it -> preference pairs, or scored responses.

    @register_reward_converter("tickets", about="question, good, bad: our support tickets", kinds=("pairs",))
    def tickets(row, kind, options):
        return PreferencePair(user_turn(row["question"]), row["good"], row["bad"], source="tickets")

A converter returns one record or several. It calls `refuse(...)` for a row that breaks the format, raises RowSkipped for
one that the user's own rule leaves out, and yields a RowError (instead of raising it) for one record of a sound row.
It says which pairs are ties and how wide their margins are; whether those stay is decided once for all, by `kept_pairs`
(conversion.py). `gather` joins rows that belong together (both answers to one prompt) before pairs are made of them;
scores are made row by row. Origins are added by whoever calls, and so is a group where the record has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.registry import Gather
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import RowError, refuse
from cookbook_lib.data.reward.records import RewardRecord

Kind = Literal["pairs", "scores"]
Weights = tuple[tuple[str, float], ...]

KINDS: tuple[Kind, ...] = ("pairs", "scores")
EXACT = 6  # decimals of a weighted score; 0.1 + 0.2 must not beat 0.3


@dataclass(frozen=True)
class RewardOptions:
    """What a user may ask of reward data; converters name those of `aspect` and their own that they use."""

    aspect: Weights = ()
    """which attributes make up the score, each with its weight; () is the source's own choice"""
    ties: Literal["drop", "keep"] = "drop"
    """of every source: whether pairs of which neither is better are left out, or kept and marked"""
    min_gap: float = 0.0
    """of every source: pairs whose margin is known and below this are left out"""
    language: str | None = None
    """oasst: only trees in this language, en say"""
    prompt_field: str = "prompt"
    """label_studio: the data field that holds the prompt, a text or messages"""
    answer_fields: tuple[str, ...] = ("answer1", "answer2")
    """label_studio: the data fields of the answers, left first; or one field that holds a list of them"""
    control: str | None = None
    """label_studio: the name of the labelling tag that says which answer is better; None finds it"""
    min_agreement: float = 0.0
    """label_studio: pairs whose verdict has a smaller share of the annotators are left out"""

    def __post_init__(self) -> None:
        if self.ties not in ("drop", "keep"):
            raise CookbookError(f"ties is {self.ties!r}, but they are left out or kept; write drop or keep")
        if not 0 <= self.min_gap < float("inf"):
            raise CookbookError(f"min gap is {self.min_gap}, but a margin is 0 or more; write 0 to keep every margin")
        if not 0 <= self.min_agreement <= 1:
            raise CookbookError(f"min agreement is {self.min_agreement}, but it is a share; write 0.67 for two thirds")

    def score_of(self, scores: Mapping[str, float], otherwise: str) -> float:
        """The score that is learned: `aspect` over these scores, or the one named `otherwise` when nothing was asked.

        Raises CookbookError for an attribute that the source does not know.
        """
        weights = self.aspect or ((otherwise, 1.0),)
        unknown = [name for name, _ in weights if name not in scores]
        if unknown:
            known = ", ".join(scores)
            raise CookbookError(f"aspect {unknown[0]!r} is not scored here; choose from {known}")
        return round(sum(weight * scores[name] for name, weight in weights), EXACT)


EVERYWHERE = ("ties", "min_gap")

Made = RewardRecord | RowError
RewardConvert = Callable[[dict[str, Any], Kind, RewardOptions], RewardRecord | Iterable[Made]]
AnyRewardConvert = TypeVar("AnyRewardConvert", bound=RewardConvert)


@dataclass(frozen=True)
class RewardConverter:
    """A named converter: what it reads, which kinds of record it makes, and which options change what it does."""

    name: str
    convert: RewardConvert
    about: str
    kinds: tuple[Kind, ...] = ("pairs",)
    uses: tuple[str, ...] = ()
    gather: Gather | None = None
    scale: tuple[float, float] | None = None  # what its scores lie between, where that is always the same


REWARD_CONVERTERS: dict[str, RewardConverter] = {}


def register_reward_converter(
    name: str,
    *,
    about: str = "",
    kinds: tuple[Kind, ...] = ("pairs",),
    uses: tuple[str, ...] = (),
    gather: Gather | None = None,
    scale: tuple[float, float] | None = None,
) -> Callable[[AnyRewardConvert], AnyRewardConvert]:
    """Decorator: the function takes (row, kind, options) and returns records of that kind; the first kind is the default."""

    def register(convert: AnyRewardConvert) -> AnyRewardConvert:
        said = about or (convert.__doc__ or "").strip()
        REWARD_CONVERTERS[name] = RewardConverter(name, convert, said, kinds, uses, gather, scale)
        return convert

    return register


def reward_converter_named(name: str) -> RewardConverter:
    """The registered converter, or a CookbookError that lists those there are."""
    if name not in REWARD_CONVERTERS:
        raise CookbookError(f"converter {name!r} is not known; choose one of {', '.join(sorted(REWARD_CONVERTERS))}")
    return REWARD_CONVERTERS[name]


def kind_for(converter: RewardConverter, kind: Kind | None) -> Kind:
    """The kind that was asked for, or the converter's first; raises CookbookError for one that it cannot make."""
    if kind is not None and kind not in converter.kinds:
        made = " and ".join(converter.kinds)
        raise CookbookError(f"{converter.name!r} rows make {made}, and no {kind}; leave --kind out")
    return kind or converter.kinds[0]


def check_reward_options(converter: RewardConverter, kind: Kind, options: RewardOptions) -> None:
    """Raise CookbookError for options that were set and that do not change these records."""
    changed = [field.name for field in fields(options) if getattr(options, field.name) != field.default]
    read = converter.uses + (EVERYWHERE if kind == "pairs" else ())
    idle = [f"--{name.replace('_', '-')}" for name in changed if name not in read]
    if idle:
        raise CookbookError(f"{', '.join(idle)} has no effect on {kind} of {converter.name!r} rows; leave it out")


def weights_from(text: str) -> Weights:
    """`correctness`, or `helpfulness=0.65,verbosity=-0.4`: attributes and weights (1 where none is written)."""
    weights = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            weights.append((name.strip(), float(value) if equals else 1.0))
        except ValueError:
            raise CookbookError(f"aspect {part!r} has no number after '='; write it as helpfulness=0.65") from None
    if not weights or len(dict(weights)) < len(weights):
        raise CookbookError(
            f"aspect {text!r} must name attributes, each once; write helpfulness or helpfulness=0.65,..."
        )
    return tuple(weights)


def user_turn(text: str) -> tuple[Message, ...]:
    """A prompt of one question."""
    if not text.strip():
        refuse("prompt", text, "a prompt is not empty", "drop the row")
    return ({"role": "user", "content": text},)
