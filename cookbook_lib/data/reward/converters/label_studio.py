"""Label Studio's JSON export: several people judged each task; pairs follow the majority, scores are means.

    data {prompt, answer1, answer2}     named by --prompt-field and --answer-fields (RM-Gallery: input_messages and
                                        output_messages, which holds all answers; its "Answer 1: " is taken off)
    annotations                         judgements.py

Every two answers are a pair: chosen by most annotators, a tie where no verdict has the most. The source of a record says
how much they agreed, and so do the counts of the report:

    label_studio/single       one annotator
    label_studio/unanimous    all of several gave this verdict
    label_studio/majority     most did
    label_studio/divided      no verdict had the most: a tie

`min_agreement` leaves out pairs whose verdict has a smaller share. With ratings a pair's margin is the difference of the
means, 0 where the majority thinks otherwise. A pairwise tag's left answer is the first of --answer-fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.fields import checked_text
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowSkipped, refuse
from cookbook_lib.data.reward.answer_names import Answers
from cookbook_lib.data.reward.judgements import SECOND, TIE, Duel, Judgement, decide, judgements, verdicts_of
from cookbook_lib.data.reward.ranking import made_pair, made_scored
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter, user_turn
from cookbook_lib.data.spellings import normalise

Prompt = tuple[Message, ...]
TEXT_KEYS = ("content", "answer", "text", "value")


@register_reward_converter(
    "label_studio",
    about="Label Studio's JSON export: pairwise, choices and rating tags, several annotators",
    kinds=("pairs", "scores"),
    uses=("aspect", "prompt_field", "answer_fields", "control", "min_agreement"),
)
def from_task(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    """One task -> a pair for every two answers that were compared, or the mean scores of each answer that was rated."""
    prompt, (answers, named) = _prompt(row, options.prompt_field), _named(row, options)
    if kind == "pairs":
        if len(answers) < 2:
            refuse(
                "data", f"{len(answers)} answer", "a pair needs two", "name both with --answer-fields, or make scores"
            )
        yield from _pairs(prompt, answers, judgements(row, named, options.control), options)
    else:
        if options.min_agreement:
            raise CookbookError("--min-agreement has no effect on scores, which are means; leave it out")
        yield from _scores(prompt, answers, judgements(row, named, options.control), options)


def verdicts_by_annotator(row: dict[str, Any], options: RewardOptions) -> dict[Duel, dict[str, int]]:
    """For each two answers that were compared: annotator -> FIRST, TIE or SECOND. Raises as `judgements` does."""
    found: dict[Duel, dict[str, int]] = {}
    for each in judgements(row, _named(row, options)[1], options.control):
        for duel, verdict in (each.verdicts or verdicts_of(_merits(each, options))).items():
            found.setdefault(duel, {})[each.annotator] = verdict
    return found


def scores_by_annotator(row: dict[str, Any], options: RewardOptions) -> dict[int, dict[str, float]]:
    """For each answer that was rated, by place: annotator -> its one number. Raises as `judgements` does."""
    found: dict[int, dict[str, float]] = {}
    for each in judgements(row, _named(row, options)[1], options.control):
        for place, score in _merits(each, options).items():
            found.setdefault(place, {})[each.annotator] = score
    return found


def _named(row: Mapping[str, Any], options: RewardOptions) -> tuple[list[str], Answers]:
    answers = _answers(row, options.answer_fields)
    return answers, Answers(len(answers), options.answer_fields if len(options.answer_fields) > 1 else ())


def _pairs(prompt: Prompt, answers: list[str], said: list[Judgement], options: RewardOptions) -> Iterator[Made]:
    merits = [{} if each.verdicts else _merits(each, options) for each in said]
    verdicts = [each.verdicts or verdicts_of(rated) for each, rated in zip(said, merits, strict=True)]
    duels = sorted({duel for of_one in verdicts for duel in of_one})
    if not duels:
        found = sorted({name for each in said for scores in each.ratings.values() for name in scores})
        refuse(
            "annotations", found, "an annotator compares two answers, or rates both", "correct --aspect, or make scores"
        )
    decided = {duel: decide([of_one[duel] for of_one in verdicts if duel in of_one]) for duel in duels}
    agreed = {duel: decision for duel, decision in decided.items() if decision.share >= options.min_agreement}
    if not agreed:
        raise RowSkipped(f"annotators agree by less than {options.min_agreement:g}")
    for duel, (verdict, _, agreement) in agreed.items():
        better, worse = duel[::-1] if verdict == SECOND else duel
        margin = None if verdict == TIE else _margin(better, worse, merits)
        source = f"label_studio/{agreement}"
        yield made_pair(prompt, answers[better], answers[worse], margin, tie=verdict == TIE, source=source)


def _margin(better: int, worse: int, merits: list[dict[int, float]]) -> float | None:
    """By how much the better answer was rated higher, in the mean of those who rated both."""
    gaps = [rated[better] - rated[worse] for rated in merits if better in rated and worse in rated]
    return max(fmean(gaps), 0.0) if gaps else None


def _merits(said: Judgement, options: RewardOptions) -> dict[int, float]:
    """Each answer's one number, for those answers that this annotator rated in every attribute that it takes."""
    wanted = {name for name, _ in options.aspect}
    return {place: _overall(scores, options) for place, scores in said.ratings.items() if wanted <= scores.keys()}


