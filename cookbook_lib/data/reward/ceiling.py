"""How well any judge can do on pairs of the embedded world: what its rules leave undecided.

    a tie                          neither answer is better: every judge is right in half of them
    garbled by no change at all    "Ada keeps a pet owl." was to have its words out of order, and has them in order.
                                   Against the padded "I am glad that you asked. Ada keeps ..." its label says that the
                                   padded one is better (3 > 2); the same two texts say the opposite (4 > 3) a hundred
                                   times as often, or more, and the best judge goes by that.

Everything else can be told from the texts and from what is true of Larkspur Lane. So the ceiling is 1 but for ties, and but
for one pair in some ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.helpsteer2 import SCORES as ATTRIBUTES
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.synthetic import EMPTY_AFTER, EMPTY_BEFORE, SCORES

# Attributes by which an exact response beats its padded twin; verbosity and complexity never rank them so.
BY_QUALITY = zip(("helpfulness", "correctness", "coherence"), SCORES["exact"], SCORES["padded"], strict=False)
EXACT_FIRST = {name for name, exact, padded in BY_QUALITY if (exact or 0) > (padded or 0)}


def best_accuracy(pairs: Iterable[PreferencePair], attribute: str = "helpfulness") -> float:
    """The highest accuracy, in [0, 1], that a judge can be expected to have on these pairs of the embedded source.

    attribute: the one by which they were ranked; of a weighted mix nothing is known here.
    Raises CookbookError where there are no pairs, or for another attribute.
    """
    if attribute not in ATTRIBUTES:
        raise CookbookError(f"attribute {attribute!r} is not scored here; choose one of {', '.join(ATTRIBUTES)}")
    right = [_best(pair, attribute) for pair in pairs]
    if not right:
        raise CookbookError("no pairs were given, so there is no accuracy; give those of the embedded source")
    return sum(right) / len(right)


def without_padding(response: str) -> str | None:
    """What stands between two empty sentences, or None for a response that is not padded."""
    for before in EMPTY_BEFORE:
        for after in EMPTY_AFTER:
            if response.startswith(f"{before} ") and response.endswith(f" {after}"):
                return response[len(before) + 1 : -len(after) - 1]
    return None


def _best(pair: PreferencePair, attribute: str) -> float:
    if pair.tie:
        return 0.5
    return float(not (without_padding(pair.chosen) == pair.rejected and attribute in EXACT_FIRST))
