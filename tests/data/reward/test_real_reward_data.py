"""The published preference files, where they are at hand (COOKBOOK_REAL_DATA): counts in, kept and dropped are known."""

import gzip
import json
import re

import pandas as pd
import pytest

from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.data.reward.registry import RewardOptions

TIE, SAME, EMPTY = "a tie: neither answer is better", "the two answers of a pair differ", "an answer is not empty"
TWICE = "speakers alternate, the user first"
RIGHT, WRONG = (f"every solution is {which}: nothing to compare" for which in ("right", "wrong"))
HH, GSM8K = "hh_rlhf_harmless/first1200.jsonl.gz", "gsm8k/example_model_solutions.jsonl.gz"


@pytest.mark.parametrize(
    ("source", "kind", "name", "read", "kept", "dropped"),
    [
        ("ultrafeedback", "pairs", "ultrafeedback/train_clean.jsonl.gz", 1000, 884, {TIE: 110, SAME: 4, EMPTY: 2}),
        ("ultrafeedback", "pairs", "ultrafeedback/eval_clean.jsonl.gz", 200, 175, {TIE: 24, SAME: 1}),
        ("ultrafeedback", "scores", "ultrafeedback/eval_clean.jsonl.gz", 200, 399, {"exact duplicate": 1}),
        ("hh", "pairs", HH, 1200, 1194, {EMPTY: 4, TWICE: 2}),
        ("gsm8k", "pairs", GSM8K, 1319, 2426, {WRONG: 432, RIGHT: 156}),
        ("gsm8k", "scores", GSM8K, 1319, 5268, {}),
    ],
)
def test_counts(tmp_path, real_data, source, kind, name, read, kept, dropped):
    summary = prepare_reward(RewardJob(source, tmp_path, inputs=(str(real_data / name),), kind=kind))
    assert (summary["rows_read"], summary["kept"]) == (read, kept)
    assert {reason: entry["count"] for reason, entry in summary["dropped"].items()} == dropped
    reader = read_pairs if kind == "pairs" else read_scores
    groups = [{record.group for record in reader(tmp_path / f"{split}.parquet")} for split in ("train", "test")]
    assert not groups[0] & groups[1]
    rows = [summary["splits"][split]["rows"] for split in ("train", "test")]
    assert sum(rows) == kept
    assert rows[1] / kept == pytest.approx(0.1, abs=0.01)


def pairs(tmp_path, real_data, source, name, **options):
    job = RewardJob(source, tmp_path, inputs=(str(real_data / name),), test_ratio=0, options=RewardOptions(**options))
    prepare_reward(job)
    return list(read_pairs(tmp_path / "train.parquet"))


def published(real_data, name):
    with gzip.open(real_data / name, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def test_ultrafeedback_ties_are_kept_as_ties(tmp_path, real_data):
    name = "ultrafeedback/train_clean.jsonl.gz"
    made = pairs(tmp_path, real_data, "ultrafeedback", name, ties="keep")
    assert (len(made), sum(pair.tie for pair in made)) == (994, 110)
    scores = {row["prompt"]: row["metadata"] for row in published(real_data, name)}
    for pair in made:
        known = scores[pair.prompt[0]["content"]]
        assert pair.margin == pytest.approx(known["score_chosen"] - known["score_rejected"])


def test_hh_turns_are_those_of_the_text(tmp_path, real_data):
    """Put together again, each dialogue is the published text but for spaces around turns."""
    rows = published(real_data, HH)
    made = pairs(tmp_path, real_data, "hh", HH)
    lines = [int(origin.rpartition(" ")[2]) for origin in pd.read_parquet(tmp_path / "train.parquet")["origin"]]
    mark = {"user": "Human", "assistant": "Assistant"}
    for line, pair in zip(lines, made, strict=True):
        before = "".join(f"\n\n{mark[turn['role']]}: {turn['content']}" for turn in pair.prompt)
        for text, whole in ((pair.chosen, rows[line - 1]["chosen"]), (pair.rejected, rows[line - 1]["rejected"])):
            assert squeezed(f"{before}\n\nAssistant: {text}") == squeezed(whole)


def squeezed(text):
    return re.sub(r"\s+", " ", text)


def test_gsm8k_solutions_are_judged_as_published(tmp_path, real_data):
    """A solution is right exactly when its final number is; eleven reach none, and are wrong."""
    finals = {
        row["question"]: row["ground_truth"].rpartition("A: ")[2].replace(",", "")
        for row in published(real_data, GSM8K)
    }
    job = RewardJob("gsm8k", tmp_path, inputs=(str(real_data / GSM8K),), kind="scores", test_ratio=0)
    prepare_reward(job)
    unfinished = 0
    for record in read_scores(tmp_path / "train.parquet"):
        assert not re.search(r"<<[^<>]*>>", record.response)
        said = re.search(r"A: *(.*)$", record.response)
        right = bool(said) and said[1].replace(",", "").strip() == finals[record.prompt[0]["content"]].strip()
        assert right == bool(record.scores["score"])
        unfinished += not said
    assert unfinished == 11
