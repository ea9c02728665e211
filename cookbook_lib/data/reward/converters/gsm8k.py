"""GSM8K's model solutions (openai/grade-school-math, example_model_solutions): correct ones over wrong ones.

    {question, ground_truth, 6b_finetuning: {is_correct, solution}, 175b_verification: {...}, ...}
        pairs    every correct solution of a question over every wrong one
        scores   1 for a correct solution, 0 for a wrong one

The questions are those of GSM8K's test set, so what is trained on them says nothing on GSM8K. The ground truth was
written by people and is left out: it could be told from the models' by its style alone. Calculator marks
(`<<48/2=24>>`) are taken out, as for SFT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from cookbook_lib.data.converters.fields import checked_text, text_field
from cookbook_lib.data.converters.gsm8k import CALCULATOR
from cookbook_lib.data.origin import MISSING, RowSkipped, refuse
from cookbook_lib.data.reward.ranking import made_pair, made_scored
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter, user_turn


@register_reward_converter(
    "gsm8k",
    about="example_model_solutions: correct solutions of a problem over wrong ones",
    kinds=("pairs", "scores"),
    scale=(0, 1),
)
def from_solutions(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    """One problem -> its pairs, or its scored solutions; RowSkipped where all are right, or all wrong."""
    prompt, solutions = user_turn(text_field(row, "question")), _solutions(row)
    if kind == "scores":
        for text, correct in solutions:
            yield made_scored(prompt, text, {"score": float(correct)}, source="gsm8k")
        return
    right, wrong = ([text for text, correct in solutions if correct is wanted] for wanted in (True, False))
    if not right or not wrong:
        raise RowSkipped(f"every solution is {'right' if right else 'wrong'}: nothing to compare")
    for better, worse in product(right, wrong):
        yield made_pair(prompt, better, worse, tie=False, source="gsm8k")


def _solutions(row: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Text and correctness of each model's solution; each text once."""
    found: dict[str, bool] = {}
    for model, entry in row.items():
        if not isinstance(entry, Mapping):
            continue
        correct = entry.get("is_correct", MISSING)
        if not isinstance(correct, bool):
            refuse(f"{model}.is_correct", correct, "it says true or false", "correct the row")
        solution = checked_text(f"{model}.solution", entry.get("solution", MISSING))
        found.setdefault(CALCULATOR.sub("", solution).strip(), correct)
    if not found:
        rule = f"a row has one {{is_correct, solution}} for each model (columns here: {', '.join(row)})"
        refuse("is_correct", MISSING, rule, "give example_model_solutions.jsonl")
    return list(found.items())
