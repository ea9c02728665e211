"""Whether a text states a known answer: the check behind "exact answers" in evaluation.

    "72"        a number: the last number of the text must equal it (a worked solution ends in its result)
    "teal"      words: they stand in the text, as whole words, in any case
    "no; fox"   several parts: each must be stated

A text may say more than the answer; it may not say less.
"""

from __future__ import annotations

import re

PARTS = "; "
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def states_answer(text: str, answer: str) -> bool:
    """True where the text states every part of the answer."""
    return all(_states(text, part) for part in answer.split(PARTS))


def _states(text: str, part: str) -> bool:
    wanted = _number(part)
    if wanted is None:
        return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text, re.IGNORECASE) is not None
    numbers = NUMBER.findall(text)
    return bool(numbers) and _number(numbers[-1]) == wanted


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
