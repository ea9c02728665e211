"""Tasks on disk: ours, verl's and OpenJudge's layouts come back as they were; what breaks a rule is said with its place."""

import json
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.files import read_tasks, write_tasks
from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.questions import preference_tasks, score_task
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.data.origin import RowError
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse

ASKED = ({"role": "user", "content": "Hi"},)
TALK = ({"role": "system", "content": "Be kind.\u2028\r"}, *ASKED, {"role": "assistant", "content": "> Yes?\n"}, *ASKED)
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
SCORES = [
    score_task(ScoredResponse(TALK, f"answer {n}\n\nScore: 4", {"score": n}, source="s"), load_rubric())
    for n in range(5)
]
PAIRS = [
    task
    for n in range(4)
    for task in preference_tasks(PreferencePair(TALK, f"good {n}", f"bad {n}", tie=n == 3, source="s"), load_rubric())
]
ANSWERS = [JudgeTask(ASKED, "answer", "72", "gsm8k", "math", extra={"index": 1, "split": "train"})]
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"content": "2+2?", "role": "user"}],
    "ability": "math",
    "reward_model": {"ground_truth": "4", "style": "rule"},
    "extra_info": {"answer": "2+2=<<2+2=4>>4\n#### 4", "index": 0, "question": "2+2?", "split": "train"},
}


def without_place(tasks):
    return [replace(task, origin=None) for task in tasks]


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("tasks", [SCORES, PAIRS, [*SCORES, *PAIRS]], ids=["scores", "pairs", "both"])
def test_ours_come_back_and_are_written_again_byte_for_byte(tmp_path, tasks, suffix):
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    assert write_tasks(first, tasks) == len(tasks)
    read = list(read_tasks(first))
    assert without_place(read) == without_place(tasks)
    assert [task.origin.row for task in read] == list(range(1, len(tasks) + 1))
    write_tasks(second, read)
    assert first.read_bytes() == second.read_bytes()


def test_what_others_wrote_is_an_answer_and_comes_back(tmp_path):
    odd = VERL | {"reward_model": {"ground_truth": "x", "style": "model"}, "agent_name": "tool_agent", "ability": ""}
    bare = {**VERL, "reward_model": {"ground_truth": "x"}}
    source, again = lines(tmp_path / "a.jsonl", VERL, odd, bare), tmp_path / "b.jsonl"
    one, two, three = read_tasks(source)
    assert (one.kind, one.truth, one.data_source, one.ability) == ("answer", "4", "openai/gsm8k", "math")
    assert one.extra == VERL["extra_info"]
    assert one.group == two.group
    write_tasks(again, [one, two, three])
    assert again.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("truth", [["4", "four"], {"target": [4]}, 4, 4.5])
def test_a_ground_truth_may_be_anything(tmp_path, truth):
    row = VERL | {"reward_model": {"ground_truth": truth, "style": "rule", "weight": 2}}
    (task,) = read_tasks(lines(tmp_path / "a.jsonl", row))
    assert task.truth == truth
    write_tasks(tmp_path / "b.parquet", [task])
    assert pd.read_parquet(tmp_path / "b.parquet").reward_model[0]["weight"] == 2
    (again,) = read_tasks(tmp_path / "b.parquet")
    assert again.truth == truth


def test_a_file_of_pandas(tmp_path):
    frame = pd.DataFrame([VERL, VERL | {"extra_info": VERL["extra_info"] | {"index": 1}}])
    frame.to_parquet(tmp_path / "a.parquet")
    read = list(read_tasks(tmp_path / "a.parquet"))
    assert [task.extra["index"] for task in read] == [0, 1]
    write_tasks(tmp_path / "b.parquet", read)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b.parquet"), frame)


def test_verls_columns_are_what_its_trainer_reads(tmp_path):
    write_tasks(tmp_path / "a.parquet", PAIRS)
    (row, *_) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert list(row) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert row["reward_model"] == {"style": "rule", "ground_truth": PAIRS[0].truth}
    assert row["extra_info"]["judge"]["order"] == "ab"
    assert row["prompt"] == list(PAIRS[0].prompt)


