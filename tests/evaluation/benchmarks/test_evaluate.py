"""What every benchmark's run has in common: requests asked once and in few calls, intervals by prompt, rows, tables."""

import json
import math

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import (
    BENCHMARKS,
    JUDGEBENCH,
    LLMBAR,
    RM_BENCH,
    RMB,
    evaluate,
    hearing,
    table_rows,
)
from cookbook_lib.evaluation.judges import LengthJudge, RandomJudge
from tests.evaluation.benchmarks.rows import (
    ONE_OF_EACH,
    Compared,
    Scored,
    judgebench,
    llmbar,
    loaded,
    rm_bench,
    rmb_best,
    rmb_pair,
)


def test_each_conversation_is_scored_once(tmp_path):
    """RMB asks the same prompts in pairs and in best-of-n, and a winner stands in several pairs."""
    rows = [rmb_pair(1), rmb_pair(1) | {"pair_uid": "2"}, rmb_best(1), rmb_pair(3)]
    judge = Scored(lambda text: float(len(text)))
    result = evaluate(judge, RMB, loaded(RMB, rows, tmp_path))
    assert len(judge.calls) == 1
    asked = [conversation[-1]["content"] for conversation in judge.calls[0]]
    assert sorted(asked) == ["+1", "+3", "-1", "-1.0", "-1.1", "-3"]
    assert result.asked == 6


def test_each_duel_is_held_once(tmp_path):
    """The same pair in two categories: one duel where the seed shows it in the same order twice, else two."""
    rows = [rmb_pair(1), rmb_pair(1) | {"category_path": "Pairwise_set/Helpfulness/Code/X"}]
    items = loaded(RMB, rows, tmp_path)
    counts = set()
    for seed in range(12):
        judge = Compared(lambda a, b: "A")
        asked = evaluate(judge, RMB, items, seed=seed).asked
        assert asked == len(judge.calls[0]) == len(set(judge.calls[0]))
        counts.add(asked)
    assert counts == {1, 2}


def test_requests_come_in_few_calls_with_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(hearing, "AT_ONCE", 4)
    items = loaded(LLMBAR, [llmbar(n) for n in range(5)], tmp_path)
    for judge in (Scored(lambda text: 1.0), Compared(lambda a, b: "A")):
        seen = []
        evaluate(judge, LLMBAR, items, lambda done, total, seen=seen: seen.append((done, total)))
        assert [len(call) for call in judge.calls] == [4, 4, 2]
        assert seen == [(4, 10), (8, 10), (10, 10)]


def test_batches_change_nothing(tmp_path, monkeypatch):
    items = loaded(RM_BENCH, [rm_bench(n) for n in range(7)], tmp_path)
    whole = evaluate(RandomJudge(), RM_BENCH, items)
    monkeypatch.setattr(hearing, "AT_ONCE", 5)
    assert evaluate(RandomJudge(), RM_BENCH, items).rows == whole.rows


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        (Scored(lambda text: math.nan), "judge scored gave the score nan; a score is finite"),
        (Scored(lambda text: math.inf), "gave the score inf"),
        (Compared(lambda a, b: "C"), "judge compared gave the verdict 'C'; it is A, B, tie or None"),
    ],
)
def test_answers_that_are_none_are_refused(tmp_path, judge, sentence):
    with pytest.raises(CookbookError, match=sentence):
        evaluate(judge, LLMBAR, loaded(LLMBAR, [llmbar(1)], tmp_path))


def test_a_judge_that_answers_too_little_is_refused(tmp_path):
    judge = Scored(lambda text: 1.0)
    judge.score = lambda conversations: [1.0]
    with pytest.raises(CookbookError, match="judge scored, asked for 2 scores, gave 1; it must give one for each"):
        evaluate(judge, LLMBAR, loaded(LLMBAR, [llmbar(1)], tmp_path))


def test_nothing_to_judge_is_an_error():
    with pytest.raises(CookbookError, match="LLMBar has no items to judge"):
        evaluate(LengthJudge(), "llmbar", [])


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_results_are_plain_and_whole(name, tmp_path):
    items = loaded(BENCHMARKS[name], [ONE_OF_EACH[name]], tmp_path)
    result = evaluate(LengthJudge(), name, items)
    document = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert (document["name"], document["judge"]) == (BENCHMARKS[name].title, "longer wins")
    assert document["items"] == document["prompts"] == 1
    assert document["low"] is None or document["low"] <= document["value"]
    assert document["rows"][0]["origin"].endswith("rows.jsonl row 1")
    assert all(math.isfinite(part.value) for part in result.parts.values())


