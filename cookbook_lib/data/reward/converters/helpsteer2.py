"""HelpSteer2 (nvidia/HelpSteer2), both of its files: five scores of each response, or a comparison of two responses.

    {prompt, response, helpfulness, correctness, coherence, complexity, verbosity}     each 0 to 4
        scores   `score` is one attribute or a weighted mix of them; all five stay beside it
        pairs    the responses to one prompt (adjacent rows), by `score`; its difference is the margin
    {prompt, response_1, response_2, preference_strength}       -3 (the first is much better) to 3; 0 is a tie
        pairs    the strength without its sign is the margin

The mix of the data set's own authors (https://arxiv.org/abs/2406.08673) for their 70B model:
helpfulness=0.65,correctness=0.8,coherence=0.45,complexity=0.55,verbosity=-0.4. The embedded world has this schema, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.comparisons import comparison_of, scores_of
from cookbook_lib.data.converters.fields import text_field
from cookbook_lib.data.converters.helpsteer2 import HIGHEST, SCORES, prompt_turns
from cookbook_lib.data.converters.judge import same_prompt
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowError, RowSkipped, refuse
from cookbook_lib.data.reward.ranking import ranked_pairs
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord, ScoredResponse
from cookbook_lib.data.reward.registry import Kind, Made, RewardOptions, register_reward_converter, user_turn

HELPFULNESS = "helpfulness"


@register_reward_converter(
    "helpsteer2",
    about="five scores 0-4 of each response; or two responses and a preference -3..3",
    kinds=("pairs", "scores"),
    uses=("aspect",),
    gather=same_prompt,
    scale=(0, HIGHEST),
)
def from_helpsteer2(row: dict[str, Any], kind: Kind, options: RewardOptions) -> RewardRecord | Iterable[Made]:
    """A scored response, the pairs among all responses to a prompt, or the pair that was compared."""
    if "response" not in row and "responses" not in row:
        return compared(row, kind, options, "helpsteer2")
    if kind == "scores":
        response, scores = _scored(row, options)
        return ScoredResponse(_prompt(row), response, scores, source=_source(row))
    return _pairs(row, options)


@register_reward_converter("helpsteer2-preference", about="two responses and a preference -3..3")
def from_preference(row: dict[str, Any], kind: Kind, options: RewardOptions) -> PreferencePair:
    """The pair that was compared."""
    return compared(row, kind, options, "helpsteer2")


def compared(row: Mapping[str, Any], kind: Kind, options: RewardOptions, source: str) -> PreferencePair:
    """A comparison by strength -> one pair; raises RowError where scores were asked for."""
    comparison = comparison_of(row)
    if kind == "scores" or options.aspect:
        fix = "ask for pairs" if kind == "scores" else "leave --aspect out"
        rule = "a score is of one response, and this row compares two"
        refuse("response", MISSING, rule, f"{fix}, or name a file of scored responses")
    first, second, strength = comparison.first, comparison.second, comparison.strength
    chosen, rejected = (first, second) if strength <= 0 else (second, first)
    return PreferencePair(_prompt(row), chosen, rejected, float(abs(strength)), strength == 0, source=source)


def _pairs(row: Mapping[str, Any], options: RewardOptions) -> Iterator[Made]:
    prompt, responses = _prompt(row), row.get("responses") or [row]
    if len(responses) < 2:
        raise RowSkipped("the only response to its prompt: nothing to compare it with")
    scored = (_member(place, each, options) for place, each in enumerate(responses, start=1))
    merits = [(response, scores["score"]) for response, scores in scored]
    yield from ranked_pairs(prompt, merits, _source(responses[0]))


def _member(place: int, row: Mapping[str, Any], options: RewardOptions) -> tuple[str, dict[str, float]]:
    """One of several responses; the origin of an error is the row of the first, so the error says which it is about."""
    try:
        return _scored(row, options)
    except RowError as error:
        refuse(f"{error.field} of response {place}", error.found, error.rule, error.fix)


def _scored(row: Mapping[str, Any], options: RewardOptions) -> tuple[str, dict[str, float]]:
    """A response and its scores, of which the first is the one that is learned."""
    unknown = [name for name, _ in options.aspect if name not in SCORES]
    if unknown:
        raise CookbookError(f"aspect {unknown[0]!r} is not scored here; choose from {', '.join(SCORES)}")
    wanted = [name for name, _ in options.aspect] or [HELPFULNESS]
    scores: dict[str, float] = {}
    for name in wanted:
        scores |= scores_of(row, name)
    return text_field(row, "response"), {"score": options.score_of(scores, HELPFULNESS), **scores}


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = text_field(row, "prompt")
    return prompt_turns(prompt) if "<extra_id_1>" in prompt else user_turn(prompt)


def _source(row: Mapping[str, Any]) -> str:
    return f"helpsteer2/{row['kind']}" if row.get("kind") else "helpsteer2"