def test_calls_of_tools_in_a_prompt_survive(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    other = {**CALL, "function": {"name": "sum", "arguments": {"of": [1, 2]}}}
    tasks = [
        JudgeTask(
            (*ASKED, {**call, "tool_calls": [made]}, {"role": "tool", "content": "x", "tool_call_id": "1"}),
            "answer",
            "y",
            "t",
        )
        for made in (CALL, other)
    ]
    write_tasks(tmp_path / "a.parquet", tasks)
    assert [task.prompt for task in read_tasks(tmp_path / "a.parquet")] == [task.prompt for task in tasks]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_openjudge_is_written_and_read(tmp_path, suffix):
    scores, pairs = tmp_path / f"scores.{suffix}", tmp_path / f"pairs.{suffix}"
    assert write_tasks(scores, SCORES, "openjudge") == len(SCORES)
    assert write_tasks(pairs, PAIRS, "openjudge") == len(PAIRS) // 2
    for written, tasks in ((scores, SCORES), (pairs, PAIRS)):
        read = list(read_tasks(written))
        assert [(task.prompt, task.truth, task.pair_id, task.order) for task in read] == [
            (task.prompt, task.truth, task.pair_id, task.order) for task in tasks
        ]
        assert {task.data_source for task in read} == {"openjudge/s"}
        write_tasks(tmp_path / f"again.{suffix}", read, "openjudge")
        assert (tmp_path / f"again.{suffix}").read_bytes() == written.read_bytes()


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_prompt_that_is_text_is_the_users_question(tmp_path, suffix):
    asked = [{"role": "user", "content": "Question: What is 2+2?"}]
    texts = [asked[0]["content"], json.dumps(asked)]
    rows = [{"prompt": text, "reward_model": {"style": "rule", "ground_truth": "4"}} for text in texts]
    path = lines(tmp_path / "rows.jsonl", *rows)
    if suffix == "parquet":
        pd.DataFrame(rows).to_parquet(path := tmp_path / "rows.parquet")
    for task in read_tasks(path):
        assert (task.prompt, task.kind, task.truth) == (tuple(asked), "answer", "4")
    assert write_tasks(tmp_path / "again.jsonl", read_tasks(path)) == 2
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0])["prompt"] == asked


