"""OpenJudge (agentscope-ai/OpenJudge) and RM-Gallery: three layouts, told apart by their columns.

    bradley_terry     chosen, rejected                 JSON strings of whole conversations
    grpo/pointwise    input, output [{answer}]         answer {role, content, label {helpfulness: 0 to 4}}
    grpo/pairwise     input, output [{answer}] x 2     label {preference: "A" | "B" | "tie", preference_strength}

Label scores of two or more answers also make pairs. RM-Gallery marks answers themselves (preference: "chosen"), and its
parquet files hold input and output as JSON strings. These files were made of RewardBench 2, whatever the pages about
them say: decontaminate, or do not report RewardBench 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cookbook_lib.data.converters.fields import checked_text
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.reward.dialogue import prompt_and_answers
from cookbook_lib.data.reward.ranking import made_pair, made_scored, ranked_pairs
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter
from cookbook_lib.data.spellings import normalise, parsed

Labelled = tuple[str, Mapping[str, Any]]  # an answer and its label
OF_A_PAIR = ("preference", "preference_strength", "response_id")
BETTER_AND_WORSE: dict[tuple[str, ...], tuple[int, int]] = {
    ("A", "A"): (0, 1),
    ("B", "B"): (1, 0),
    ("chosen", "rejected"): (0, 1),
    ("rejected", "chosen"): (1, 0),
}
LABELS = "a label holds preference, or scores such as helpfulness"


@register_reward_converter(
    "openjudge",
    about="chosen and rejected as JSON, or input and output with labels",
    kinds=("pairs", "scores"),
    uses=("aspect",),
    scale=(0, 4),
)
def from_openjudge(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    """One row -> its pair, or its scored answers."""
    source = f"openjudge/{row['source']}" if isinstance(row.get("source"), str) else "openjudge"
    if "chosen" in row:
        if kind == "scores":
            refuse("chosen", "a pair", "this layout holds pairs", "leave --kind out")
        prompt, (chosen, rejected) = prompt_and_answers(row, "prompt", "chosen", "rejected")
        yield PreferencePair(prompt, chosen, rejected, source=source)
        return
    prompt, answers = normalise(_listed(row, "input")), _answers(row)
    if kind == "scores":
        for index, (answer, label) in enumerate(answers):
            scores = _scores(f"output[{index}].answer.label", label)
            yield made_scored(prompt, answer, scores | {"score": _score(scores, options)}, source=source)
    elif any("preference" in label for _, label in answers):
        yield _preferred(prompt, answers, source)
    else:
        yield from _compared(prompt, answers, options, source)


def _listed(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name, MISSING)
    value = parsed(name, value) if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or not value:
        refuse(name, value, "a row has chosen and rejected, or input and output lists", "name the right source")
    return list(value)


def _answers(row: Mapping[str, Any]) -> list[Labelled]:
    answers: list[Labelled] = []
    for index, output in enumerate(_listed(row, "output")):
        field = f"output[{index}].answer"
        answer = output.get("answer", MISSING) if isinstance(output, Mapping) else output
        if not isinstance(answer, Mapping):
            refuse(field, answer, "an output holds an answer {role, content, label}", "correct the row")
        label = answer.get("label") or {}
        if not isinstance(label, Mapping):
            refuse(f"{field}.label", label, LABELS, "correct the row")
        text = checked_text(f"{field}.content", answer.get("content", MISSING))
        answers.append((text, {name: value for name, value in label.items() if value is not None}))
    return answers


def _scores(field: str, label: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in label.items() if name not in OF_A_PAIR}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(f"{field}.{name}", value, "a score is a number", "correct the row")
    if not numbers:
        refuse(field, dict(label), "scores are made of labels such as helpfulness", "leave --kind out to make pairs")
    return {name: float(value) for name, value in numbers.items()}


def _score(scores: Mapping[str, float], options: RewardOptions) -> float:
    return options.score_of(scores, "helpfulness" if "helpfulness" in scores else next(iter(scores)))


def _compared(
    prompt: tuple[Message, ...], answers: list[Labelled], options: RewardOptions, source: str
) -> Iterator[Made]:
    """Every two answers by their scores."""
    if len(answers) < 2:
        refuse("output", f"{len(answers)} answer", "a pair needs two", "make scores of this file: --kind scores")
    scores = [_scores(f"output[{index}].answer.label", label) for index, (_, label) in enumerate(answers)]
    merits = [_score(of_one, options) for of_one in scores]
    yield from ranked_pairs(prompt, zip((text for text, _ in answers), merits, strict=True), source)


def _preferred(prompt: tuple[Message, ...], answers: list[Labelled], source: str) -> Made:
    if len(answers) != 2:
        refuse("output", f"{len(answers)} answers", "a preference is between two", "correct the row")
    said = tuple(str(label.get("preference", MISSING)) for _, label in answers)
    tie = {word.lower() for word in said} == {"tie"}
    if said not in BETTER_AND_WORSE and not tie:
        rule = "both labels say A, both B or both tie; or one chosen and the other rejected"
        refuse("output.answer.label.preference", said, rule, "drop the row")
    better, worse = BETTER_AND_WORSE.get(said, (0, 1))
    strength = answers[0][1].get("preference_strength")
    if isinstance(strength, bool) or not isinstance(strength, int | float | None):
        refuse("output[0].answer.label.preference_strength", strength, "a strength is a number", "correct the row")
    margin = None if tie or not strength else abs(float(strength))
    return made_pair(prompt, answers[better][0], answers[worse][0], margin, tie=tie, source=source)
