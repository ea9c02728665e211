"""Pairs of a better and a worse answer, as most people publish them: the generic converter.

    prompt, chosen, rejected              text, messages or their JSON; without prompt, answers bring it along (TRL)
    system, question, chosen, rejected    orca_dpo_pairs and its cousins
    instruction, input, chosen, rejected  LLaMA-Factory in Alpaca's form; also history and system
    conversations, chosen, rejected       LLaMA-Factory in ShareGPT's form: turns of {from, value}
    context, completions                  NeMo RL: [{rank, completion: [messages]}], the lowest rank is best; all pairs

Margins come from `margin`, or from the scores of both answers (score_chosen, chosen_score, chosen-rating), of which
equal ones are a tie. An answer with the lower score is not the chosen one: such a row is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cookbook_lib.data.converters.fields import optional_text
from cookbook_lib.data.converters.instruction import from_instruction
from cookbook_lib.data.converters.registry import Options
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.reward.converters.turns import from_turns, refuse_tools
from cookbook_lib.data.reward.dialogue import prompt_and_answers
from cookbook_lib.data.reward.ranking import ranked_pairs
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter

ANSWERS = ("chosen", "rejected")
QUESTIONS = ("prompt", "question", "query", "context", "input")
SCORES = ("score_{}", "{}_score", "{}-rating")


@register_reward_converter(
    "preferences", about="prompt | question | instruction | conversations, chosen, rejected; context, completions"
)
def from_preference(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    """One comparison -> a pair; ranked completions -> a pair for every two of them."""
    refuse_tools(row)
    if "completions" in row:
        yield from _ranked(row)
        return
    prompt, (chosen, rejected) = _dialogue(row)
    margin, tie = _margin(row)
    yield PreferencePair(_with_system(row, prompt), chosen, rejected, margin, tie, source="preferences")


def _dialogue(row: dict[str, Any]) -> tuple[tuple[Message, ...], list[str]]:
    if "conversations" in row:
        row = {name: from_turns(row, _turn(row, name)) for name in ANSWERS}
    elif "instruction" in row:
        answered = from_instruction({**row, "output": "(chosen or rejected)", "instances": None}, Options())
        row = row | {"prompt": list(next(iter(answered)).messages[:-1])}
    asked = next((name for name in QUESTIONS if row.get(name) is not None), "prompt")
    return prompt_and_answers(row, asked, *ANSWERS)


def _turn(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    turn = row.get(name, MISSING)
    if not isinstance(turn, Mapping):
        refuse(name, turn, "beside conversations, an answer is {from, value}", "correct the row")
    return turn


def _with_system(row: Mapping[str, Any], prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    system = optional_text(row, "system")
    return prompt if not system or prompt[0]["role"] == "system" else ({"role": "system", "content": system}, *prompt)


def _margin(row: Mapping[str, Any]) -> tuple[float | None, bool]:
    """How much better the chosen answer is, where the row says so, and whether it is at all."""
    if row.get("margin") is not None:
        return _number("margin", row["margin"]), False
    for names in SCORES:
        better, worse = (names.format(name) for name in ANSWERS)
        if row.get(better) is not None and row.get(worse) is not None:
            gap = _number(better, row[better]) - _number(worse, row[worse])
            if gap < 0:
                rule = f"the chosen answer has no lower score than the rejected one ({row[worse]})"
                refuse(better, row[better], rule, "swap the answers, or drop the row")
            return gap or None, gap == 0
    return None, False


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(name, value, "it must be a number", "write 3 or 3.0")
    return float(value)


def _ranked(row: Mapping[str, Any]) -> Iterator[Made]:
    completions = row["completions"]
    if not isinstance(completions, list | tuple) or len(completions) < 2:
        refuse("completions", completions, "there are two or more of {rank, completion}", "drop the row")
    merits, prompts = [], []
    for index, completion in enumerate(completions):
        field = f"completions[{index}]"
        if not isinstance(completion, Mapping):
            refuse(field, completion, "it is an object with rank and completion", "correct the row")
        parts = {"context": row.get("context"), field: completion.get("completion")}
        prompt, (answer,) = prompt_and_answers(parts, "context", field)
        prompts.append(prompt)
        merits.append((answer, -_number(f"{field}.rank", completion.get("rank", MISSING))))
    yield from ranked_pairs(prompts[0], merits, source="preferences")
