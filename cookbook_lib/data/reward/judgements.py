"""What each annotator said of a task's answers, as Label Studio exports it, and what they say together.

    task.annotations[]   completed_by, was_cancelled, ground_truth, updated_at
     └─ result[]         type, from_name (the tag of the labelling interface), value

    pairwise   {"selected": "left"}             the first answer over the second
    choices    answer1_rank: ["2"]              ranks, 1 the best, one tag for each answer
               {"choices": ["answer_2"]}        the second over all others; also "2>1"; "all_equal" is a tie
    rating     answer1_rating: {"rating": 4}    the higher over the lower

An annotator's verdicts come from the first of these lines that there is anything for. What counts is an annotator's last
annotation that was neither cancelled nor left empty; annotations marked as ground truth overrule all others. What models
predicted (`predictions`) and unfinished `drafts` are nobody's judgement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, NamedTuple

from cookbook_lib.data.origin import MISSING, RowSkipped, refuse
from cookbook_lib.data.reward.answer_names import Answers

Result = Mapping[str, Any]
Duel = tuple[int, int]  # two answers by their place, the first before the second
FIRST, TIE, SECOND = 1, 0, -1  # a verdict on a duel

TIES = {"tie", "equal", "all_equal", "same", "both", "neither", "all answers are of equal quality"}
OVERALL = ("", "rating", "score", "overall")
ORDER = re.compile(r"\W*(\d+)\s*([<>=])\s*(\d+)\W*")


@dataclass
class Judgement:
    """One annotator's view: verdicts on duels, and the ratings of each answer by attribute (`score` is the overall one)."""

    annotator: str
    verdicts: dict[Duel, int] = field(default_factory=dict)
    ratings: dict[int, dict[str, float]] = field(default_factory=dict)


class Said(NamedTuple):
    """One result: what its tag is about (an answer, by place, and an aspect of it; None if no answer), and its value."""

    kind: str
    tag: str
    place: int | None
    aspect: str | None
    value: Mapping[str, Any]


class Decision(NamedTuple):
    """What annotators say together: the verdict, the share of them that gave it, and a word for how they agree."""

    verdict: int
    share: float
    agreement: Literal["single", "unanimous", "majority", "divided"]


def judgements(task: Mapping[str, Any], answers: Answers, control: str | None = None) -> list[Judgement]:
    """What each annotator says of the answers; `control` names the tag (or the aspect of its name) that counts.

    Raises RowSkipped for a task that nobody finished, RowError for one whose results say nothing about its answers.
    """
    found = [_judgement(who, results, answers, control) for who, results in _finished(task)]
    heard = [judgement for judgement in found if judgement.verdicts or judgement.ratings]
    if not heard:
        tags = sorted(
            {f"{item.get('from_name')} ({item.get('type')})" for _, results in _finished(task) for item in results}
        )
        rule = f"a result says something about {'an answer' if answers.count == 1 else 'answers'}"
        refuse("annotations", ", ".join(tags), rule, "name the tag with --control, or correct --answer-fields")
    return heard


def decide(votes: Sequence[int]) -> Decision:
    """The verdict of most annotators; a tie where no verdict has the most."""
    ordered = Counter(votes).most_common()
    verdict, most = ordered[0]
    if len(votes) == 1:
        return Decision(verdict, 1.0, "single")
    if len(ordered) > 1 and ordered[1][1] == most:
        return Decision(TIE, most / len(votes), "divided")
    return Decision(verdict, most / len(votes), "unanimous" if most == len(votes) else "majority")


def _finished(task: Mapping[str, Any]) -> list[tuple[str, list[Result]]]:
    """Each annotator's last annotation that was submitted with something in it."""
    listed = task.get("annotations", MISSING)
    if not isinstance(listed, list) or not all(isinstance(annotation, Mapping) for annotation in listed):
        refuse("annotations", listed, "a task lists who said what", "export as JSON; JSON-MIN and CSV leave it out")
    done = [annotation for annotation in listed if annotation.get("result") and not annotation.get("was_cancelled")]
    if not done:
        raise RowSkipped("nobody judged it (no annotation, or only cancelled and empty ones)")
    decided = [annotation for annotation in done if annotation.get("ground_truth")] or done
    decided.sort(key=lambda annotation: str(annotation.get("updated_at") or annotation.get("created_at") or ""))
    return list({_annotator(annotation): _results(annotation) for annotation in decided}.items())


