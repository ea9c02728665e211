"""The preparation of prompts, as a user runs it: every source of scores or pairs, grouped splits, a sentence for what is wrong."""

import json
import runpy
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import pytest

from cookbook_lib.data.judge.files import read_tasks
from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.verdicts import swapped

ROOT = Path(__file__).resolve().parents[3]
main = runpy.run_path(str(ROOT / "scripts" / "prepare_reward_data.py"))["main"]


def rows_file(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def prepared(tmp_path, *arguments, output="out"):
    folder = tmp_path / output
    code = main([*map(str, arguments), "--output", str(folder)])
    report = json.loads((folder / "report.json").read_text()) if (folder / "report.json").exists() else None
    return code, folder, report


def tasks_in(folder):
    return {name: list(read_tasks(folder / f"{name}.parquet")) for name in ("train", "test")}


def test_embedded_scores(tmp_path, capsys):
    code, folder, report = prepared(tmp_path, "--source", "embedded", "--kind", "score-judge", "--limit", 400)
    assert code == 0
    assert "prompts kept" in capsys.readouterr().out
    assert (report["kind"], report["unit"], report["rubric"]) == ("score-judge", "prompts", "helpfulness 1")
    split = tasks_in(folder)
    tasks = split["train"] + split["test"]
    assert Counter(str(task.truth) for task in tasks) == report["truths"]
    assert report["rows_read"] == report["kept"] + report["prompts_dropped"] == 400
    assert {task.kind for task in tasks} == {"score"}
    assert sorted(task.extra["index"] for task in tasks) == list(range(len(tasks)))
    assert {task.group for task in split["train"]}.isdisjoint({task.group for task in split["test"]})
    assert 0.05 < len(split["test"]) / len(tasks) < 0.15
    again = prepared(tmp_path, "--source", "embedded", "--kind", "score-judge", "--limit", 400, output="again")[1]
    assert (again / "train.parquet").read_bytes() == (folder / "train.parquet").read_bytes()


def test_embedded_pairs_stand_in_both_orders(tmp_path):
    arguments = ("--source", "embedded", "--kind", "preference-judge", "--limit", 400, "--ties", "keep")
    code, folder, report = prepared(tmp_path, *arguments)
    assert code == 0
    split = tasks_in(folder)
    assert {task.group for task in split["train"]}.isdisjoint({task.group for task in split["test"]})
    orders = defaultdict(dict)
    for task in split["train"] + split["test"]:
        orders[task.pair_id][task.order] = task
    for both in orders.values():
        forth, back = both["ab"], both["ba"]
        assert forth.truth == swapped(back.truth)
        assert quoted(forth.prompt).responses == quoted(back.prompt).responses[::-1]
        assert forth.group == back.group
    assert report["truths"]["A"] == report["truths"]["B"]
    assert report["ties"] == report["truths"].get("tie", 0) / 2


def test_answers_that_can_be_checked(tmp_path):
    code, folder, report = prepared(tmp_path, "--source", "char_count", "--kind", "answers", "--limit", 300)
    assert code == 0
    for tasks in tasks_in(folder).values():
        for task in tasks:
            _, _, letter, *_, word = task.prompt[0]["content"].rstrip("?").split()
            assert task.truth == str(word.split("-").count(letter))
    embedded = prepared(tmp_path, "--source", "embedded", "--kind", "answers", "--limit", 300, output="embedded")[1]
    assert {task.kind for task in tasks_in(embedded)["train"]} == {"answer"}
    columns = list(pd.read_parquet(embedded / "train.parquet").columns)
    assert columns == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    row = {"question": "2+2?", "answer": "It is <<2+2=4>>4.\n#### 1,004"}
    path = rows_file(tmp_path / "gsm8k.jsonl", row, row | {"question": "3+3?"}, {"question": "?", "answer": "none"})
    code, folder, report = prepared(tmp_path, "--source", "gsm8k", "--input", path, "--kind", "answers", output="sums")
    assert code == 0
    assert report["rows_refused"] == 1
    told = prepared(
        tmp_path,
        "--source",
        "gsm8k",
        "--input",
        path,
        "--kind",
        "answers",
        "--instruction",
        "End with ####.",
        output="told",
    )
    assert {task.prompt[0]["content"] for task in tasks_in(told[1])["train"]} <= {
        f"{n}\nEnd with ####." for n in ("2+2?", "3+3?")
    }
    assert [task.truth for tasks in tasks_in(folder).values() for task in tasks] == ["1004", "1004"]


def test_scores_that_lie_elsewhere_are_stretched(tmp_path):
    rated = [
        {"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No.", "score_chosen": 10.0, "score_rejected": 1.0 + n}
        for n in range(4)
    ]
    path = rows_file(tmp_path / "rows.jsonl", *rated)
    common = ("--source", "ultrafeedback", "--input", path, "--kind", "score-judge")
    code, _, report = prepared(tmp_path, *common, "--score-range", "1,10")
    assert code == 0
    assert report["truths"] == {"4": 4, "0": 2, "1": 2}  # 1, 2, 3, 4 of 1..10 are 0, 0.44, 0.89, 1.33 of 0..4
    code, _, report = prepared(tmp_path, *common, "--score-range", "1,9", "--test-ratio", 0, output="narrow")
    (left_out,) = [entry for rule, entry in report["dropped"].items() if "lie between 1 and 9" in rule]
    assert left_out["count"] == 4
    assert left_out["first"][0] == {
        "file": str(path), "row": 1, "field": "score", "found": "10.0", "fix": "correct the row, or give the right range"
    }  # fmt: skip


def test_prompts_too_long_when_rendered_are_left_out_with_both_orders(tmp_path, shared_tokenizer):
    shared_tokenizer("chatml").save_pretrained(tmp_path / "tokenizer")
    rows = [{"prompt": f"Is {n} even?", "chosen": "Yes." * (1 + 400 * (n == 3)), "rejected": "No."} for n in range(8)]
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    common = (
        "--source",
        "preferences",
        "--input",
        path,
        "--kind",
        "preference-judge",
        "--tokenizer",
        tmp_path / "tokenizer",
    )
    code, folder, report = prepared(tmp_path, *common, "--max-prompt-length", 600)
    assert code == 0
    assert report["kept"] == 14
    assert report["dropped"]["longer than 600 tokens when rendered"]["count"] == 2
    assert {place["row"] for place in report["dropped"]["longer than 600 tokens when rendered"]["first"]} == {4}
    assert len([task for tasks in tasks_in(folder).values() for task in tasks]) == 14


def test_filters_duplicates_and_broken_rows_are_counted_as_for_pairs(tmp_path):
    good = [{"prompt": f"Is {n} even?", "chosen": "Yes.", "rejected": "No."} for n in range(6)]
    path = rows_file(tmp_path / "rows.jsonl", *good, good[0], good[1] | {"chosen": ""}, good[2] | {"rejected": "Yes."})
    code, folder, report = prepared(tmp_path, "--source", "preferences", "--input", path, "--kind", "preference-judge")
    assert code == 0
    assert (report["kept"], report["duplicates"]) == (12, 1)
    assert report["dropped"]["exact duplicate"]["first"] == [{"file": str(path), "row": 7, "same_as": f"{path} row 1"}]
    assert [json.loads(line)["row"] for line in (folder / "dropped.jsonl").read_text().splitlines()] == [7, 8, 9]


def test_a_pair_that_comes_again_has_a_name_of_its_own(tmp_path):
    row, other = ({"prompt": f"Is {n} even?", "chosen": "Yes.", "rejected": "No."} for n in range(2))
    path = rows_file(tmp_path / "rows.jsonl", row, row, other, row)
    common = ("--source", "preferences", "--input", path, "--kind", "preference-judge", "--test-ratio", 0)
    _, folder, report = prepared(tmp_path, *common, "--keep-duplicates")
    assert report["kept"] == 8
    names = Counter(task.pair_id for task in read_tasks(folder / "train.parquet"))
    assert sorted(names.values()) == [2, 2, 2, 2]
    assert sum(name.endswith(("-2", "-3")) for name in names) == 2


def test_what_a_benchmark_asks_is_left_out(tmp_path):
    rows = [
        {"prompt": f"Tell me all about number {n} in the series.", "chosen": "Yes.", "rejected": "No."}
        for n in range(6)
    ]
    benchmark = rows_file(tmp_path / "bench.jsonl", {"prompt": rows[2]["prompt"], "chosen": "a", "rejected": "b"})
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    common = ("--source", "preferences", "--input", path, "--kind", "preference-judge")
    code, folder, report = prepared(tmp_path, *common, "--decontaminate", f"rewardbench={benchmark}")
    assert code == 0
    assert report["kept"] == 10
    assert "rewardbench" in json.dumps(report["benchmarks"])
    shown = [quoted(task.prompt).prompt[0]["content"] for tasks in tasks_in(folder).values() for task in tasks]
    assert rows[2]["prompt"] not in shown


def test_a_rubric_of_ones_own(tmp_path):
    file = tmp_path / "stars.yaml"
    file.write_text("name: stars\nversion: 3\ntask: Count stars.\nlevels: {1: a, 2: b, 3: c, 4: d, 5: e}\n")
    common = ("--source", "embedded", "--kind", "score-judge", "--limit", 60)
    code, folder, report = prepared(tmp_path, *common, "--rubric", file)
    assert code == 0
    assert report["rubric"] == "stars 3"
    assert set(report["truths"]) <= {"1", "2", "3", "4", "5"}
    assert tasks_in(folder)["train"][0].prompt[0]["content"].endswith("Score: <a whole number from 1 to 5>")
    report = prepared(tmp_path, *common, "--aspect", "correctness", output="aspect")[2]
    assert report["rubric"] == "correctness 1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--kind", "score-judge", "--rubric", "helpfullness"), "there is no rubric helpfullness; give a YAML file"),
        (
            ("--kind", "score-judge", "--mix", "helpfulness=1,correctness=1"),
            "is in no rubric of the project; say what is judged",
        ),
        (
            ("--kind", "score-judge", "--score-range", "5,1"),
            "score range is 5,1, but it is LOW,HIGH; write 1,5 for stars",
        ),
        (("--kind", "score-judge", "--score-range", "1-5"), "score range is '1-5', but it is LOW,HIGH"),
        (("--kind", "score-judge", "--score-range", "0,nan"), "score range is 0,nan, but it is LOW,HIGH"),
        (
            ("--kind", "preference-judge", "--score-range", "1,5"),
            "--score-range has no effect on preference-judge; leave it out",
        ),
        (
            ("--kind", "score-judge", "--max-prompt-length", "9"),
            "--max-prompt-length counts tokens; give --tokenizer PATH as well",
        ),
        (("--kind", "answers", "--rubric", "full"), "--rubric has no effect on answers; leave it out"),
        (
            ("--kind", "answers", "--decontaminate-answers"),
            "--decontaminate-answers has no effect on answers; leave it out",
        ),
        (("--kind", "answers", "--ties", "keep"), "the options of pairs and scores has no effect on answers"),
        (
            ("--kind", "score-judge", "--instruction", "Be brief."),
            "--instruction has no effect on score-judge; leave it out",
        ),
        (("--kind", "pairs", "--rubric", "full"), "--rubric has no effect on pairs; leave it out"),
        (("--kind", "score-judge", "--ties", "keep"), "--ties has no effect on scores"),
    ],
)
def test_jobs_that_contradict_themselves(tmp_path, capsys, arguments, sentence):
    code, _, report = prepared(tmp_path, "--source", "embedded", "--limit", 20, *arguments)
    assert (code, report) == (2, None)
    assert sentence in capsys.readouterr().err


def test_sources_that_cannot_make_it(tmp_path, capsys):
    path = rows_file(tmp_path / "rows.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    for source, kind, sentence in (
        ("preferences", "score-judge", "'preferences' rows make pairs, and no scores; leave --kind out"),
        ("kto", "preference-judge", "'kto' rows make scores, and no pairs"),
        (
            "ultrafeedback",
            "score-judge",
            "the scores of 'ultrafeedback' rows have no range that is known; give --score-range",
        ),
        ("hh", "answers", "source 'hh' is not known; choose one of"),
        ("sharegpt", "pairs", "source 'sharegpt' is not known; choose one of"),
    ):
        code, _, _ = prepared(tmp_path, "--source", source, "--input", path, "--kind", kind)
        assert code == 2
        assert sentence in capsys.readouterr().err
