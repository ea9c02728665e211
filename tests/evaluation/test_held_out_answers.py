"""The end of a run: a judge on the validation files, with what could not be read or scored said and not raised."""

import json
import math
from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, load_config
from cookbook_lib.evaluation.held_out_answers import judge_pairs, judge_scores
from cookbook_lib.evaluation.pipeline import on_benchmarks

TOO_LONG = "door " * 20_000
GOOD = [{"prompt": "What is teal?", "chosen": f"The box is teal {n}.", "rejected": f"The lamp {n}."} for n in range(4)]
SCORED = [{"prompt": "What is teal?", "response": f"The box, {n}.", "score": n} for n in range(4)]


def config_of(folder: Path, recipe: str, rows: list[dict]) -> Config:
    file = folder / f"{recipe}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_config(recipe, ["smoke"], environ={}, train_file=str(file), val_file=str(file))


def test_rows_that_are_no_pairs_and_answers_too_long_are_counted(tmp_path, reward_folder):
    rows = [*GOOD, {**GOOD[0], "rejected": GOOD[0]["chosen"]}, {**GOOD[0], "rejected": TOO_LONG}]
    report = judge_pairs(config_of(tmp_path, "bradley_terry", rows), reward_folder)
    assert report is not None
    figure = report.sections["accuracy"]["pairs in order"]
    assert figure.rows == 5 and figure.note == "1 pair without scores counts as wrong"
    notes = " | ".join(report.as_json()["notes"])
    assert "left out, 1 of 6 rows read: the two answers of a pair differ" in notes
    assert "1 answer without a score; the first: it has 20," in notes


def test_responses_too_long_leave_the_others_measured(tmp_path, reward_folder):
    config = config_of(tmp_path, "pointwise", [*SCORED, {**SCORED[0], "response": TOO_LONG}])
    found = judge_scores(config, reward_folder)
    assert found is not None
    assert len(found.responses) == len(found.scores["score"]) == 4 and all(map(math.isfinite, found.scores["score"]))
    assert found.measures["score"]["mean error"].note == "1 answer too long for the model left out"
    with pytest.raises(CookbookError, match="can score none of .*; the first: it has 20,"):
        judge_scores(config_of(tmp_path, "pointwise", [{**SCORED[0], "response": TOO_LONG}]), reward_folder)


def test_part_of_a_benchmark_says_so(tmp_path, reward_folder):
    rows = [{"input": f"Say {n}.", "output_1": "Yes.", "output_2": "No.", "label": 1} for n in range(3)]
    file = tmp_path / "Natural.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    for limit, said in ((2, True), (-1, False)):
        (result,) = on_benchmarks(reward_folder, {"llmbar": str(file)}, device="cpu", limit=limit)
        assert any("of the first 2 rows alone" in note for note in result.notes) is said
