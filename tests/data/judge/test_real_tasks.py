"""Published files as tasks, where they are at hand (COOKBOOK_REAL_DATA): counts and round trips are known."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cookbook_lib.data.judge.files import read_tasks, write_tasks
from cookbook_lib.data.judge.job import TaskJob
from cookbook_lib.data.judge.prepare import prepare_tasks
from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.reward.registry import RewardOptions


def test_verls_own_layout_comes_back(real_data, tmp_path):
    """toolrl/test.parquet, written by pandas for verl: 80 rows or so of tool calls as ground truth."""
    published = real_data / "toolrl" / "test.parquet"
    tasks = list(read_tasks(published))
    assert {task.kind for task in tasks} == {"answer"}
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    assert write_tasks(first, tasks) == pq.ParquetFile(published).metadata.num_rows
    assert pq.read_table(first).equals(pq.read_table(published))  # values, types and the order of fields
    write_tasks(second, read_tasks(first))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("source", "ask", "name", "kept"),
    [
        ("ultrafeedback", "preference-judge", "ultrafeedback/eval_clean.jsonl.gz", 2 * 175),
        ("hh", "preference-judge", "hh_rlhf_harmless/first1200.jsonl.gz", 2 * 1194),
        ("gsm8k", "score-judge", "gsm8k/example_model_solutions.jsonl.gz", 5268),
        ("gsm8k", "answers", "gsm8k/test.jsonl.gz", 1319),
    ],
)
def test_published_scores_and_pairs_become_prompts(real_data, tmp_path, source, ask, name, kept):
    job = TaskJob(source, tmp_path, inputs=(str(real_data / name),), ask=ask, options=RewardOptions(), test_ratio=0.2)
    report = prepare_tasks(job)
    assert report["kept"] == kept
    tasks = [task for part in ("train", "test") for task in read_tasks(tmp_path / f"{part}.parquet")]
    assert len(tasks) == kept
    if ask == "answers":
        truths = pd.read_json(real_data / name, lines=True).answer.str.extract(r"#### (.*)$")[0].str.replace(",", "")
        assert sorted(task.truth for task in tasks) == sorted(truths)
    else:
        assert all(quoted(task.prompt) is not None for task in tasks)  # whatever the texts hold, every frame closes


def test_gsm8k_solutions_keep_their_texts(real_data, tmp_path):
    """Every response comes out of its frame as it went in: 11 of them hold no answer, many hold odd characters."""
    path = real_data / "gsm8k" / "example_model_solutions.jsonl.gz"
    prepare_tasks(TaskJob("gsm8k", tmp_path, inputs=(str(path),), ask="score-judge", rubric="correctness"))
    shown = {quoted(task.prompt).responses[0] for task in read_tasks(tmp_path / "train.parquet")}
    import gzip
    import json

    from cookbook_lib.data.converters.gsm8k import CALCULATOR

    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file.read().split("\n") if line]
    given = {CALCULATOR.sub("", e["solution"]).strip() for row in rows for e in row.values() if isinstance(e, dict)}
    assert shown <= given
    assert len(shown) > 0.85 * len(given)