def test_rows_of_one_prompt_are_drawn_together(tmp_path):
    """Ten questions with four pairs each, all four right or all four wrong: no surer than ten rows."""
    rows = [judgebench(4 * n + k) | {"question": f"q{n}"} for n in range(10) for k in range(4)]
    items = loaded(JUDGEBENCH, rows, tmp_path)
    right = Scored(lambda text: float((text[0] == "a") == (int(text[1:]) < 20)))
    result = evaluate(right, JUDGEBENCH, items)
    assert (result.value, result.items, result.prompts) == (0.5, 40, 10)
    assert result.interval == pytest.approx((0.2, 0.8), abs=0.03)
    alone = evaluate(right, JUDGEBENCH, loaded(JUDGEBENCH, [judgebench(n) for n in range(40)], tmp_path))
    assert alone.interval == pytest.approx((0.35, 0.65), abs=0.03)


def test_all_right_is_no_certainty(tmp_path):
    items = loaded(JUDGEBENCH, [judgebench(n) for n in range(20)], tmp_path)
    assert evaluate(Scored(lambda text: float(text[0] == "a")), JUDGEBENCH, items).interval == pytest.approx(
        (0.8389, 1), abs=1e-4
    )


def test_a_part_s_interval_is_of_its_own_rows(tmp_path):
    rows = [judgebench(n, source="mmlu-pro-law" if n < 90 else "livebench-math") for n in range(100)]
    result = evaluate(RandomJudge(), JUDGEBENCH, loaded(JUDGEBENCH, rows, tmp_path))
    widths = {name: part.interval[1] - part.interval[0] for name, part in result.parts.items()}
    assert widths["livebench-math"] > 2 * widths["mmlu-pro"]
    assert {name: part.items for name, part in result.parts.items()} == {"mmlu-pro": 90, "livebench-math": 10}


def test_intervals_cover_the_truth_about_that_often(tmp_path):
    rows = [judgebench(n) | {"question": f"q{n // 2}"} for n in range(60)]
    items = loaded(JUDGEBENCH, rows, tmp_path)
    found = [evaluate(RandomJudge(seed), JUDGEBENCH, items).interval for seed in range(80)]
    assert 0.85 <= sum(low <= 0.5 <= high for low, high in found) / 80 < 1


def test_a_table_has_a_row_a_figure_and_a_column_a_judge(tmp_path):
    items = loaded(JUDGEBENCH, [judgebench(n) for n in range(4)], tmp_path)
    other = loaded(LLMBAR, [llmbar(n) for n in range(4)], tmp_path, "Natural.jsonl")
    truth = Scored(lambda text: float(text[0] in "ao"))
    results = [evaluate(judge, "judgebench", items) for judge in (truth, LengthJudge())]
    rows = table_rows([*results, evaluate(truth, "llmbar", other)], spec=".2f")
    assert [(row["benchmark"], row["part"], row["items"]) for row in rows] == [
        ("JudgeBench", "share of right pairs", 4),
        ("JudgeBench", "mmlu-pro", 4),
        ("LLMBar", "mean of subsets", 4),
        ("LLMBar", "Natural", 4),
    ]
    assert rows[0]["scored"] == "1.00 [0.51, 1.00]"
    assert rows[0]["longer wins"] == "0.00 [0.00, 0.49]"
    assert "longer wins" not in rows[2]
    assert len(table_rows(results, parts=False)) == 1


def test_one_prompt_has_a_value_and_no_interval(tmp_path):
    rows = [judgebench(n) | {"question": "q"} for n in range(2)]
    judge = Scored(lambda text: float(text in {"a0", "b1"}))
    result = evaluate(judge, "judgebench", loaded(JUDGEBENCH, rows, tmp_path))
    assert result.value == 0.5
    assert all(map(math.isnan, result.interval))
    assert table_rows([result])[0]["scored"] == "0.500"
