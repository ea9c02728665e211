"""What a judge must beat: judges that understand nothing.

    by_length(texts)        the longer answer wins
    BagOfWords              each word has a worth, learned from the training pairs; the answer whose words are worth more wins

        x(text)_j = log(1 + how often words of bucket j occur)             bucket = crc32(word) mod 2^16
        P(chosen is better) = sigmoid(w · (x(chosen) - x(rejected)))
        w = argmin  mean log loss + l2 / 2 |w|²                            L-BFGS from w = 0: nothing is random in it

The l2 that is best on a fifth of the training prompts, which a seed picks, is the one that is used. Both give a score per
answer, as a reward model does, so every measure of this room applies to them.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.calibration import sigmoid
from cookbook_lib.evaluation.intervals import Groups, group_index
from cookbook_lib.evaluation.measure import Floats, same_length

BUCKETS = 2**16
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)
HELD_OUT = 5  # one prompt in so many tries the penalties
WORD = re.compile(r"\w+|[^\w\s]")


def by_length(texts: Iterable[str]) -> list[float]:
    """Scores for which the longer answer wins: characters."""
    return [float(len(text)) for text in texts]


@dataclass(frozen=True)
class BagOfWords:
    """A linear preference model on hashed words: weights (BUCKETS,), and the l2 that they were fitted with."""

    weights: Floats
    l2: float

    @classmethod
    def fit(
        cls,
        chosen: Sequence[str],
        rejected: Sequence[str],
        *,
        groups: Groups = None,
        l2: float | None = None,
        seed: int = 0,
    ) -> "BagOfWords":
        """Learn from pairs of texts (n,). groups: prompts, which stay whole when some are held out to choose l2.

        l2: None chooses among PENALTIES; with fewer than HELD_OUT prompts the strongest. Raises CookbookError without a pair.
        """
        if not same_length(chosen=chosen, rejected=rejected):
            raise CookbookError("a bag of words learns from pairs, here is none: give training pairs.")
        x = _features(chosen) - _features(rejected)
        found = l2 if l2 is not None else _best_penalty(x, group_index(groups, len(chosen)), seed)
        return cls(_fit(x, found), found)

    def score(self, texts: Sequence[str]) -> list[float]:
        """One score per answer; differences are log odds."""
        return [float(score) for score in _features(texts) @ self.weights] if len(texts) else []

    def worth(self, words: Iterable[str]) -> dict[str, float]:
        """What the model thinks of single words (others may share their bucket)."""
        return {word: float(self.weights[_bucket(word.lower())]) for word in words}


@lru_cache(maxsize=2**18)
def _bucket(word: str) -> int:
    return zlib.crc32(word.encode()) % BUCKETS  # and not hash(), which differs from run to run


def _features(texts: Sequence[str]):  # type: ignore[no-untyped-def]  # scipy has no types: a sparse (texts, BUCKETS) array
    from scipy.sparse import csr_array  # here alone: a second of import that other measures do without

    bags = [Counter(_bucket(word) for word in WORD.findall(text.lower())) for text in texts]
    columns = np.array([bucket for bag in bags for bucket in bag], np.int64)
    values = np.log1p(np.array([count for bag in bags for count in bag.values()], float))
    ends = np.cumsum([0, *map(len, bags)])
    return csr_array((values, columns, ends), shape=(len(bags), BUCKETS))


def _fit(x, l2: float) -> Floats:  # type: ignore[no-untyped-def]
    from scipy.optimize import minimize

    def loss(w: Floats) -> tuple[float, Floats]:
        margin = x @ w
        gradient = -(x.T @ sigmoid(-margin)) / len(margin) + l2 * w
        return float(np.logaddexp(0, -margin).mean() + l2 / 2 * (w @ w)), gradient

    return np.asarray(minimize(loss, np.zeros(BUCKETS), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x)


def _best_penalty(x, index: NDArray[np.int64], seed: int) -> float:  # type: ignore[no-untyped-def]
    """The l2 with the lowest log loss on held-out prompts."""
    count = int(index.max()) + 1
    if count < HELD_OUT:
        return PENALTIES[0]
    held = np.zeros(count, bool)
    held[np.random.default_rng(seed).permutation(count)[: count // HELD_OUT]] = True
    rows, others = held[index], ~held[index]
    losses = {l2: float(np.logaddexp(0, -(x[rows] @ _fit(x[others], l2))).mean()) for l2 in PENALTIES}
    return min(PENALTIES, key=losses.__getitem__)
