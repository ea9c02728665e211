"""One prompt of reinforcement learning with its truth: what a model is asked, and what a right completion says.

    kind         truth                  asked by
    score        3                      score_prompt: how good is this answer?
    preference   "A" | "B" | "tie"      compare_prompt: which of two answers is better? Asked twice, in both orders
    answer       "72", or any JSON      anything whose completion can be checked: mathematics, tool calls, counting

Both orders of a pair are two tasks with one `pair_id`. Which order is "ab" is drawn from the texts, so the name of an order
says nothing about the verdict. `group` keeps everything about one opening question on one side of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cookbook_lib.data.judge.verdicts import PREFERENCES
from cookbook_lib.data.messages import Message, check
from cookbook_lib.data.origin import MISSING, Origin, RowError, refuse

TaskKind = Literal["score", "preference", "answer"]
Order = Literal["ab", "ba"]

TASK_KINDS: tuple[TaskKind, ...] = ("score", "preference", "answer")
ORDERS: tuple[Order, ...] = ("ab", "ba")


@dataclass(frozen=True)
class JudgeTask:
    """Raises RowError (with the origin, if any) for a prompt that breaks its schema, and a truth that its kind has not."""

    prompt: tuple[Message, ...]
    kind: TaskKind
    truth: Any
    data_source: str
    ability: str = "judge"
    pair_id: str | None = None
    """what both orders of a pair share"""
    order: Order | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """further things that a reward may want to know: verl's extra_info"""
    origin: Origin | None = None
    group: str | None = None
    style: str = "rule"
    """verl's reward_model.style: who checks the completion"""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """what else stood in the row that it was read from"""

    def __post_init__(self) -> None:
        try:
            _check_prompt(self.prompt)
            _check_truth(self.kind, self.truth)
            _check_order(self.kind, self.pair_id, self.order)
        except RowError as error:
            raise error.at(self.origin) from None


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    check(prompt)
    if prompt[-1]["role"] not in ("user", "tool"):
        found, rule = prompt[-1]["role"], "a prompt ends with what is to be answered, a user's or a tool's message"
        refuse(f"prompt[{len(prompt) - 1}].role", found, rule, "leave the answer out: it is to be generated")


def _check_truth(kind: str, truth: Any) -> None:
    if kind not in TASK_KINDS:
        refuse("kind", kind, f"a task is one of {', '.join(TASK_KINDS)}", "correct the row")
    if kind == "score" and (isinstance(truth, bool) or not isinstance(truth, int)):
        refuse("truth", truth, "a score is a whole number", "correct the row")
    if kind == "preference" and truth not in PREFERENCES:
        refuse("truth", truth, f"a preference is one of {', '.join(PREFERENCES)}", "correct the row")
    if kind == "answer" and (truth is None or truth is MISSING or truth == ""):
        refuse("truth", truth, "an answer can only be checked against one", "drop the row")


def _check_order(kind: str, pair_id: str | None, order: str | None) -> None:
    if order is None and pair_id is None:
        return
    if kind != "preference" or order not in ORDERS or not pair_id:
        rule = f"a preference that is asked in both orders has a pair_id, and an order, {' or '.join(ORDERS)}"
        refuse("pair_id and order", (pair_id, order), rule, "give both of them to preferences, or none")
