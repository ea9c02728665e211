"""Evaluation-style conversations: the verdict is what is learned, and a critique says why.

    two responses to one prompt, scored    ─▶ a score verdict for each   **Helpfulness Score: 2**
    (HelpSteer2, adjacent rows)            └▶ a preference verdict       **Preference: B**
    two responses, compared                ─▶ a preference verdict
    (HelpSteer2 preference, HelpSteer3, chosen/rejected; equal scores are a tie)

The critique repeats the annotators' own reasons where the data has them, and else puts their scores into words. Which
response is shown as A is drawn from a digest of the texts: it is the same in every run and tells nothing about the
verdict. The verdict stands first, as most published sets have it, or last (`verdict="last"`), so that a model reasons
before it judges. `answer` is the verdict's phrase, so that evaluation can look for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from cookbook_lib.config import CookbookError
from cookbook_lib.data import messages as schema
from cookbook_lib.data.converters import critique
from cookbook_lib.data.converters.fields import optional_text, text_field, whole_number
from cookbook_lib.data.converters.helpsteer2 import HIGHEST, MARK, SCORES, prompt_turns
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.records import Conversation, chat, group_of
from cookbook_lib.data.sources import Row

SCORE_PROMPT = """Evaluate this response for {aspect}.

Question: {question}

Response: {response}

{task}"""
PAIR_PROMPT = """Compare these two responses.

Question: {question}

Response A: {a}

Response B: {b}

{task}"""
SCORE_TASK = {"first": "Give a score from 0 to 4, then say why.", "last": "Say why, then give a score from 0 to 4."}
PAIR_TASK = {"first": "Prefer A, B or tie, then say why.", "last": "Say why, then prefer A, B or tie."}
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


def same_prompt(rows: Iterable[Row]) -> Iterator[Row]:
    """Join adjacent scored rows that answer one prompt into {"prompt", "responses"}; other rows pass as they are."""
    for prompt, members in groupby(rows, key=lambda row: row[1].get("prompt") if "response" in row[1] else None):
        if prompt is None:
            yield from members
        else:
            origins, scored = zip(*members, strict=True)
            yield origins[0], {"prompt": prompt, "responses": list(scored)}


@register_converter(
    "judge",
    about="verdicts with critiques, from scored or compared responses (helpsteer2 and its like)",
    uses=("aspect", "verdict"),
    gather=same_prompt,
)
def from_judgements(row: dict[str, Any], options: Options) -> Iterator[Conversation]:
    """Scored responses -> score and preference verdicts; a comparison -> a preference verdict."""
    _check(options)
    if "responses" in row:
        yield from _from_scores(row, options)
    else:
        question, prompt = _question(row)
        yield _preference(question, prompt, _compared(row), options)


def _from_scores(row: Mapping[str, Any], options: Options) -> Iterator[Conversation]:
    question, prompt = _question(row)
    scored = [(text_field(member, "response"), _scores(member, options.aspect)) for member in row["responses"]]
    for response, scores in scored:
        yield _score(question, prompt, response, scores, options)
    for (first, low), (second, high) in pairwise(scored):
        strength = max(-3, min(3, high[options.aspect] - low[options.aspect]))
        yield _preference(question, prompt, Pair(first, second, strength, scores=(low, high)), options)


def _score(question: str, prompt: str, response: str, scores: dict[str, int], options: Options) -> Conversation:
    score = scores[options.aspect]
    verdict = f"{options.aspect.capitalize()} Score: {score}"
    task = SCORE_TASK[options.verdict]
    asked = SCORE_PROMPT.format(aspect=options.aspect, question=question, response=response, task=task)
    said = _said(verdict, critique.of_scores(scores, leave_out=options.aspect), options)
    return chat(asked, said, group=group_of(prompt), source=f"judge/score {score}", answer=verdict)


def _preference(question: str, prompt: str, pair: Pair, options: Options) -> Conversation:
    pair = pair.swapped() if _digest(prompt, pair.first, pair.second) % 2 else pair
    better = "tie" if pair.strength == 0 else "A" if pair.strength < 0 else "B"
    verdict, task = f"Preference: {better}", PAIR_TASK[options.verdict]
    asked = PAIR_PROMPT.format(question=question, a=pair.first, b=pair.second, task=task)
    reasons = pair.why or critique.of_pair(*pair.scores, leave_out=options.aspect)
    why = f"{critique.of_strength(pair.strength)}\n{reasons}".strip()
    why = why.replace("Response 1", "Response A").replace("Response 2", "Response B")
    said = _said(verdict, why, options)
    return chat(asked, said, group=group_of(prompt), source=f"judge/{better}", answer=verdict)


def _said(verdict: str, why: str, options: Options) -> str:
    parts = [f"**{verdict}**", why] if options.verdict == "first" else [why, f"**{verdict}**"]
    return "\n\n".join(parts)


# ------------------------------------------------------------------------------------------------------ reading rows


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    """The question as a judge sees it (with speakers where there were several turns), and the prompt that groups it."""
    if "context" in row:
        turns = schema.normalise(row["context"])
    else:
        prompt = text_field(row, "prompt", "question", "query", "instruction")
        turns = prompt_turns(prompt) if MARK.search(prompt) else ({"role": "user", "content": prompt},)
    shown = "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns)
    return (turns[0]["content"] if len(turns) == 1 else shown), row.get("prompt") or shown


def _scores(row: Mapping[str, Any], aspect: str) -> dict[str, int]:
    present = [name for name in SCORES if row.get(name) is not None or name == aspect]
    return {name: whole_number(row, name, 0, HIGHEST) for name in present}


def _compared(row: Mapping[str, Any]) -> Pair:
    for first, second, strength in COMPARED:
        if first in row:
            value = whole_number(row, strength, -3, 3)
            return Pair(text_field(row, first), text_field(row, second), value, _reasons(row))
    chosen, rejected = _reply(row, "chosen"), _reply(row, "rejected")
    return Pair(chosen, rejected, 0 if _equal_scores(row) else -2)


def _equal_scores(row: Mapping[str, Any]) -> bool:
    """UltraFeedback's binarized sets call one of two equally scored responses chosen, at random: those are ties."""
    scores = row if "score_chosen" in row else row.get("metadata") or {}
    return scores.get("score_chosen") is not None and scores["score_chosen"] == scores.get("score_rejected")


def _reply(row: Mapping[str, Any], name: str) -> str:
    """A response as text, or the last message of a list of them."""
    value = row.get(name)
    return (schema.normalise(value)[-1]["content"] or "") if isinstance(value, list) else text_field(row, name)


def _reasons(row: Mapping[str, Any]) -> str:
    """What the annotators wrote: HelpSteer2's elaboration, or the first reasoning of HelpSteer3; "@" marks dropped."""
    individual = row.get("individual_preference") or [{}]
    written = optional_text(row, "preference_elaboration", "preference_statement")
    return (written or optional_text(individual[0], "reasoning")).replace("@Response", "Response").strip()


def _digest(*texts: str) -> int:
    return hashlib.blake2b("\x1f".join(texts).encode("utf-8", "replace"), digest_size=1).digest()[0]


def _check(options: Options) -> None:
    if options.aspect not in SCORES:
        raise CookbookError(f"aspect {options.aspect!r} is not scored; choose one of {', '.join(SCORES)}")
    if options.verdict not in SCORE_TASK:
        raise CookbookError(f"verdict {options.verdict!r} is no place; choose first or last")
