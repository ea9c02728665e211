"""JudgeBench: both orders, the official counting, and the stored scores of a published reward model."""

import itertools
import json

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import JUDGEBENCH, evaluate, stored_scores
from tests.evaluation.benchmarks.rows import Compared, Scored, judgebench, judged, loaded, values

WORTH = {"A>B": 1, "tie": 0, None: 0, "B>A": -1}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(WORTH, repeat=2)))
@pytest.mark.parametrize("label", ["A>B", "B>A"])
def test_two_games_count_as_the_official_runner_counts(tmp_path, first, second, label):
    """`first` and `second` are what the two games say of A and B as published."""
    items = loaded(JUDGEBENCH, [judgebench(1, label)], tmp_path)
    as_shown = {"A>B": "A", "B>A": "B"}
    swapped = {"A>B": "B", "B>A": "A"}
    judge = Compared(lambda a, b: as_shown.get(first, first) if a == "a1" else swapped.get(second, second))
    total = (WORTH[first] + WORTH[second]) * (1 if label == "A>B" else -1)
    result = evaluate(judge, JUDGEBENCH, items)
    assert result.value == (total > 0)
    assert values(result)["same verdict in both orders"] == (first == second is not None)
    assert result.asked == 2


def test_scores_play_one_game_and_equal_scores_are_not_right(tmp_path):
    items = loaded(JUDGEBENCH, [judgebench(1), judgebench(2, "B>A"), judgebench(3, "B>A")], tmp_path)
    said = {"a1": 2, "b1": 1, "a2": 2, "b2": 1, "a3": 1, "b3": 1}
    result = evaluate(Scored(lambda text: float(said[text])), JUDGEBENCH, items)
    assert result.value == pytest.approx(1 / 3)
    assert "same verdict in both orders" not in result.parts
    assert result.notes == (
        "1 pair of equal scores not right (the official runner, which gives equal scores to B, would find 1 right)",
    )


def test_sources_are_grouped_by_their_beginning(tmp_path):
    sources = ["mmlu-pro-law", "mmlu-pro-physics", "livebench-math", "livecodebench", "something-new"]
    rows = [judgebench(n, source=source) for n, source in enumerate(sources)]
    judge = Scored(lambda text: float(text in {"a0", "a2", "b1", "b3"}))
    value, parts = judged(JUDGEBENCH, loaded(JUDGEBENCH, rows, tmp_path), judge)
    assert parts == {"mmlu-pro": 0.5, "livebench-math": 1, "livecodebench": 0, "something-new": 0}
    assert value == pytest.approx(2 / 5)


def test_a_position_that_always_wins_is_never_right(tmp_path):
    rows = [judgebench(n, "A>B" if n % 2 else "B>A") for n in range(6)]
    result = evaluate(Compared(lambda a, b: "A"), JUDGEBENCH, loaded(JUDGEBENCH, rows, tmp_path))
    assert (result.value, values(result)["same verdict in both orders"]) == (0, 0)


def test_answers_of_two_models_are_noted(tmp_path):
    rows = [judgebench(1), judgebench(2) | {"response_model": "other"}]
    notes = evaluate(Scored(lambda text: float(text[0] == "a")), JUDGEBENCH, loaded(JUDGEBENCH, rows, tmp_path)).notes
    assert notes == ("answers of 2 models together (m, other); official tables have one each",)


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(CookbookError, match="label is 'A=B', but in JudgeBench it is one of 'A>B', 'B>A'"):
        loaded(JUDGEBENCH, [judgebench(1, "A=B")], tmp_path)


def outputs(row, scores):
    return row | {"judgments": [{"judgment": {"judge_model": "rm", "scores": scores}, "decision": "A>B"}]}


def test_stored_scores_are_a_judge(tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text("\n".join(json.dumps(outputs(judgebench(n), [n, 1.5])) for n in (1, 2)))
    judge = stored_scores(path)
    assert judge.name == "rm"
    assert evaluate(judge, JUDGEBENCH, JUDGEBENCH.load(path)).value == 0.5
    with pytest.raises(CookbookError, match="rm has no score for the answer 'a3'"):
        evaluate(judge, JUDGEBENCH, loaded(JUDGEBENCH, [judgebench(3)], tmp_path))


@pytest.mark.parametrize("judgments", [[], None, [None], [{"judgment": {"scores": [1.0]}}], [{"decision": "A>B"}]])
def test_outputs_without_scores_are_refused_with_their_place(tmp_path, judgments):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps(judgebench(1) | {"judgments": judgments}))
    with pytest.raises(CookbookError, match=r"outputs.jsonl row 1: judgments is .*, but its first judgment holds two"):
        stored_scores(path)
