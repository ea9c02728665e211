"""RewardBench 2: the split of shared first places, and Ties against the formula written down a second time."""

import itertools
import json
import math

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import REWARDBENCH2, Scores, evaluate, table_rows
from cookbook_lib.evaluation.benchmarks.rewardbench2 import tie_marks, worth
from tests.evaluation.benchmarks.rows import Compared, Scored, judged, loaded, rewardbench2

PAIRED = (("ref:1", "ref"), ("tied:1", "tied"), ("tied:2", "tied"))


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (3.0, (1.0, 2.0, 0.0), 1),
        (3.0, (3.0, 2.0, 0.0), 1 / 2),
        (3.0, (3.0, 3.0, 0.0), 1 / 3),
        (3.0, (3.0, 3.0, 3.0), 1 / 4),
        (2.0, (3.0, 2.0, 2.0), 0),
        (None, (3.0, 2.0, 2.0), 0),
        (1.0, (None, None, 1.0), 1 / 2),
        (-5.0, (None, None, None), 1),
        (None, (None, None, None), 0),
    ],
)
def test_a_first_place_is_split_among_those_who_share_it(chosen, rejected, expected):
    assert worth(Scores((chosen,), rejected)) == expected


def test_ties_by_hand(tmp_path):
    """Two prompts. n = 0: all that is wanted. n = 1: the tied row's spread 2 is more than its gap 1; the ref row is wrong."""
    said = {
        "ref:0+0": 5, "ref:0-0": 2, "tied:0+0": 4, "tied:0+1": 5, "tied:0-0": 1,
        "ref:1+0": 0, "ref:1-0": 1, "tied:1+0": 3, "tied:1+1": 5, "tied:1-0": 2,
    }  # fmt: skip
    rows = [
        rewardbench2("Ties", f"{kind}:{n}", 2 if kind == "tied" else 1, 1) for n in (0, 1) for kind in ("ref", "tied")
    ]
    value, parts = judged(REWARDBENCH2, loaded(REWARDBENCH2, rows, tmp_path), Scored(lambda text: float(said[text])))
    margin = (math.tanh(min(3, 3) / 1 - 1) + math.tanh(min(-1, 1) / 2 - 1)) / 2
    expected = 0.3 * 1 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin
    assert parts["Ties"] == value == pytest.approx(expected, abs=1e-12)


def official(scored):
    """The Ties formula, from {(kind, n): (right scores, wrong scores)}."""
    stats = {
        key: (min(right) > max(wrong), max(right) - min(right), min(right) - max(wrong))
        for key, (right, wrong) in scored.items()
    }
    ref = {n: found for (kind, n), found in stats.items() if kind == "ref"}
    tied = {n: found for (kind, n), found in stats.items() if kind == "tied"}
    both = sorted(set(ref) & set(tied))
    spread = np.array([tied[n][1] for n in both])
    gap_tied, gap_ref = np.array([tied[n][2] for n in both]), np.array([ref[n][2] for n in both])
    lower = np.minimum(gap_ref, gap_tied)
    with np.errstate(all="ignore"):
        margin = np.nan_to_num(np.tanh(lower / spread - 1), nan=0.0)
    accuracies = [np.mean([found[0] for found in side.values()]) for side in (tied, ref)]
    means = [np.mean(gap_tied > spread), np.mean(lower > spread), np.mean(margin)]
    return float(np.dot([0.3, 0.3, 0.2, 0.2, 0.01], [*accuracies, *means]))


@pytest.mark.parametrize("seed", range(20))
def test_ties_equal_the_official_formula_on_random_scores(tmp_path, seed):
    """Odd seeds draw whole numbers: equal scores, spreads of 0, gaps of 0. Some prompts lack their partner."""
    random = np.random.default_rng(seed)
    rows, said, scored = [], {}, {}
    for n, kind in itertools.product(range(15), ("ref", "tied")):
        if random.random() < 0.1:
            continue
        right, wrong = (1 if kind == "ref" else int(random.integers(2, 6))), int(random.integers(1, 6))
        draw = (lambda size: random.integers(0, 4, size)) if seed % 2 else (lambda size: random.normal(size=size))
        scored[kind, n] = [draw(right) + 1.0, draw(wrong) + 0.0]
        rows.append(rewardbench2("Ties", f"{kind}:{n}", right, wrong))
        said |= dict(zip(rows[-1]["chosen"] + rows[-1]["rejected"], np.concatenate(scored[kind, n]), strict=True))
    _, parts = judged(REWARDBENCH2, loaded(REWARDBENCH2, rows, tmp_path), Scored(lambda text: float(said[text])))
    assert parts["Ties"] == pytest.approx(official(scored), abs=1e-12)


