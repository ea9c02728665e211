"""What a reward model learns from: two answers of which one is better, or an answer and its scores.

    PreferencePair    prompt (messages)  ─┬─▶ chosen      better, by `margin` if the source says how much
                                          └─▶ rejected    or as good, when `tie`
    ScoredResponse    prompt (messages)  ───▶ response    {"helpfulness": 3.0, "correctness": 4.0}

The prompt is everything before the answer: it begins with a system or a user message and ends with the user's (or a tool's).
A record checks itself when it is made; `group` keeps all answers to one prompt on one side of a split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cookbook_lib.data.messages import Message, check
from cookbook_lib.data.origin import Origin, RowError, refuse


@dataclass(frozen=True)
class PreferencePair:
    """Raises RowError (with the origin, if any) for a prompt that breaks its schema, an empty answer, or equal answers."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float | None = None  # how much better, in the source's own steps (HelpSteer2: 1 to 3); None: not said
    tie: bool = False  # neither is better; `chosen` and `rejected` are only names then
    origin: Origin | None = None
    group: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        try:
            _check_prompt(self.prompt)
            _check_answer("chosen", self.chosen)
            _check_answer("rejected", self.rejected)
            if self.chosen == self.rejected:
                refuse("rejected", self.rejected, "the two answers of a pair differ", "drop the pair")
            _check_margin(self.margin, self.tie)
        except RowError as error:
            raise error.at(self.origin) from None


@dataclass(frozen=True)
class ScoredResponse:
    """Raises RowError (with the origin, if any) for a prompt that breaks its schema, an empty answer, or no finite score."""

    prompt: tuple[Message, ...]
    response: str
    scores: Mapping[str, float] = field(default_factory=dict)  # attribute -> value; `score` is the one that is learned
    origin: Origin | None = None
    group: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        try:
            _check_prompt(self.prompt)
            _check_answer("response", self.response)
            if not self.scores:
                refuse("scores", {}, "a scored response has at least one score", "name the column that holds it")
            for name, value in self.scores.items():
                if not math.isfinite(value):
                    refuse(name, value, "a score is a finite number", "correct the row, or drop it")
        except RowError as error:
            raise error.at(self.origin) from None


RewardRecord = PreferencePair | ScoredResponse


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    check(prompt)
    if prompt[-1]["role"] not in ("user", "tool"):
        found, rule = prompt[-1]["role"], "a prompt ends with what is to be answered, a user's or a tool's message"
        refuse(f"prompt[{len(prompt) - 1}].role", found, rule, "move the assistant's last message into the answer")


def _check_answer(name: str, text: object) -> None:
    if not isinstance(text, str):
        refuse(name, text, "an answer is text", "write it as a string")
    if not text.strip():
        refuse(name, text, "an answer is not empty", "drop the row")


def _check_margin(margin: float | None, tie: bool) -> None:
    if margin is None:
        return
    if not math.isfinite(margin) or margin < 0:
        refuse("margin", margin, "a margin is 0 or more, and finite", "swap the answers, or correct the row")
    if tie and margin:
        refuse("margin", margin, "answers that tie have no margin", "leave one of the two out")
