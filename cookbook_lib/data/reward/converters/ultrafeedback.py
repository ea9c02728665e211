"""UltraFeedback, as its authors published it and as others binarized it.

    raw         instruction, completions[{response, annotations{aspect: {Rating: "4"}}, overall_score}]   (openbmb)
        scores   `score` is an aspect or a mix of them; all stay beside it
        pairs    all pairs of the completions (usually four), by `score`
    binarized   prompt, chosen, rejected as text or messages; score_chosen and score_rejected, also in `metadata`
        pairs    their difference is the margin; equal scores are a tie (11 % of a sample: `chosen` is a coin's choice)
        scores   both answers

Aspects: instruction_following, honesty, truthfulness, helpfulness, each 1 to 5; `fine_grained`, the mean of those that
were rated, and the default; `overall`, 1 to 10. Some 2,600 overall scores of 10 were 1s, misread by the authors' script:
an overall 10 of a response whose ratings average 4 or less is taken as not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.fields import checked_text, text_field
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowError, refuse
from cookbook_lib.data.reward.dialogue import prompt_and_answers
from cookbook_lib.data.reward.ranking import made_scored, ranked_pairs
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import EXACT, Kind, Made, RewardOptions, register_reward_converter, user_turn

RATED = ("instruction_following", "honesty", "truthfulness", "helpfulness")
ASPECTS = (*RATED, "fine_grained", "overall")
LOWEST, HIGHEST, HIGHEST_OVERALL = 1, 5, 10
NOT_RATED = "N/A"
MISREAD_BELOW = 4.0


@register_reward_converter(
    "ultrafeedback",
    about="completions with ratings (openbmb); or chosen and rejected with scores (binarized)",
    kinds=("pairs", "scores"),
    uses=("aspect",),
)
def from_ultrafeedback(row: dict[str, Any], kind: Kind, options: RewardOptions) -> Iterable[Made]:
    """All completions of an instruction, or the two of a binarized row."""
    if "completions" in row:
        return _raw(row, kind, options)
    if options.aspect:
        raise CookbookError("binarized rows have one score for each answer; leave --aspect out")
    return _binarized(row, kind)


def _raw(row: Mapping[str, Any], kind: Kind, options: RewardOptions) -> Iterator[Made]:
    prompt = user_turn(text_field(row, "instruction", "prompt"))
    completions = row["completions"]
    if not isinstance(completions, list) or not completions:
        refuse("completions", completions, "it is a list of responses with annotations", "correct the row")
    found = [_completion(f"completions[{place}]", each, options) for place, each in enumerate(completions)]
    source = f"ultrafeedback/{row['source']}" if row.get("source") else "ultrafeedback"
    yield from (each for each in found if isinstance(each, RowError))
    scored = [each for each in found if not isinstance(each, RowError)]
    if kind == "scores":
        yield from (made_scored(prompt, text, scores, source=source) for text, scores in scored)
    else:
        yield from ranked_pairs(prompt, [(text, scores["score"]) for text, scores in scored], source)


def _completion(field: str, raw: Any, options: RewardOptions) -> tuple[str, dict[str, float]] | RowError:
    """A response and its scores; a completion that was not rated, or is empty, leaves the others sound."""
    if not isinstance(raw, Mapping):
        refuse(field, raw, "it is an object with a response and annotations", "correct the row")
    response, scores = checked_text(f"{field}.response", raw.get("response", MISSING)), _scores(field, raw)
    try:
        if not response.strip():
            refuse(f"{field}.response", response, "an answer is not empty", "nothing to do: the others are used")
        for name in [name for name, _ in options.aspect] or ["fine_grained"]:
            if name not in ASPECTS:
                raise CookbookError(f"aspect {name!r} is not scored here; choose from {', '.join(ASPECTS)}")
            if name not in scores:
                refuse(f"{field}.{name}", NOT_RATED, "its score is not known", "nothing to do: the others are used")
    except RowError as error:
        return error
    return response, {"score": options.score_of(scores, "fine_grained"), **scores}


def _scores(field: str, raw: Mapping[str, Any]) -> dict[str, float]:
    """The aspects that were rated."""
    annotations = raw.get("annotations")
    if not isinstance(annotations, Mapping):
        refuse(f"{field}.annotations", annotations, "ratings stand in it, by aspect", "name the source that fits")
    ratings = {name: _rating(f"{field}.annotations.{name}", annotations[name]) for name in RATED if name in annotations}
    scores = {name: rating for name, rating in ratings.items() if rating is not None}
    if scores:
        scores["fine_grained"] = round(fmean(scores.values()), EXACT)
    overall = raw.get("overall_score")
    if isinstance(overall, int | float) and not _misread(overall, scores.get("fine_grained")):
        if not LOWEST <= overall <= HIGHEST_OVERALL:
            refuse(f"{field}.overall_score", overall, f"it lies between {LOWEST} and {HIGHEST_OVERALL}", "correct it")
        scores["overall"] = float(overall)
    return scores


def _misread(overall: float, fine_grained: float | None) -> bool:
    return overall == HIGHEST_OVERALL and fine_grained is not None and fine_grained <= MISREAD_BELOW


def _rating(field: str, raw: Any) -> float | None:
    """A rating from 1 to 5, written as text; None where it was not applicable."""
    value = raw.get("Rating") if isinstance(raw, Mapping) else MISSING
    if value is None or value == NOT_RATED:
        return None
    if str(value) not in map(str, range(LOWEST, HIGHEST + 1)):
        refuse(f"{field}.Rating", value, f"it is {LOWEST} to {HIGHEST}, or {NOT_RATED}", "correct the row")
    return float(str(value))


def _binarized(row: Mapping[str, Any], kind: Kind) -> Iterator[Made]:
    prompt, (chosen, rejected) = prompt_and_answers(row, "prompt", "chosen", "rejected")
    known = row if row.get("score_chosen") is not None else row.get("metadata") or {}
    high, low = _known(known, "score_chosen"), _known(known, "score_rejected")
    if kind == "pairs":
        yield _pair(row, prompt, chosen, rejected, None if high is None or low is None else round(high - low, EXACT))
    elif high is None or low is None:
        refuse("score_chosen", MISSING, "scores are made of score_chosen and score_rejected", "make pairs of this file")
    else:
        for text, score in ((chosen, high), (rejected, low)):
            yield made_scored(prompt, text, {"score": score}, source="ultrafeedback")


def _pair(
    row: Mapping[str, Any], prompt: tuple[Message, ...], chosen: str, rejected: str, gap: float | None
) -> PreferencePair:
    """The pair as it is labelled; a row that says of itself that it was swapped (label noise) keeps its false label."""
    if _swapped(row):
        return PreferencePair(prompt, chosen, rejected, source="ultrafeedback/swapped")
    if gap is not None and gap < 0:
        refuse("score_rejected", f"{-gap:g} higher", "the chosen answer scores at least as much", "swap the answers")
    return PreferencePair(prompt, chosen, rejected, gap, gap == 0, source="ultrafeedback")


def _swapped(row: Mapping[str, Any]) -> bool:
    noise = (row.get("metadata") or {}).get("noise") or {}
    return isinstance(noise, Mapping) and noise.get("operation") == "swap_chosen_rejected"


def _known(scores: Mapping[str, Any], name: str) -> float | None:
    value = scores.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        refuse(name, value, "a score is a number", "correct the row")
    return None if value is None else float(value)