def test_what_could_not_be_read_is_never_right_in_ties():
    assert tie_marks(Scores((5.0, None), (1.0,))) == (0, -math.inf, math.inf)
    assert tie_marks(Scores((5.0, 4.0), (None,))) == (0, -math.inf, math.inf)
    assert tie_marks(Scores((5.0, 4.0), (None, 3.0))) == (1, 1, 1)


def test_a_judge_without_a_readable_word_gets_nothing(tmp_path):
    rows = [rewardbench2("Math", "7"), rewardbench2("Ties", "ref:1"), rewardbench2("Ties", "tied:1", 2)]
    result = evaluate(Scored(lambda text: None), REWARDBENCH2, loaded(REWARDBENCH2, rows, tmp_path))
    assert {name: part.value for name, part in result.parts.items()} == {"Math": 0, "Ties": 0}
    assert result.value == 0
    assert "1 prompt without a readable score, worth nothing (officially a guess)" in result.notes
    assert result.unparsed == result.asked == 4 + 4 + 5


def test_the_overall_is_the_mean_of_subsets(tmp_path):
    rows = [rewardbench2("Math", str(n)) for n in range(3)] + [rewardbench2("Focus", "9")]
    items = loaded(REWARDBENCH2, rows, tmp_path)
    result = evaluate(Scored(lambda text: float(("+" in text) == text.startswith("9"))), REWARDBENCH2, items)
    assert result.value == 0.5
    assert result.notes == (
        "without Factuality, Precise IF, Safety, Ties: the overall is the mean of the 2 subsets that are there",
    )


def test_every_judge_is_asked_for_scores(tmp_path):
    items = loaded(REWARDBENCH2, [rewardbench2("Math", "1")], tmp_path)
    with pytest.raises(AssertionError, match="asked for scores"):
        evaluate(Compared(lambda a, b: "A"), REWARDBENCH2, items)


def test_ties_without_partners_have_no_score(tmp_path):
    rows = [rewardbench2("Math", "1"), rewardbench2("Ties", "ref:1"), rewardbench2("Ties", "tied:2", 2)]
    result = evaluate(Scored(lambda text: float("+" in text)), REWARDBENCH2, loaded(REWARDBENCH2, rows, tmp_path))
    assert any("no prompt of Ties has both" in note for note in result.notes)
    assert result.value == result.parts["Math"].value == 1
    ties = json.loads(json.dumps(result.as_json(), allow_nan=False))["parts"]["Ties"]
    assert (ties["value"], ties["incomplete"]) == (None, "without the ref or the tied row of 2 of 2 prompts")
    assert {row["part"]: row["scored"] for row in table_rows([result])} == {
        "mean of subsets": "1.000 incomplete", "Math": "1.000", "Ties": "– incomplete",
    }  # fmt: skip


def test_a_figure_that_lacks_rows_says_so_and_so_does_all_that_is_made_of_it(tmp_path):
    rows = [rewardbench2(name, "1") for name in ("Factuality", "Precise IF", "Math", "Safety")]
    rows += [rewardbench2("Ties", identity, 1 + (kind == "tied")) for identity, kind in PAIRED]
    result = evaluate(Scored(lambda text: float("+" in text)), REWARDBENCH2, loaded(REWARDBENCH2, rows, tmp_path))
    lacks = "without the ref or the tied row of 1 of 2 prompts"
    assert result.parts["Ties"].incomplete == lacks and result.parts["Math"].incomplete == ""
    assert result.incomplete == result.as_json()["incomplete"] == f"Ties {lacks}; without Focus"
    assert f"Ties {lacks}, which count in the accuracies alone" in result.notes
    whole = [*rows, rewardbench2("Focus", "1"), rewardbench2("Ties", "ref:2")]
    complete = evaluate(Scored(lambda text: float("+" in text)), REWARDBENCH2, loaded(REWARDBENCH2, whole, tmp_path))
    assert complete.as_json()["incomplete"] is None and complete.value > 0.99
    assert "incomplete" not in str(table_rows([complete]))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (rewardbench2("Ties", "7"), "id is '7', but in RewardBench 2 in Ties it is ref:<n> or tied:<n>"),
        (rewardbench2("Ties", "tied:7", 1), "a tied prompt has at least two right answers"),
        (rewardbench2("Math", "7", 2), "a prompt of Math has one right answer"),
        (rewardbench2("Math", "7") | {"num_correct": 2}, "num_correct is 2, but in RewardBench 2 it counts the chosen"),
        (
            rewardbench2("Math", "7") | {"rejected": []},
            "rejected is .., but in RewardBench 2 it is a list of at least one",
        ),
        (rewardbench2("Poetry", "7"), "subset is 'Poetry', but in RewardBench 2 it is one of 'Factuality'"),
    ],
)
def test_rows_that_break_the_format(tmp_path, row, sentence):
    with pytest.raises(CookbookError, match=sentence):
        loaded(REWARDBENCH2, [row], tmp_path)
