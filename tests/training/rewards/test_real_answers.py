"""The verifiers on published answers, where they are at hand (COOKBOOK_REAL_DATA): whether each is right is known."""

import gzip
import json
import os
from pathlib import Path

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.files import read_tasks
from cookbook_lib.training.rewards import Sample
from cookbook_lib.training.rewards.answers import gsm8k
from cookbook_lib.training.rewards.tool_calls import read_calls, tool_call, true_calls
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
    tasks = list(read_tasks(Path(DATA or "") / "toolrl/test.parquet"))
    called = [task for task in tasks if "<tool_call>" in task.truth]
    assert (len(tasks), len(called)) == (80, 71)
    for task in (task for task in tasks if task not in called):
        with pytest.raises(CookbookError, match=r"test.parquet row \d+: truth is .* but it holds calls"):
            true_calls(task)
    assert tool_call([Sample(task.truth, task) for task in called]) == [1.0] * len(called)
    others = list(zip(called, called[1:] + called[:1], strict=True))
    paid = tool_call([Sample(task.truth, other) for task, other in others])
    assert paid == [float(read_calls(task.truth) == read_calls(other.truth)) for task, other in others]
    assert sum(paid) < len(called) / 10
