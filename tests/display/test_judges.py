"""Pictures of judges: they draw without a warning whatever they are given, and their words carry the numbers."""

import math

import pytest
from matplotlib.figure import Figure

from cookbook_lib.display import (
    benchmark_bars,
    confident_mistakes,
    judge_pictures,
    margin_histogram,
    matrix_heatmap,
    reliability_diagram,
    save_pictures,
    score_against_length,
    score_distribution,
)
from cookbook_lib.display.judge_plots import _draw_curve, _running_median

POINT = {
    "low": 0.7,
    "high": 0.75,
    "pairs": 8,
    "confidence": 0.72,
    "accuracy": 0.5,
    "accuracy_low": 0.2,
    "accuracy_high": 0.8,
}
ALONE = {**POINT, "pairs": 1, "accuracy_low": None, "accuracy_high": None}
ROWS = [{"name": "x", "value": 0.5, "low": 0.4, "high": 0.6, "judge": "a", "chance": 0.5, "best": 0.9},
        {"name": "x", "value": None, "judge": "b"}, {"name": "y", "value": 1.0, "judge": "b", "low": None, "high": None}]  # fmt: skip
MISTAKE = {"prompt": "1 < 2?", "chosen": "yes", "rejected": "no " * 400, "score_chosen": -1.0, "score_rejected": 2.5}


@pytest.mark.parametrize(
    "picture",
    [
        margin_histogram([1.0, -2.0, 0.0, None, math.nan, 3.0]),
        margin_histogram([0.0]),
        margin_histogram([1e-9] * 3),
        margin_histogram([]),
        score_distribution([1.0, 2.0, None, 2.0], [0, 1, 1, 1]),
        score_distribution([1.0, 1.0], [True, False]),
        score_distribution([None], ["a"]),
        score_distribution([], []),
        score_against_length(
            [{"length": 5, "score": 1.0, "chosen": True}, {"length": 50, "score": None}], correlation=0.1
        ),
        score_against_length([{"length": 5, "score": 1.0}]),
        score_against_length([{"length": 0, "score": 1.0}]),
        score_against_length([]),
        reliability_diagram({"raw": {"points": [POINT, ALONE], "ece": 0.22}, "none": {"points": [], "ece": None}}),
        reliability_diagram({}),
        benchmark_bars(ROWS),
        benchmark_bars([]),
        matrix_heatmap([[0.7, 0.5, None], [0.8, 0.7, 0.6], [0.9, 0.8, 0.7]]),
        matrix_heatmap([[0.5, 1.0]], rows=["one"], columns=["a", "b"]),
    ],
    ids=lambda picture: picture.text[:50],
)
def test_every_picture_draws(picture):
    assert picture.render().startswith(b"\x89PNG")


def test_the_running_median_never_turns_back():
    """Answers of one length stay together, and the longest are not left out."""
    rows = [{"length": length, "score": float(n)} for n, length in enumerate([20] * 30 + [5, 21, 80, 90])]
    trend = _running_median(rows)
    lengths = [length for length, _ in trend]
    assert lengths == sorted(set(lengths))
    assert dict(trend)[20.0] == pytest.approx(14.5, abs=1) and max(lengths) == 80


def test_a_line_goes_through_bins_of_some_pairs_alone():
    """Bins of one or two pairs are all right or all wrong, and a line through them is a saw."""
    points = [POINT | {"confidence": x, "pairs": pairs} for x, pairs in ((0.55, 40), (0.6, 1), (0.75, 5), (0.9, 4))]
    figure = Figure()
    _draw_curve(figure.add_subplot(), points, "black", "raw")
    lines = {
        line.get_linestyle(): line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"
    }
    assert lines == {"-": [0.55, 0.75], "None": [0.6, 0.9]}


def test_words_carry_the_numbers():
    assert margin_histogram([1.0, -2.0, 0.0, None]).text == (
        "Chosen less rejected: 1 right, 1 wrong, 1 equal, 1 without a score, median 0"
    )
    assert benchmark_bars(ROWS).text == "Benchmarks: x by a 0.500 [0.400, 0.600]; x by b –; y by b 1.000"
    assert reliability_diagram({"raw": {"points": [POINT], "ece": 0.22}}).text == "Reliability: raw ECE 0.220"
    assert score_distribution([1.0, 3.0], ["a", "a"]).text == "Scores by class: a median 2 of 2"
    assert score_distribution([1.0, 3.0], [4.0, 0.5]).text == "Scores by class: 0.5 median 3 of 1, 4 median 1 of 1"


def test_the_matrix_says_hard_normal_and_easy():
    text = matrix_heatmap([[0.7, 0.5, 0.3], [0.8, 0.7, 0.4], [0.9, 0.8, 0.7]]).text
    assert text.endswith("(hard 0.400 · normal 0.700 · easy 0.833)")
    assert "hard" not in matrix_heatmap([[0.7, None], [0.1, 0.2]], rows=["a", "b"], columns=["a", "b"]).text


def test_the_running_median_is_of_neighbours():
    rows = [{"length": n, "score": n % 2} for n in range(1, 25)]
    assert _running_median(rows, windows=12)[0] == (1.5, 0.5)
    assert len(_running_median(rows, windows=12)) == 12


def test_a_card_shows_the_scores_and_folds_long_answers():
    view = confident_mistakes([MISTAKE], shown=100)
    assert "rejected +2.500" in view.text
    assert "1,102 more characters" in view.text
    assert "1 &lt; 2?" in view.html
    assert view.html.count("the judge prefers this") == 1
    assert view.html.count("<details>") == 1
    assert confident_mistakes([]).text == "The most confident mistakes: none"


def test_a_prompt_may_be_messages():
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "go"},
    ]
    assert "user: hi" in confident_mistakes([{**MISTAKE, "prompt": turns}]).text
    assert confident_mistakes([{**MISTAKE, "prompt": turns[:1]}]).text.splitlines()[2].strip() == "prompt  hi"


def test_pictures_of_a_document_are_those_that_it_has_numbers_for(tmp_path):
    assert judge_pictures({}) == {}
    pictures = judge_pictures({"margins": [1.0], "mistakes": [MISTAKE], "benchmarks": []})
    assert [path.name for path in save_pictures(pictures, tmp_path / "new")] == ["margins.png", "mistakes.html"]
    assert "color-scheme" in (tmp_path / "new" / "mistakes.html").read_text()