def _annotator(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    who = who.get("email") or who.get("id") if isinstance(who, Mapping) else who
    return f"annotation {annotation.get('id')}" if who is None else str(who)


def _results(annotation: Mapping[str, Any]) -> list[Result]:
    results = annotation["result"]
    if not isinstance(results, list) or not all(isinstance(item, Mapping) for item in results):
        refuse("annotations.result", results, "it lists what was said", "export as JSON")
    return results


def _judgement(annotator: str, results: Iterable[Result], answers: Answers, control: str | None) -> Judgement:
    said = [_said(item, answers) for item in results if isinstance(item.get("value"), Mapping)]
    said = [one for one in said if control in (None, one.tag, one.aspect)]
    return Judgement(annotator, _verdicts(said, answers, control), _ratings(said))


def _said(result: Result, answers: Answers) -> Said:
    tag = str(result.get("from_name"))
    place, aspect = answers.named_in(tag) or (None, None)
    return Said(str(result.get("type")), tag, place, aspect, result["value"])


def _ratings(said: Iterable[Said]) -> dict[int, dict[str, float]]:
    ratings: dict[int, dict[str, float]] = {}
    for kind, tag, place, aspect, value in said:
        if kind == "rating" and place is not None:
            attribute = "score" if aspect in OVERALL else str(aspect)
            ratings.setdefault(place, {})[attribute] = _number(tag, value.get("rating", MISSING))
    return ratings


def _verdicts(said: Iterable[Said], answers: Answers, control: str | None) -> dict[Duel, int]:
    """From a pairwise tag, else from ranks, else from choices; each by the one tag that there is."""
    pairwise: dict[str, dict[Duel, int]] = {}
    ranks: dict[str, dict[int, float]] = {}
    choices: dict[str, dict[Duel, int]] = {}
    for kind, tag, place, aspect, value in said:
        if kind == "pairwise":
            pairwise[tag] = _selected(value.get("selected", MISSING), answers)
        for choice in _choices(tag, value) if kind == "choices" else ():
            if place is not None and answers.count > 1 and choice.isdecimal():
                ranks.setdefault(str(aspect), {})[place] = -float(choice)
            elif verdicts := _chosen(tag, choice, answers, named=control == tag):
                choices[tag] = verdicts
    ranked = {aspect: verdicts_of(merits) for aspect, merits in ranks.items()}
    return next(filter(None, map(_only, (pairwise, ranked, choices))), {})


def _only(verdicts: dict[str, dict[Duel, int]]) -> dict[Duel, int]:
    """The verdicts of the one tag; several could say different things."""
    if len(verdicts) > 1:
        refuse("annotations", sorted(verdicts), "one tag says which answer is better", "name it with --control")
    return next(iter(verdicts.values()), {})


def verdicts_of(merits: Mapping[int, float]) -> dict[Duel, int]:
    """The duels between answers of these merits, the higher the better."""
    return {
        (one, two): (merits[one] > merits[two]) - (merits[one] < merits[two])
        for one, two in combinations(sorted(merits), 2)
    }


def _selected(side: Any, answers: Answers) -> dict[Duel, int]:
    if side not in ("left", "right"):
        refuse("annotations.result.value.selected", side, "a pairwise tag selects left or right", "export as JSON")
    if answers.count != 2:
        refuse("data", f"{answers.count} answers", "a pairwise tag compares two", "name both with --answer-fields")
    return {(0, 1): FIRST if side == "left" else SECOND}


def _chosen(tag: str, choice: str, answers: Answers, named: bool) -> dict[Duel, int]:
    """The duels that a choice decides: those of the best answer with all others, the two of `1>2`, all where it is a tie."""
    duels = list(combinations(range(answers.count), 2))
    if choice.strip().lower() in TIES:
        return dict.fromkeys(duels, TIE)
    order = ORDER.fullmatch(choice)
    if order and {int(order[1]), int(order[3])} == {1, 2} == {place + 1 for place in range(answers.count)}:
        first = (order[1] == "1") == (order[2] == ">")
        return {(0, 1): TIE if order[2] == "=" else FIRST if first else SECOND}
    best = answers.chosen_in(choice)
    if best is None and named:
        rule = f"a choice names one of {answers.count} answers (answer_1, left, 1>2) or says tie"
        refuse(f"{tag}.choices", choice, rule, "rename the choice, or name another tag with --control")
    return {duel: FIRST if duel[0] == best else SECOND for duel in duels if best in duel}


def _choices(tag: str, value: Mapping[str, Any]) -> list[str]:
    choices = value.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        refuse(f"{tag}.choices", choices, "choices are a list of texts", "export as JSON")
    return choices


def _number(tag: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        refuse(f"{tag}.rating", value, "a rating is a number", "correct the export")
    return float(value)
