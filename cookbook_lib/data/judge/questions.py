"""Scored responses and preference pairs -> the prompts that a judge learns from, with what it should have said.

    ScoredResponse   ─▶ score_prompt                      truth 3
    PreferencePair   ─▶ compare_prompt, order "ab"        truth "A", say        one pair_id
                     └▶ compare_prompt, order "ba"        truth "B"
    Conversation     ─▶ its prompt as it stands           truth "72", what a right answer states

A score that lies on another scale is put on the rubric's: the source's range is stretched onto it in a straight line, and
what falls between two whole numbers goes to the nearer one (a half upwards).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cookbook_lib.data.judge.orders import pair_name, prompt_text, swaps
from cookbook_lib.data.judge.prompts import PROMPT_VERSION, compare_prompt, score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric
from cookbook_lib.data.judge.verdicts import Preference, swapped
from cookbook_lib.data.origin import MISSING, RowError, refuse
from cookbook_lib.data.records import Conversation, opening_group
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse

EXACT = 9  # decimals below which a score is on the scale


@dataclass(frozen=True)
class Scale:
    """The range that a source's scores lie in, ends included."""

    low: float
    high: float

    def onto(self, rubric: Rubric, value: float) -> int:
        """The rubric's score that this one stands for; raises RowError for a value out of range."""
        if not self.low <= value <= self.high:
            rule = f"the scores of this source lie between {self.low:g} and {self.high:g}"
            refuse("score", value, rule, "correct the row, or give the right range")
        share = (value - self.low) / (self.high - self.low)
        return math.floor(round(rubric.lowest + share * (rubric.highest - rubric.lowest), EXACT) + 0.5)


def score_task(scored: ScoredResponse, rubric: Rubric, scale: Scale | None = None) -> JudgeTask:
    """The prompt that asks for this response's `score`.

    scale: what the score lies on; None says that it is the rubric's, and must be one of its whole numbers.
    Raises RowError (with the origin, if any) for a response without such a score.
    """
    asked = score_prompt((*scored.prompt, {"role": "assistant", "content": scored.response}), rubric)
    try:
        truth = _on_scale(scored.scores, rubric, scale)
    except RowError as error:
        raise error.at(scored.origin) from None
    source, group = scored.source or "judge", scored.group or opening_group(scored.prompt)
    extra = wording(rubric)
    return JudgeTask(asked, "score", truth, data_source=source, extra=extra, origin=scored.origin, group=group)


def _on_scale(scores: Mapping[str, float], rubric: Rubric, scale: Scale | None) -> int:
    value = next(iter(scores.values())) if len(scores) == 1 else scores.get("score")
    if value is None:
        refuse("score", MISSING, f"it is what is learned (scores here: {', '.join(scores)})", "name the attribute")
    if scale is not None:
        return scale.onto(rubric, value)
    if value not in rubric.levels:
        rule = f"rubric {rubric.name!r} has the whole numbers from {rubric.lowest} to {rubric.highest}"
        refuse("score", value, rule, "give the range that the scores lie in, or another rubric")
    return int(value)


def preference_tasks(pair: PreferencePair, rubric: Rubric) -> tuple[JudgeTask, JudgeTask]:
    """Both orders of a pair, "ab" first; a coin of the texts says whether the chosen response is a or b."""
    swap = swaps(prompt_text(pair.prompt), pair.chosen, pair.rejected)
    a, b = (pair.rejected, pair.chosen) if swap else (pair.chosen, pair.rejected)
    truth: Preference = "tie" if pair.tie else "B" if swap else "A"
    forth = JudgeTask(
        compare_prompt(pair.prompt, a, b, rubric),
        "preference",
        truth,
        data_source=pair.source or "judge",
        pair_id=pair_name(pair.prompt, pair.chosen, pair.rejected, pair.tie),
        order="ab",
        extra=wording(rubric),
        origin=pair.origin,
        group=pair.group or opening_group(pair.prompt),
    )
    return forth, replace(forth, prompt=compare_prompt(pair.prompt, b, a, rubric), truth=swapped(truth), order="ba")


def answer_task(conversation: Conversation, instruction: str | None = None) -> JudgeTask:
    """The prompt of a conversation whose right answer is known, with an instruction after the last message if there is one.

    Raises RowError where no answer is known.
    """
    if conversation.answer is None:
        refuse("answer", MISSING, "only a known answer can be checked", "take a source that states its answers")
    prompt = conversation.messages[:-1]
    if instruction and prompt:
        prompt = (*prompt[:-1], {**prompt[-1], "content": f"{prompt[-1]['content']}\n{instruction}"})
    return JudgeTask(
        prompt,
        "answer",
        conversation.answer,
        data_source=conversation.source or "answers",
        ability="answer",
        origin=conversation.origin,
        group=conversation.group or opening_group(conversation.messages),
    )


def wording(rubric: Rubric) -> Mapping[str, Any]:
    """What a task says of how it was asked: results are only comparable under the same."""
    return {"rubric": rubric.title, "prompt_version": PROMPT_VERSION}
