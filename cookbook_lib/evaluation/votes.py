"""Several judgements of one thing, put together: self-consistency by votes (Wang et al. 2022, https://arxiv.org/abs/2203.11171).

    scores        3  3  4  None      ─▶ 3.33, the mean of what could be read          (or 3, what most say)
    preferences   A  A  tie  None    ─▶ A, which has more votes than B; a tie is a vote for neither
    both orders   (a, b): A A        ─▶ the mean of +1 for a, -1 for b, 0 for a tie, each order counting the same:
                  (b, a): A B            +1 and 0 make +1/2, so a
    agreement     the share of the votes that say what most of them say

A vote of None could not be read. It counts for nothing, and where no vote can be read nothing is made up: None.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from cookbook_lib.evaluation.judges import Verdict

Vote = int | Literal["A", "B", "tie"] | None
Combine = Literal["mean", "majority"]
WORTH: dict[Vote, int] = {"A": 1, "tie": 0, "B": -1}


def score_of(votes: Sequence[Vote], combine: Combine = "mean") -> float | None:
    """The mean of the scores that could be read, or the most frequent one (the mean of those, where several are)."""
    read = [vote for vote in votes if isinstance(vote, int)]
    if not read:
        return None
    return fmean(read if combine == "mean" else most_frequent(read))


def preference_of(votes: Sequence[Vote]) -> float | None:
    """The mean of +1 for A, -1 for B, 0 for a tie, over the votes that could be read."""
    read = [WORTH[vote] for vote in votes if vote is not None]
    return fmean(read) if read else None


def both_orders(shown: float | None, swapped: float | None) -> float | None:
    """The preference for a over b, from that of (a, b) and that of (b, a); None where one of them could not be read.

    Half an answer would bring the bias of position back that the second order is there to remove.
    """
    return None if shown is None or swapped is None else (shown - swapped) / 2


def verdict_for(preference: float | None) -> Verdict:
    """Who is ahead."""
    if preference is None:
        return None
    return "A" if preference > 0 else "B" if preference < 0 else "tie"


def agreement_of(votes: Sequence[Vote]) -> float | None:
    """The share of the votes read that say what most of them say: 1 is one voice; None where none could be read."""
    read = [vote for vote in votes if vote is not None]
    return Counter(read).most_common(1)[0][1] / len(read) if read else None


def most_frequent(read: Sequence[int]) -> list[int]:
    """Every score that no other one is more frequent than."""
    counts = Counter(read)
    most = max(counts.values())
    return [score for score, count in counts.items() if count == most]
