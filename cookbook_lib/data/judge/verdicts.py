"""What a judge decided, read off what it wrote; and None wherever that is not certain.

    <think> ... Score: 4 would be generous ... </think>     reasoning: nothing in it is a verdict
    It answers the question. It is longer than needed.      critique
    Score: 3                                                the verdict: the last line that is not empty, and nothing else

The rules, each of them a way in which a reader that guesses was fooled:

    1. the verdict stands after the reasoning; reasoning that never ends has no verdict after it
    2. it is a line of its own, the last: `Score: 3`, or `Preference: A`, `Preference: B`, `Preference: tie`
       (bold is tolerated: **Score: 3**, **Score:** 3, **Score**: 3, Score: **3**); a sentence that says the same is none
    3. a score is a whole number of the scale: 3.5, 3/4, +3, 03 and 5 of 4 are none, and none of them is rounded
    4. one verdict: a second one of the same kind anywhere after the reasoning, even an equal one, or a line of the
       other kind, leaves open which is meant. In doubt it is one (`So Preference: A it is`, where A may be an article);
       reasons that begin on the next line are none (`Reasons for the score:`, and below it `1. It is short.`)
    5. the answer's format repeated (`Score: <a whole number from 0 to 4>`) is none

Whether the text was cut at a limit is not to be seen in it (`Score: 1`, of 10): whoever generated it knows, and must ask.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, Generic, Literal, NamedTuple, TypeVar

Preference = Literal["A", "B", "tie"]
Decided = TypeVar("Decided")

PREFERENCES: Final[tuple[Preference, ...]] = ("A", "B", "tie")
SCORE, PREFERENCE = "Score", "Preference"

NO_ANSWER = "nothing after the reasoning"
NO_VERDICT = "the last line is no verdict"
OFF_THE_SCALE = "a score off the scale"
SEVERAL = "more than one verdict"
FAULTS = (NO_ANSWER, NO_VERDICT, OFF_THE_SCALE, SEVERAL)

FAMILIES = "think|thinking|thought|reasoning|analysis|seed:think"
REASONING = re.compile(rf"<(?P<close>/?)(?P<name>{FAMILIES})>|\[(?P<shut>/?)(?P<bracket>think)\]", re.IGNORECASE)
BLANK = " \t\r"


def _line(label: str, value: str) -> re.Pattern[str]:
    """A whole line that is a verdict; the group that matched is its value."""
    bold = (r"\*\*{0}: *({1})\*\*", r"\*\*{0}:\*\* *({1})", r"\*\*{0}\*\*: *({1})", r"{0}: *\*\*({1})\*\*")
    return re.compile("|".join(form.format(label, value) for form in ("{0}: *({1})", *bold)))


def _meant(label: str, value: str, whole: str) -> re.Pattern[str]:
    """Whatever may be meant as a verdict: a value on the label's line, or on the next one that is not empty.

    Below a heading, a label with at most two words before it, `2 of 4` is meant too; below the end of a sentence
    (`Reasons for the score:`), where reasons may begin so, only a value alone on its line: `whole`.
    """
    said = rf"(?i:{label})[*_`\s]*[:=]"
    heading = rf"^[#*> \t-]*(?:[^\W_]+[ \t]+){{0,2}}{said}[*_`\s<]*{value}"
    beside, below = rf"(?:[*_`<]|[^\S\n])*{value}", rf"[*_`\s<]*{whole}[*_`>.]*[^\S\n]*$"
    return re.compile(rf"{heading}|\b{said}(?:{beside}|{below})", re.MULTILINE)


# Whole lines that count as a verdict, and whatever may be meant as one anywhere in a text.
SCORE_LINE = _line(SCORE, "0|-?[1-9][0-9]{0,8}")
PREFERENCE_LINE = _line(PREFERENCE, "|".join(PREFERENCES))
SCORE_MEANT = _meant(SCORE, r"[-+]?\d", r"[-+]?\d+(?:[.,/]\d+)?")
PREFERRED = r"(?i:(?:response|answer)[ \t]{1,3})?(?:A|B|(?i:tie))\b"
PREFERENCE_MEANT = _meant(PREFERENCE, PREFERRED, PREFERRED)


class Reading(NamedTuple, Generic[Decided]):
    """What was read: a verdict, or None and which of FAULTS was in the way."""

    verdict: Decided | None
    fault: str | None


def read_score(text: str, lowest: int = 0, highest: int = 4) -> int | None:
    """The score that a judge gave, a whole number in [lowest, highest]; None by the rules above. Never raises."""
    return score_reading(text, lowest, highest).verdict


def read_preference(text: str) -> Preference | None:
    """Which answer a judge preferred: "A", "B" or "tie"; None by the rules above. Never raises."""
    return preference_reading(text).verdict


def score_reading(text: str, lowest: int = 0, highest: int = 4) -> Reading[int]:
    """`read_score`, and where it is None, why."""
    said, fault = _said(text, SCORE_LINE, SCORE_MEANT, PREFERENCE_LINE)
    if said is None:
        return Reading(None, fault)
    score = int(said)
    return Reading(score, None) if lowest <= score <= highest else Reading(None, OFF_THE_SCALE)


def preference_reading(text: str) -> Reading[Preference]:
    """`read_preference`, and where it is None, why."""
    said, fault = _said(text, PREFERENCE_LINE, PREFERENCE_MEANT, SCORE_LINE)
    return Reading(next((verdict for verdict in PREFERENCES if verdict == said), None), fault)


def final_part(text: str) -> str:
    """What a judge says after its reasoning: all of a text without any, nothing of one whose reasoning does not end.

    Reasoning is what stands in <think>, <thinking>, <thought>, <reasoning>, <analysis>, <seed:think> or [THINK]; a closing
    tag without an opening one ends reasoning that the prompt began.
    """
    open_tags: Counter[str] = Counter()
    end = 0
    for tag in REASONING.finditer(text):
        name = (tag["name"] or "[" + tag["bracket"]).lower()
        if tag["close"] or tag["shut"]:
            open_tags[name] = max(0, open_tags[name] - 1)
            end = tag.end()
        else:
            open_tags[name] += 1
    return "" if any(open_tags.values()) else text[end:]


def begun_by(prompt: str) -> str:
    """The opening tag that a rendered prompt ends with, or nothing.

    Templates of models that always think end their prompts in <think>. What follows is reasoning until it is closed,
    though no tag in the completion says so: unclosed, it has no verdict.
    """
    end = prompt.rstrip()
    last = next((tag for tag in REASONING.finditer(end) if tag.end() == len(end)), None)
    return f"{last[0]}\n" if last and not (last["close"] or last["shut"]) else ""


def states_verdict(text: str) -> bool:
    """Whether a text holds what may be meant as a verdict, or a mark of reasoning: none can be read after it for certain."""
    return any(pattern.search(text) for pattern in (SCORE_MEANT, PREFERENCE_MEANT, REASONING))


def score_line(score: int) -> str:
    """The verdict as a judge must write it: `Score: 3`."""
    return f"{SCORE}: {score}"


def preference_line(preference: str) -> str:
    """The verdict as a judge must write it: `Preference: A`."""
    return f"{PREFERENCE}: {preference}"


def swapped(preference: Preference) -> Preference:
    """The same verdict when the answers stand in the other order."""
    other: dict[Preference, Preference] = {"A": "B", "B": "A", "tie": "tie"}
    return other[preference]


def _said(
    text: str, verdict: re.Pattern[str], meant: re.Pattern[str], other: re.Pattern[str]
) -> tuple[str | None, str | None]:
    """The value in the last line, if that is a verdict and the only one; else the fault. Lines end at line feeds alone."""
    answer = final_part(text)
    lines = [line for line in (line.strip(BLANK) for line in answer.split("\n")) if line]
    if not lines:
        return None, NO_ANSWER
    found = verdict.fullmatch(lines[-1])
    if not found:
        return None, NO_VERDICT
    if len(meant.findall(answer)) > 1 or any(map(other.fullmatch, lines)):
        return None, SEVERAL
    return found[found.lastindex or 0], None