def _scores(prompt: Prompt, answers: list[str], said: list[Judgement], options: RewardOptions) -> Iterator[Made]:
    for place, answer in enumerate(answers):
        rated = [each.ratings[place] for each in said if place in each.ratings]
        names = dict.fromkeys(name for scores in rated for name in scores)
        means = {name: fmean(scores[name] for scores in rated if name in scores) for name in names}
        if means:
            source = f"label_studio/{'single' if len(rated) == 1 else 'mean'}"
            yield made_scored(prompt, answer, means | {"score": _overall(means, options)}, source=source)
    if not any(each.ratings for each in said):
        refuse("annotations", "no rating", "scores are made of rating tags", "make pairs of this export")


def _overall(scores: Mapping[str, float], options: RewardOptions) -> float:
    """The one number: by --aspect, or the rating that is about no attribute (answer1_rating), or the only one there is."""
    missing = {name for name, _ in options.aspect} - scores.keys()
    if missing or not (options.aspect or "score" in scores or len(scores) == 1):
        rule = f"an answer is rated in {', '.join(sorted(missing))}" if missing else "one of these must be the score"
        refuse("annotations", ", ".join(scores), rule, "say which attributes make up the score with --aspect")
    return options.score_of(scores, "score" if "score" in scores else next(iter(scores)))


def _data(task: Mapping[str, Any], field: str, option: str) -> Any:
    data = task.get("data", MISSING)
    if not isinstance(data, Mapping):
        refuse("data", data, "a task holds its data", "export as JSON; JSON-MIN and CSV are laid out otherwise")
    if data.get(field) is None:
        refuse(f"data.{field}", MISSING, f"the task must have it (it has: {', '.join(data)})", f"name it with {option}")
    return data[field]


def _prompt(task: Mapping[str, Any], field: str) -> Prompt:
    value = _data(task, field, "--prompt-field")
    return normalise(value) if isinstance(value, list) else user_turn(checked_text(f"data.{field}", value))


def _answers(task: Mapping[str, Any], fields: tuple[str, ...]) -> list[str]:
    values = [_data(task, field, "--answer-fields") for field in fields]
    if len(fields) == 1 and isinstance(values[0], list):
        listed = enumerate(values[0], start=1)
        return [_answer(f"data.{fields[0]}[{n - 1}]", item).removeprefix(f"Answer {n}: ") for n, item in listed]
    return [_answer(f"data.{field}", value) for field, value in zip(fields, values, strict=True)]


def _answer(field: str, value: Any) -> str:
    if isinstance(value, Mapping):
        key = next((key for key in TEXT_KEYS if key in value), "content")
        return checked_text(f"{field}.{key}", value.get(key, MISSING))
    return checked_text(field, value)
