"""Reading what annotators judged: the prompt, the scores of a response, the comparison of two.

HelpSteer2              prompt, response, five scores
HelpSteer2 preference   prompt, response_1, response_2, preference_strength -3..3, preference_elaboration
UltraFeedback           instruction, completions[{response, annotations{helpfulness{Rating 1..5, Rationale For Rating}}, critique}]
HelpSteer3              context, response1, response2, overall_preference -3..3, individual_preference
pairs                   prompt, chosen, rejected; score_chosen and score_rejected where known
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cookbook_lib.data import spellings
from cookbook_lib.data.converters.fields import objects_in, optional_text, text_field, whole_number
from cookbook_lib.data.converters.helpsteer2 import HIGHEST, MARK, SCORES, prompt_turns
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, refuse

# Published names of (first response, second response, strength); a negative strength prefers the first.
COMPARED = (
    ("response_1", "response_2", "preference_strength"),
    ("response1", "response2", "overall_preference"),
)


class Pair(NamedTuple):
    """Two responses, and how much better the second is: -3 to 3, 0 for a tie.

    `why` is what the annotators wrote, of Response 1 and Response 2; `scores` are theirs for each response.
    """

    first: str
    second: str
    strength: int
    why: str = ""
    scores: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def swapped(self) -> Pair:
        """The same judgement with the responses in the other order."""
        names = {"1": "2", "2": "1"}
        why = re.sub(r"(Response )([12])\b", lambda found: found[1] + names[found[2]], self.why)
        return Pair(self.second, self.first, -self.strength, why, self.scores[::-1])


def prompt_of(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """What the responses of a row respond to, as messages."""
    if "context" in row:
        return spellings.normalise(row["context"])
    prompt = text_field(row, "prompt", "question", "query", "instruction")
    return prompt_turns(prompt) if MARK.search(prompt) else ({"role": "user", "content": prompt},)


def scores_of(row: Mapping[str, Any], aspect: str) -> dict[str, int]:
    """The scores that a row has; this aspect's must be among them."""
    present = [name for name in SCORES if row.get(name) is not None or name == aspect]
    return {name: whole_number(row, name, 0, HIGHEST) for name in present}


def rated_responses(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """UltraFeedback's completions as HelpSteer2 would score them, less those that were not rated: 1 to 5 is 0 to 4.

    `critique` is what the annotator wrote of the rating, or else of the whole response.
    """
    for place, each in enumerate(objects_in(row, "completions")):
        field = f"completions[{place}]"
        annotation = _inside(field, each, "annotations", "helpfulness")
        rating = annotation.get("Rating", MISSING)
        if rating == "N/A" or not optional_text(each, "response").strip():
            continue
        if str(rating) not in ("1", "2", "3", "4", "5"):
            rule = "it is 1 to 5, or N/A"
            refuse(f"{field}.annotations.helpfulness.Rating", rating, rule, "correct the row, or name the right source")
        why = optional_text(annotation, "Rationale For Rating") or optional_text(each, "critique")
        yield {"response": text_field(each, "response"), "helpfulness": int(rating) - 1, "critique": why.strip()}


def _inside(field: str, value: Any, *names: str) -> Mapping[str, Any]:
    """The object that stands under these names, one inside the other."""
    if not isinstance(value, Mapping):
        refuse(field, value, "it is an object", "correct the row, or name the right source")
    return _inside(f"{field}.{names[0]}", value.get(names[0]), *names[1:]) if names else value


def comparison_of(row: Mapping[str, Any]) -> Pair:
    """A row's comparison, by whichever published names it has."""
    for first, second, strength in COMPARED:
        if first in row:
            value = whole_number(row, strength, -3, 3)
            return Pair(text_field(row, first), text_field(row, second), value, _reasons(row))
    chosen, rejected = _reply(row, "chosen"), _reply(row, "rejected")
    return Pair(chosen, rejected, 0 if _equal_scores(row) else -2)


def _equal_scores(row: Mapping[str, Any]) -> bool:
    """UltraFeedback's binarized sets call one of two equally scored responses chosen, at random: those are ties."""
    scores = row if "score_chosen" in row else row.get("metadata")
    if not isinstance(scores, Mapping) or scores.get("score_chosen") is None:
        return False
    return bool(scores["score_chosen"] == scores.get("score_rejected"))


def _reply(row: Mapping[str, Any], name: str) -> str:
    """A response as text, or the last message of a list of them."""
    value = row.get(name)
    return (spellings.normalise(value)[-1]["content"] or "") if isinstance(value, list) else text_field(row, name)


def _reasons(row: Mapping[str, Any]) -> str:
    """What the annotators wrote: HelpSteer2's elaboration, or the first reasoning of HelpSteer3; "@" marks dropped."""
    individual = objects_in(row, "individual_preference") if row.get("individual_preference") else [{}]
    written = optional_text(row, "preference_elaboration", "preference_statement")
    return (written or optional_text(individual[0], "reasoning")).replace("@Response", "Response").strip()
