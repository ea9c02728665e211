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
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import critique
from cookbook_lib.data.converters.comparisons import Pair, comparison_of, question_of, scores_of
from cookbook_lib.data.converters.fields import text_field
from cookbook_lib.data.converters.helpsteer2 import SCORES
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
        question, prompt = question_of(row)
        yield _preference(question, prompt, comparison_of(row), options)


def _from_scores(row: Mapping[str, Any], options: Options) -> Iterator[Conversation]:
    question, prompt = question_of(row)
    scored = [(text_field(member, "response"), scores_of(member, options.aspect)) for member in row["responses"]]
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


def _digest(*texts: str) -> int:
    return hashlib.blake2b("\x1f".join(texts).encode("utf-8", "replace"), digest_size=1).digest()[0]


def _check(options: Options) -> None:
    if options.aspect not in SCORES:
        raise CookbookError(f"aspect {options.aspect!r} is not scored; choose one of {', '.join(SCORES)}")
    if options.verdict not in SCORE_TASK:
        raise CookbookError(f"verdict {options.verdict!r} is no place; choose first or last")
