"""Baselines: they learn what words say and no more, and the same every time."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.baselines import BUCKETS, BagOfWords, _features, by_length
from cookbook_lib.evaluation.metrics import pair_accuracy

WORDS = ["please", "thanks", "sorry", "never", "maybe", "indeed", "table", "chair", "river", "cloud"]


def pairs(n: int, seed: int) -> tuple[list[str], list[str]]:
    """Answers of random words; the one with more of the first three words is chosen."""
    random = np.random.default_rng(seed)
    found = [], []
    while len(found[0]) < n:
        texts = [" ".join(random.choice(WORDS, 12)) for _ in range(2)]
        polite = [sum(text.count(word) for word in WORDS[:3]) for text in texts]
        if polite[0] != polite[1]:
            best = int(np.argmax(polite))
            found[0].append(texts[best])
            found[1].append(texts[1 - best])
    return found


def test_it_learns_what_words_are_worth():
    model = BagOfWords.fit(*pairs(300, 0))
    worth = model.worth(WORDS)
    assert min(worth[word] for word in WORDS[:3]) > max(worth[word] for word in WORDS[3:])
    chosen, rejected = pairs(200, 1)
    assert pair_accuracy(model.score(chosen), model.score(rejected)).value > 0.9


def test_it_is_the_same_every_time():
    one, two = (BagOfWords.fit(*pairs(60, 0), seed=3) for _ in range(2))
    assert one.l2 == two.l2
    assert np.array_equal(one.weights, two.weights)


def test_the_fit_is_the_optimum():
    chosen, rejected = pairs(40, 0)
    x = (_features(chosen) - _features(rejected)).toarray()
    used = np.flatnonzero(np.abs(x).sum(0))
    found = BagOfWords.fit(chosen, rejected, l2=0.1)
    best = minimize(lambda w: np.logaddexp(0, -x[:, used] @ w).mean() + 0.05 * w @ w, np.zeros(len(used)), tol=1e-9)
    assert found.weights[used] == pytest.approx(best.x, abs=1e-3)
    assert np.count_nonzero(found.weights) == len(used) < BUCKETS


def test_small_and_empty_cases():
    assert BagOfWords.fit(["yes"], ["no"]).score(["yes no", ""])[1] == 0
    assert BagOfWords.fit(["same"], ["same"]).score(["same"]) == [0.0]
    assert BagOfWords.fit(["a"], ["b"]).score([]) == []
    with pytest.raises(CookbookError, match="here is none"):
        BagOfWords.fit([], [])


def test_longer_wins():
    assert pair_accuracy(by_length(["long answer", "x"]), by_length(["short", "yy"])).value == 0.5
