"""The verifiers on published answers, where they are at hand (COOKBOOK_REAL_DATA): whether each is right is known."""

import gzip
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cookbook_lib.training.rewards.answers import gsm8k
from cookbook_lib.training.rewards.tool_calls import read_calls, tool_call
from tests.training.rewards.samples import answer

DATA = os.environ.get("COOKBOOK_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="COOKBOOK_REAL_DATA names no folder of published files")
SOLVERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def rows_of(name):
    with gzip.open(Path(DATA or "") / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def test_every_stored_gsm8k_solution_is_judged_as_its_authors_judged_it():
    samples, right = [], []
    for row in rows_of("gsm8k/example_model_solutions.jsonl.gz"):
        truth = row["ground_truth"].rpartition("\nA: ")[2]
        samples += [answer(row[solver]["solution"], truth) for solver in SOLVERS]
        right += [row[solver]["is_correct"] for solver in SOLVERS]
    paid = gsm8k(samples)
    assert (len(paid), sum(right)) == (5276, 2001)
    assert [value == 1.0 for value in paid] == right
    assert sum(value is None for value in paid) == 15  # 11 state no answer, 4 none that is a number: 1/5, -1.8 billion


@pytest.mark.parametrize(("split", "rows"), [("train", 7473), ("test", 1319)])
def test_every_reference_answer_is_right_and_no_other(split, rows):
    answers = [row["answer"] for row in rows_of(f"gsm8k/{split}.jsonl.gz")]
    truths = [text.rpartition("#### ")[2] for text in answers]
    assert gsm8k([answer(text, truth) for text, truth in zip(answers, truths, strict=True)]) == [1.0] * rows
    plus_one = [str(int(truth.replace(",", "")) + 1) for truth in truths]
    assert gsm8k([answer(text, truth) for text, truth in zip(answers, plus_one, strict=True)]) == [0.0] * rows


def test_published_tool_calls_are_right_and_no_others():
    rows = pq.read_table(Path(DATA or "") / "toolrl/test.parquet").to_pylist()
    truths = [row["reward_model"]["ground_truth"] for row in rows]
    called = [truth for truth in truths if "<tool_call>" in truth]
    assert all(read_calls(truth) for truth in called)
    assert tool_call([answer(truth, truth) for truth in called]) == [1.0] * len(called)
    pairs = list(zip(called, called[1:] + called[:1], strict=True))
    shifted = tool_call([answer(truth, other) for truth, other in pairs])
    assert shifted == [float(read_calls(truth) == read_calls(other)) for truth, other in pairs]
    assert sum(shifted) < len(called) / 10
