"""Best-of-n: against all subsets, one by one."""

from itertools import combinations

import numpy as np
import pytest

from cookbook_lib.evaluation.best_of_n import best_of_n, expected_pick


def test_by_hand():
    # scores 3 > 2 > 1 with truths 0, 1, 0: of two, the middle one is picked in 1 of 3 draws
    assert expected_pick(np.array([3.0, 2, 1]), np.array([0.0, 1, 0]), 2) == pytest.approx(1 / 3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_it_is_the_mean_over_all_subsets_with_equal_scores_shared(n):
    random = np.random.default_rng(n)
    scores, truth = random.integers(0, 3, 5).astype(float), random.random(5)
    picks = []
    for subset in map(list, combinations(range(5), n)):
        top = scores[subset] == scores[subset].max()
        picks.append(truth[subset][top].mean())
    assert expected_pick(scores, truth, n) == pytest.approx(np.mean(picks))


def test_a_curve_over_prompts():
    scores = [1, 2, 3, 4, 4, 3, 2, 1]
    truth = [0, 0, 0, 1, 0, 0, 0, 1]
    found = best_of_n(scores, truth, ["a"] * 4 + ["b"] * 4)
    assert [f.n for f in found] == [1, 2, 4]
    assert [f.picked.value for f in found] == pytest.approx([0.25, 0.25, 0.5])  # one prompt always right, one never
    assert [f.best.value for f in found] == pytest.approx([0.25, 0.5, 1.0])


def test_missing_scores_are_picked_last_and_short_prompts_left_out():
    one = best_of_n([None, 1, 5], [1, 0, 1], ["a", "a", "b"], ns=[2])[0]
    assert one.picked.value == 0
    assert one.picked.rows == 1
    assert one.picked.note.startswith("1 prompt with fewer answers")
    assert best_of_n([1], [1], ["a"], ns=[2])[0].picked.value is None
    assert best_of_n([], [], []) == []
