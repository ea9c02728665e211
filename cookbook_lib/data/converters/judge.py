"""Evaluation-style conversations: the verdict is what is learned, and a critique says why.

    two responses to one prompt, scored    ─▶ a score verdict for each   Score: 2
    (HelpSteer2, adjacent rows;            └▶ a preference verdict       Preference: B
    UltraFeedback's completions)
    two responses, compared                ─▶ a preference verdict
    (HelpSteer2 preference, HelpSteer3, chosen/rejected; equal scores are a tie)

What is asked, and the line that is answered, are those of data/judge: a model that has learned them can be asked, read and
trained further as it is. The critique repeats the annotators' own reasons where the data has them, unless they state a
verdict themselves, of which there must be one; else it puts their scores into words. Which response is shown as A is drawn
from a digest of the texts: it is the same in every run and tells nothing about the verdict. `orders="both"` asks in either
order, with the opposite verdict, which takes a judge's liking for a place off (swap augmentation, JudgeLM,
https://arxiv.org/abs/2310.17631). The verdict stands last, so that a model reasons before it judges; or first
(`verdict="first"`), as most published sets have it, where no parser of ours looks. `answer` is the verdict's line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, get_args

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import critique
from cookbook_lib.data.converters.comparisons import Pair, comparison_of, prompt_of, rated_responses, scores_of
from cookbook_lib.data.converters.fields import objects_in, optional_text, text_field
from cookbook_lib.data.converters.helpsteer2 import HIGHEST, SCORES
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.judge.orders import prompt_text, swaps
from cookbook_lib.data.judge.prompts import Place, compare_prompt, score_prompt
from cookbook_lib.data.judge.questions import Scale
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric
from cookbook_lib.data.judge.verdicts import preference_line, score_line, states_verdict
from cookbook_lib.data.messages import Message
from cookbook_lib.data.records import Conversation, opening_group
from cookbook_lib.data.sources import Row

Prompt = tuple[Message, ...]


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
    about="verdicts with critiques, from scored or compared responses (helpsteer2 and its like, ultrafeedback)",
    uses=("aspect", "verdict", "asks", "orders", "rubric"),
    gather=same_prompt,
)
def from_judgements(row: dict[str, Any], options: Options) -> Iterator[Conversation]:
    """Scored responses -> score and preference verdicts; a comparison -> a preference verdict."""
    _check(options)
    rubric, prompt = load_rubric(options.rubric or options.aspect), prompt_of(row)
    if "completions" in row:
        yield from _from_scores(list(rated_responses(row)), prompt, rubric, options)
    elif "responses" in row:
        yield from _from_scores(objects_in(row, "responses"), prompt, rubric, options)
    elif options.asks != "scores":
        yield from _preferences(prompt, comparison_of(row), rubric, options)


def _from_scores(
    members: Sequence[Mapping[str, Any]], prompt: Prompt, rubric: Rubric, options: Options
) -> Iterator[Conversation]:
    """members: responses to one prompt with their scores, and perhaps a `critique`, which is then what is said of them."""
    scored = [(text_field(member, "response"), scores_of(member, options.aspect)) for member in members]
    written = [optional_text(member, "critique") for member in members]
    for (response, scores), why in zip(scored, written, strict=True) if options.asks != "preferences" else ():
        said = _usable(why) or critique.of_scores(scores, leave_out=options.aspect)
        yield _score(prompt, response, scores, said, rubric, options)
    pairs = zip(pairwise(scored), pairwise(written), strict=True) if options.asks != "scores" else ()
    for ((first, low), (second, high)), (one, two) in pairs:
        strength = max(-3, min(3, high[options.aspect] - low[options.aspect]))
        why = f"Response 1: {one}\nResponse 2: {two}" if one and two else ""
        yield from _preferences(prompt, Pair(first, second, strength, why, (low, high)), rubric, options)


def _score(
    prompt: Prompt, response: str, scores: dict[str, int], why: str, rubric: Rubric, options: Options
) -> Conversation:
    score = Scale(0, HIGHEST).onto(rubric, scores[options.aspect])
    asked = score_prompt((*prompt, {"role": "assistant", "content": response}), rubric, verdict=options.verdict)
    return _conversation(prompt, asked, score_line(score), why, options, source=f"judge/score {score}")


def _preferences(prompt: Prompt, pair: Pair, rubric: Rubric, options: Options) -> Iterator[Conversation]:
    """In the order that the coin shows, and in the other one where both are asked for."""
    shown = pair.swapped() if swaps(prompt_text(prompt), pair.first, pair.second) else pair
    for each in (shown, shown.swapped()) if options.orders == "both" else (shown,):
        yield _preference(prompt, each, rubric, options)


def _preference(prompt: Prompt, pair: Pair, rubric: Rubric, options: Options) -> Conversation:
    better = "tie" if pair.strength == 0 else "A" if pair.strength < 0 else "B"
    asked = compare_prompt(prompt, pair.first, pair.second, rubric, verdict=options.verdict)
    reasons = _usable(pair.why) or critique.of_pair(*pair.scores, leave_out=options.aspect)
    parts = [critique.of_strength(pair.strength), reasons]  # before a verdict that stands last, reasons come first
    why = "\n".join(filter(None, parts if options.verdict == "first" else parts[::-1]))
    why = why.replace("Response 1", "Response A").replace("Response 2", "Response B")
    return _conversation(prompt, asked, preference_line(better), why, options, source=f"judge/{better}")


def _conversation(prompt: Prompt, asked: Prompt, verdict: str, why: str, options: Options, source: str) -> Conversation:
    said = "\n\n".join(filter(None, [verdict, why] if options.verdict == "first" else [why, verdict]))
    messages = (*asked, {"role": "assistant", "content": said})
    return Conversation(messages, group=opening_group(prompt), source=source, answer=verdict)


def _usable(why: str) -> str:
    """The annotators' words, or none where a judge that repeats them could not be read."""
    return "" if states_verdict(why) else why


def _check(options: Options) -> None:
    if options.aspect not in SCORES:
        raise CookbookError(f"aspect {options.aspect!r} is not scored; choose one of {', '.join(SCORES)}")
    if options.verdict not in get_args(Place):
        raise CookbookError(f"verdict {options.verdict!r} is no place; choose first or last")
    if options.asks not in ("both", "scores", "preferences"):
        raise CookbookError(f"asks {options.asks!r} cannot be asked; choose scores, preferences or both")
    if options.orders not in ("one", "both"):
        raise CookbookError(f"orders {options.orders!r} cannot be asked; choose one or both")