def test_openjudge_as_it_is_published(tmp_path):
    def output(text, **label):
        return {"answer": {"role": "assistant", "content": text, "label": label}}

    asked = [{"role": "system", "content": "Kind."}, {"role": "user", "content": "Hi"}]
    point = {"input": asked, "output": [output("Hello.", helpfulness=3)], "source": "rewardbench2"}
    compared = [output("Hello.", preference="B", preference_strength=1), output("Hi!", preference="B")]
    texts = {name: json.dumps(value) for name, value in (("input", asked), ("output", compared))}
    path = lines(
        tmp_path / "a.jsonl", point, {"input": asked, "output": compared, "source": "x"}, {**texts, "source": "x"}
    )
    score, *orders = read_tasks(path)
    assert (score.truth, quoted(score.prompt)) == (3, (tuple(asked), ("Hello.",)))
    assert [task.truth for task in orders] == [task.truth for task in orders[2:]] * 2
    for task in orders:
        assert quoted(task.prompt).responses["AB".index(task.truth)] == "Hi!"
    full = next(read_tasks(path, rubric=load_rubric("full")))
    assert full.extra["rubric"] == "full 1"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"messages": []},
            r"prompt is missing, but a task has verl's prompt and reward_model, .* \(columns here: messages\)",
        ),
        ({"prompt": "Hi"}, "reward_model is missing, but a task has verl's prompt and reward_model"),
        ({**VERL, "prompt": 4}, "prompt is 4, but a prompt is text or a list of {role, content}"),
        ({**VERL, "prompt": " "}, "prompt is ' ', but a prompt is not empty"),
        ({**VERL, "prompt": []}, "messages is "),
        ({**VERL, "prompt": [{"role": "user"}]}, r"messages\[0\].content is None"),
        ({**VERL, "prompt": [{"role": "bot", "content": "x"}]}, r"messages\[0\].role is 'bot'"),
        ({**VERL, "reward_model": "4"}, "reward_model is '4', but it is an object; correct the row"),
        (
            {**VERL, "reward_model": {"style": "rule"}},
            "reward_model.ground_truth is missing, but completions are checked",
        ),
        ({**VERL, "reward_model": {"ground_truth": None}}, "reward_model.ground_truth is None"),
        ({**VERL, "extra_info": [1]}, r"extra_info is \[1\], but it is an object"),
        ({**VERL, "data_source": 3}, "data_source is 3, but it is text"),
        (
            {**VERL, "extra_info": {"judge": {"kind": "score"}}, "reward_model": {"ground_truth": "4.5"}},
            "truth is '4.5', but a score",
        ),
        (
            {**VERL, "extra_info": {"judge": {"kind": "preference"}}},
            "truth is '4', but a preference is one of A, B, tie",
        ),
        ({"input": [{"role": "user", "content": "x"}], "output": []}, r"output is \[\], but a row has"),
        (
            {"input": [{"role": "user", "content": "x"}], "output": [{"answer": {"content": "y", "label": {"a": 9}}}]},
            "score is 9",
        ),
        (
            {"input": [{"role": "user", "content": "x"}], "output": [{"answer": {"content": "", "label": {"a": 1}}}]},
            "is not empty",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_named(tmp_path, row, sentence):
    path = lines(tmp_path / "rows.jsonl", VERL, row)
    with pytest.raises(RowError, match=f"rows.jsonl row 2: .*{sentence}"):
        list(read_tasks(path))
    report = Report()
    assert len(list(read_tasks(path, report=report))) == 1
    assert report.counts["rows_refused"] == 1


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_limit_leaves_no_half_pair(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_tasks(path, [*PAIRS[:4], *PAIRS[:4], *SCORES, PAIRS[0]])
    kept = [len(list(read_tasks(path, limit=limit))) for limit in range(10)]
    assert kept == [0, 0, 2, 2, 4, 4, 6, 6, 8, 9], "also of a pair that is there twice"
    assert len(list(read_tasks(path, limit=14))) == 14, "an order without another is no half pair of the limit's"


def test_limits_and_what_cannot_be_written(tmp_path):
    path = tmp_path / "a.jsonl"
    write_tasks(path, SCORES)
    assert len(list(read_tasks(path, limit=2))) == 2
    with pytest.raises(CookbookError, match=r"a.csv has no ending that is written; name it .parquet or .jsonl"):
        write_tasks(tmp_path / "a.csv", SCORES)
    with pytest.raises(CookbookError, match="there is no task to write"):
        write_tasks(path, [])
    with pytest.raises(CookbookError, match="layout 'trl' is not known; choose verl or openjudge"):
        write_tasks(path, SCORES, "trl")
    with pytest.raises(RowError, match="prompt of kind answer is 'Hi', but this layout holds scores and preferences"):
        write_tasks(path, ANSWERS, "openjudge")
    with pytest.raises(RowError, match="prompt of kind score is 'Hi'"):
        write_tasks(path, [replace(SCORES[0], prompt=ASKED)], "openjudge")
    mixed = [replace(ANSWERS[0], truth=4), ANSWERS[0]]
    with pytest.raises(CookbookError, match="b.parquet: its rows do not fit one table .* write .jsonl"):
        write_tasks(tmp_path / "b.parquet", mixed)
    assert write_tasks(tmp_path / "b.jsonl", mixed) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
    with pytest.raises(CookbookError, match="there is no file or folder"):
        list(read_tasks(tmp_path / "nowhere.parquet"))
