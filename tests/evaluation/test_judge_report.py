"""A report: one table, one JSON document without NaN, and what its pictures need."""

import json
import math
from dataclasses import dataclass

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.display import benchmark_bars, judge_pictures, save_pictures
from cookbook_lib.evaluation.judge_report import ScoredPairs, benchmark_rows, confident_mistakes, judge_report
from cookbook_lib.evaluation.measure import undefined


@dataclass(frozen=True)
class Result:
    name: str
    value: float
    interval: tuple[float, float]
    incomplete: str = ""


def scored(**columns) -> ScoredPairs:
    given = {
        "prompts": ["p", "p", [{"role": "user", "content": "q"}], "r"],
        "chosen": ["good **one**", "fine", "yes", "so long an answer"],
        "rejected": ["bad", "not fine", "no no no", "short"],
        "chosen_scores": [2.0, 1.0, -1.0, None],
        "rejected_scores": [1.0, 1.5, 3.0, 0.0],
    }
    return ScoredPairs(**{**given, **columns})


def test_the_table_has_every_section_and_the_sentences():
    report = judge_report(
        "mine",
        scored(),
        baselines={"longer wins": ([4, 3, 2, 9], [1, 5, 3, 2])},
        more={"agreement": {"Fleiss": undefined("no items")}},
    )
    rows = {(row[""], row["measure"]): row for row in report.rows()}
    assert rows["accuracy", "pairs in order"]["value"].startswith("0.250 [")
    assert "1 pair without scores counts as wrong" in rows["accuracy", "pairs in order"]["note"]
    assert rows["accuracy", "longer wins"]["value"].startswith("0.500")
    assert rows["accuracy", "lead over longer wins"]["value"].startswith("-0.250")
    assert rows["agreement", "Fleiss"] == {
        "": "agreement", "measure": "Fleiss", "value": "–", "rows": 0, "note": "no items",
    }  # fmt: skip
    assert {row[""] for row in report.rows("length")} == {"length"}


@pytest.mark.parametrize(
    "pairs",
    [
        scored(),
        scored(ties=[False, True, False, False], groups=[1, 2, 3, 4], chosen_lengths=[1, 2, 3, 4]),
        scored(chosen_scores=[None] * 4),
        scored(chosen_scores=[1.0] * 4, rejected_scores=[1.0] * 4),
        ScoredPairs([], [], [], [], []),
        ScoredPairs(["p"], ["a"], ["b"], [1.0], [0.0]),
    ],
    ids=["some", "ties", "no scores", "constant", "empty", "one"],
)
def test_the_document_is_plain_and_every_picture_of_it_draws(pairs, tmp_path):
    document = json.loads(
        json.dumps(judge_report("mine", pairs, benchmarks=[Result("x", 0.5, (0.4, 0.6))]).as_json(), allow_nan=False)
    )
    assert document["judge"] == "mine"
    paths = save_pictures(judge_pictures(document), tmp_path)
    assert all(path.stat().st_size for path in paths)
    assert (tmp_path / "benchmarks.png").exists()


def test_mistakes_come_by_confidence():
    found = confident_mistakes(scored())
    assert [(row["chosen"], row["score_chosen"], row["score_rejected"]) for row in found] == [
        ("yes", -1.0, 3.0),
        ("fine", 1.0, 1.5),
    ]
    assert len(confident_mistakes(scored(), 1)) == 1


def test_pairs_that_tie_count_in_accuracy_alone():
    report = judge_report("mine", scored(ties=[False, True, False, True]))
    assert report.sections["accuracy"]["pairs in order"].rows == 4
    assert report.sections["calibration"]["Brier"].rows == 2


def test_benchmarks_of_several_judges_are_rows():
    part = Result("y", math.nan, (math.nan, math.nan), "without Chat")
    rows = benchmark_rows({"a": [Result("x", 0.5, (0.4, 0.6)), part], "b": []})
    assert rows == [
        {"name": "x", "judge": "a", "value": 0.5, "low": 0.4, "high": 0.6, "incomplete": ""},
        {"name": "y", "judge": "a", "value": None, "low": None, "high": None, "incomplete": "without Chat"},
    ]
    assert benchmark_bars(rows).text == "Benchmarks: x by a 0.500 [0.400, 0.600]; y (incomplete) by a –"


def test_columns_of_different_lengths_are_an_error():
    with pytest.raises(CookbookError, match="chosen_scores has 1"):
        scored(chosen_scores=[1.0])
