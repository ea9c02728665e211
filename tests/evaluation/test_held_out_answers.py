"""The end of a run: a judge on the validation files, with what could not be read or scored said and not raised."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, load_config
from cookbook_lib.evaluation.held_out_answers import judge_pairs, judge_scores
from cookbook_lib.evaluation.judges import LengthJudge
from cookbook_lib.evaluation.pipeline import on_benchmarks, pipeline_rows
from cookbook_lib.evaluation.reward_judge import RewardJudge
from tests.evaluation.benchmarks.rows import Compared, rewardbench

TOO_LONG = "door " * 20_000
GOOD = [{"prompt": "What is teal?", "chosen": f"The box is teal {n}.", "rejected": f"The lamp {n}."} for n in range(4)]
SCORED = [{"prompt": "What is teal?", "response": f"The box, {n}.", "score": n} for n in range(4)]


def config_of(folder: Path, recipe: str, rows: list[dict], *overrides: str) -> Config:
    file = folder / f"{recipe}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_config(recipe, ["smoke"], overrides, environ={}, train_file=str(file), val_file=str(file))


def test_rows_that_are_no_pairs_and_answers_too_long_are_counted(tmp_path, reward_folder):
    rows = [*GOOD, {**GOOD[0], "rejected": GOOD[0]["chosen"]}, {**GOOD[0], "rejected": TOO_LONG}]
    report = judge_pairs(config_of(tmp_path, "bradley_terry", rows), reward_folder)
    assert report is not None
    assert report.sections["accuracy"]["pairs in order"].rows == 4
    notes = " | ".join(report.as_json()["notes"])
    assert "left out, 1 of 6 rows read: the two answers of a pair differ" in notes
    assert "left out, 1 of 6 rows read: too_long, as in training; the first: " in notes
    assert "has 20," in notes and "max_length is 512, and its last turn alone does not fit" in notes


def test_prompts_are_read_as_training_reads_them(tmp_path, reward_folder, monkeypatch):
    """Two turns of which the older one does not fit: gone for the judge as for validation, and said; ties count apart."""
    seen: list[list[str]] = []

    def score(self, conversations):
        seen.extend([message["content"] for message in one] for one in conversations)
        return [float("teal" in one[-1]["content"]) for one in conversations]

    monkeypatch.setattr(RewardJudge, "score", score)
    turns = [{"role": "user", "content": "door " * 600}, {"role": "assistant", "content": "Yes."}]
    long = {**GOOD[0], "prompt": [*turns, {"role": "user", "content": "And teal?"}]}
    equal = {**GOOD[1], "chosen": "The box.", "rejected": "The lamp."}
    rows = [*GOOD[:2], long, {**GOOD[3], "chosen": "Neither.", "tie": True}, equal]
    report = judge_pairs(config_of(tmp_path, "bradley_terry", rows), reward_folder)
    assert report is not None
    assert seen[4] == ["And teal?", GOOD[0]["chosen"]] and seen[0] == ["What is teal?", GOOD[0]["chosen"]]
    assert "1 of 5 prompts without their oldest turns, as training reads them" in report.notes
    figure = report.sections["accuracy"]["val/accuracy"]
    assert (figure.value, figure.rows) == ((3 + 1 / 2) / 4, 4), "one pair of equal scores; the tie is left out"
    assert figure.note == "as training measures it; 1 tie left out; 1 pair of equal scores counts as half"


def test_only_the_rows_of_validation_are_judged(tmp_path, reward_folder):
    config = config_of(tmp_path, "bradley_terry", GOOD, "data.val_max_samples=3")
    report = judge_pairs(config, reward_folder)
    assert report is not None and report.sections["accuracy"]["pairs in order"].rows == 3
    limited = judge_pairs(config, reward_folder, limit=2)
    assert limited is not None and "of the first 2 rows" in limited.notes


def test_responses_too_long_leave_the_others_measured(tmp_path, reward_folder):
    config = config_of(tmp_path, "pointwise", [*SCORED, {**SCORED[0], "response": TOO_LONG}])
    found = judge_scores(config, reward_folder)
    assert found is not None
    assert len(found.responses) == len(found.scores["score"]) == 4 and all(map(math.isfinite, found.scores["score"]))
    note = found.measures["score"]["mean error"].note
    assert note.startswith("left out, 1 of 5 rows read: too_long, as in training; the first: ")
    with pytest.raises(CookbookError, match="can score none of .*; the first: left out, 1 of 1 rows read: too_long"):
        judge_scores(config_of(tmp_path, "pointwise", [{**SCORED[0], "response": TOO_LONG}]), reward_folder)


def test_part_of_a_benchmark_says_so(tmp_path, reward_folder):
    rows = [{"input": f"Say {n}.", "output_1": "Yes.", "output_2": "No.", "label": 1} for n in range(3)]
    file = tmp_path / "Natural.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    for limit, said in ((2, True), (-1, False)):
        (result,) = on_benchmarks(reward_folder, {"llmbar": str(file)}, device="cpu", limit=limit)
        assert any("of the first 2 rows alone" in note for note in result.notes) is said


def test_the_seed_of_benchmarks_draws_their_order_and_their_intervals(tmp_path):
    """A judge that always says A is right wherever the better answer happens to be shown first."""
    file = tmp_path / "rewardbench.jsonl"
    file.write_text("".join(json.dumps(rewardbench("alpacaeval-easy", n)) + "\n" for n in range(40)), encoding="utf-8")

    def right(**options):
        (result,) = on_benchmarks(Compared(lambda *_: "A"), {"rewardbench": str(file)}, **options)
        return [row["right"] for row in result.rows], result.parts["alpacaeval-easy"].interval

    assert right() == right(seed=0)
    for unlike, like in zip(right(seed=0), right(seed=1), strict=True):
        assert unlike != like


def test_the_closing_table_says_what_a_benchmark_lacks(tmp_path):
    """A RewardBench of one subset is no RewardBench, and cut to two rows it lacks both."""
    file = tmp_path / "rewardbench.jsonl"
    rows = [rewardbench("alpacaeval-easy", n) for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = config_of(tmp_path, "bradley_terry", GOOD)
    said = {}
    for limit in (-1, 2):
        (result,) = on_benchmarks(LengthJudge(), {"rewardbench": str(file)}, limit=limit)
        (row,) = pipeline_rows(config, config, {}, None, None, [result], tmp_path / "pipeline.json")
        said[limit] = (row["after"], result.incomplete)
    (whole, missing), (cut, both) = said[-1], said[2]
    assert whole.startswith("0.0% [") and whole.endswith("] incomplete") and cut.endswith(" incomplete")
    assert "without" in missing
    assert both == f"{missing}; of the first 2 rows alone: not to be compared with published figures"
    (row,) = pipeline_rows(
        config,
        config,
        {},
        None,
        None,
        [replace(result, value=math.nan, interval=(math.nan, math.nan))],
        tmp_path / "p.json",
    )
    assert row["after"] == "– incomplete"
