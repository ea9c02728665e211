"""Published scores and pairs, where they are at hand (COOKBOOK_REAL_DATA): the figures are known."""

import gzip
import json
import os
from pathlib import Path

import pytest

from cookbook_lib.evaluation.baselines import BagOfWords, by_length
from cookbook_lib.evaluation.judge_report import ScoredPairs, judge_report
from cookbook_lib.evaluation.metrics import pair_accuracy

DATA = os.environ.get("COOKBOOK_REAL_DATA")
SKYWORK = (
    "judgebench/dataset=judgebench,response_model=gpt-4o-2024-05-13,judge_name=reward_model,"
    "judge_model=Skywork_Skywork-Reward-Llama-3.1-8B.jsonl.gz"
)
pytestmark = pytest.mark.skipif(not DATA, reason="COOKBOOK_REAL_DATA names no folder of published files")


def rows(name: str) -> list[dict]:
    with gzip.open(Path(DATA or "") / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def skywork() -> ScoredPairs:
    columns: dict[str, list] = {
        name: [] for name in ("prompts", "chosen", "rejected", "chosen_scores", "rejected_scores")
    }
    for row in rows(SKYWORK):
        scores = row["judgments"][0]["judgment"]["scores"]
        a, b = (row["response_A"], float(scores[0])), (row["response_B"], float(scores[1]))
        better, worse = (a, b) if row["label"] == "A>B" else (b, a)
        columns["prompts"].append(row["question"])
        for side, (text, score) in (("chosen", better), ("rejected", worse)):
            columns[side].append(text)
            columns[f"{side}_scores"].append(score)
    return ScoredPairs(**columns)


def test_skywork_on_judgebench():
    """218 of 350, as published; so sure of itself that its temperature is far above 1."""
    report = judge_report("Skywork-Reward-Llama-3.1-8B", skywork())
    assert report.sections["accuracy"]["pairs in order"].value == pytest.approx(218 / 350)
    calibration = report.sections["calibration"]
    assert calibration["temperature"].interval.low > 5
    assert calibration["ECE at temperatures of other prompts"].value < 0.12 < 0.25 < calibration["ECE"].value


def test_a_bag_of_words_beats_length_on_ultrafeedback():
    train, held_out = rows("ultrafeedback/train_clean.jsonl.gz"), rows("ultrafeedback/eval_clean.jsonl.gz")
    model = BagOfWords.fit(*([row[side] for row in train] for side in ("chosen", "rejected")))
    sides = [[row[side] for row in held_out] for side in ("chosen", "rejected")]
    words = pair_accuracy(*map(model.score, sides))
    length = pair_accuracy(*map(by_length, sides))
    assert words.interval.low > 0.55
    assert length.value == pytest.approx(0.455)
    assert words.value > length.value + 0.1
