"""The whole preparation of reward data, as a user runs it: files in, files out, a sentence for everything that is wrong."""

import json
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from cookbook_lib.data.reward import catalog, registry
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.prepare import KEPT_TIE, OPPOSED

ROOT = Path(__file__).resolve().parents[3]
main = runpy.run_path(str(ROOT / "scripts" / "prepare_reward_data.py"))["main"]
LABELS = ["source", "group", "origin"]


def rows_file(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def preferred(n, **fields):
    return {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No.", **fields}


def prepared(tmp_path, *arguments, output="out"):
    folder = tmp_path / output
    code = main([*map(str, arguments), "--output", str(folder)])
    report = json.loads((folder / "report.json").read_text()) if (folder / "report.json").exists() else None
    return code, folder, report


def test_pairs_files_and_figures(tmp_path, capsys):
    good = [preferred(n, score_chosen=8.0, score_rejected=6.0) for n in range(20)]
    bad = [
        "{broken",
        preferred(20, chosen=""),
        preferred(21, rejected="It is 21."),
        {"prompt": "x"},
        preferred(22, score_chosen=5.0, score_rejected=5.0),
        good[3],
        {**good[4], "chosen": "No.", "rejected": "It is 4."},
    ]
    path = rows_file(tmp_path / "rows.jsonl", *good, *bad)
    code, output, report = prepared(tmp_path, "--source", "ultrafeedback", "--input", path)
    assert code == 0
    assert (report["kind"], report["source"], report["converter"]) == ("pairs", "ultrafeedback", "ultrafeedback")
    assert (report["rows_read"], report["rows_refused"], report["pairs_dropped"], report["kept"]) == (27, 4, 2, 21)
    assert report["repaired"] == {OPPOSED: 1}
    assert report["dropped"]["a tie: neither answer is better"]["first"] == [{"file": str(path), "row": 25}]
    assert report["dropped"]["exact duplicate"]["first"] == [{"file": str(path), "row": 26, "same_as": f"{path} row 4"}]
    assert (report["ties"], report["margins"]) == (0, {"count": 21, "least": 2.0, "median": 2.0, "most": 2.0})
    assert report["longer_wins"] == pytest.approx(20 / 21, abs=1e-4)
    assert report["lengths"]["count"] == 42
    listed = [json.loads(line) for line in (output / "dropped.jsonl").read_text().splitlines()]
    assert sorted(entry["row"] for entry in listed) == [21, 22, 23, 24, 25, 26]
    frame = pd.read_parquet(output / "train.parquet")
    assert frame.columns.tolist() == ["prompt", "chosen", "rejected", "margin", "tie", *LABELS]
    assert frame["prompt"].str.startswith("What is").all()
    assert {file.name for file in output.iterdir()} == {
        "dropped.jsonl",
        "report.json",
        "test.parquet",
        "train.parquet",
    }
    printed = capsys.readouterr()
    assert "21  pairs kept" in printed.out
    assert f"1  kept {OPPOSED}" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "rows_read", "kept"),
    [
        ("helpsteer2 --kind scores", 44, 44),
        ("helpsteer2 --kind score-judge", 44, 44),
        ("helpsteer2 --kind pairs", 44, 22),
        ("helpsteer2 --kind preference-judge", 44, 44),
        ("helpsteer2-preference", 10, 10),
    ],
)
def test_helpsteer2_as_it_is_published(helpsteer2_folder, tmp_path, capsys, arguments, rows_read, kept):
    given = ("--source", *arguments.split(), "--input", helpsteer2_folder)
    code, _, report = prepared(tmp_path, *given)
    assert (code, report["rows_read"], report["kept"], report["dropped"]) == (0, rows_read, kept, {})
    files, aside = [entry["file"] for entry in report["files"]], report["left_aside"]
    assert len(files) + len(aside) == 4
    told = f"{len(aside)}  files left aside, whose rows are of another kind: {', '.join(aside)}"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ("--kind score-judge", "ask for pairs, or name a file of scored responses"),
        ("--kind scores", "ask for pairs, or name a file of scored responses"),
        ("--aspect correctness", "leave --aspect out, or name a file of scored responses"),
    ],
)
def test_scores_of_comparisons_are_refused_with_their_file(helpsteer2_folder, tmp_path, capsys, arguments, fix):
    file = helpsteer2_folder / "preference/preference.jsonl"
    code, *_ = prepared(tmp_path, "--source", "helpsteer2", "--input", file, *arguments.split())
    assert code == 2
    rule = "row 1: response is missing, but a score is of one response, and this row compares two"
    assert f"{file}: every one of its 10 rows cannot be used; {rule}; {fix}" in capsys.readouterr().err


def test_ties_are_kept_when_asked_and_said(tmp_path):
    rows = [preferred(n, score_chosen=5.0, score_rejected=5.0 - n % 2) for n in range(20)]
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    given = ("--source", "ultrafeedback", "--input", path, "--ties")
    _, output, report = prepared(tmp_path, *given, "keep")
    assert report["repaired"] == {KEPT_TIE: 10}
    assert report["ties"] == 10
    both = [pair for name in ("train", "test") for pair in read_pairs(output / f"{name}.parquet")]
    assert {(pair.tie, pair.margin) for pair in both} == {(True, 0.0), (False, 1.0)}
    _, _, report = prepared(tmp_path, *given, "drop")
    assert (report["kept"], report["pairs_dropped"]) == (10, 10)


def test_a_tie_in_the_other_order_is_the_same_tie(tmp_path):
    rows = [preferred(1, margin=0, tie=True, score_chosen=1, score_rejected=1)]
    rows += [{**rows[0], "chosen": "No.", "rejected": "It is 1."}, preferred(2)]
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    _, _, report = prepared(tmp_path, "--source", "ultrafeedback", "--input", path, "--ties", "keep")
    assert (report["kept"], report["duplicates"]) == (2, 1)


def test_narrow_pairs_are_left_out_when_asked(tmp_path):
    rows = [preferred(n, score_chosen=n, score_rejected=0) for n in range(1, 6)]
    path = rows_file(tmp_path / "rows.jsonl", *rows, preferred(9))
    _, _, report = prepared(tmp_path, "--source", "ultrafeedback", "--input", path, "--min-gap", 3)
    assert report["dropped"]["a margin below 3"]["count"] == 2
    assert report["kept"] == 4  # a pair whose margin nobody knows stays


def test_scores_of_the_embedded_world(tmp_path):
    code, output, report = prepared(tmp_path, "--source", "embedded", "--limit", 600, "--kind", "scores")
    assert code == 0
    frame = pd.read_parquet(output / "train.parquet")
    attributes = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
    assert frame.columns.tolist() == ["prompt", "response", "score", *attributes, *LABELS]
    assert (frame["score"] == frame["helpfulness"]).all()
    assert {len(prompt) for prompt in frame["prompt"]} == {1, 3}  # follow-ups have turns
    assert set(report["scores"]) == {"score", *attributes}
    assert report["scores"]["score"]["least"] == 0
    assert report["scores"]["score"]["most"] == 4
    read = list(read_scores(output / "train.parquet", attributes=("score", "verbosity")))
    assert len(read) == report["splits"]["train"]["rows"]
    given = ("--source", "embedded", "--limit", 600, "--kind", "scores", "--mix", "helpfulness=0.5,verbosity=-1")
    frame = pd.read_parquet(prepared(tmp_path, *given, output="mix")[1] / "train.parquet")
    assert frame["score"].tolist() == pytest.approx((frame["helpfulness"] / 2 - frame["verbosity"]).tolist())


def test_no_prompt_is_on_both_sides_and_each_source_is_on_each(tmp_path):
    code, output, report = prepared(tmp_path, "--source", "embedded", "--limit", 4000, "--test-ratio", 0.2)
    assert code == 0
    train, test = (list(read_pairs(output / f"{name}.parquet")) for name in ("train", "test"))
    assert not {str(pair.prompt) for pair in train} & {str(pair.prompt) for pair in test}
    assert {pair.source for pair in train} == {pair.source for pair in test}
    assert len({pair.source for pair in train}) == 5
    assert abs(report["splits"]["test"]["rows"] / report["kept"] - 0.2) < 0.02


def test_the_order_of_rows_does_not_change_the_split(tmp_path):
    rows = [preferred(n) for n in range(60)]
    tests = []
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        path = rows_file(tmp_path / f"{name}.jsonl", *ordered)
        _, output, _ = prepared(tmp_path, "--source", "preferences", "--input", path, output=name)
        tests.append({pair.chosen for pair in read_pairs(output / "test.parquet")})
    assert tests[0] == tests[1]


def test_filters_judge_both_answers(tmp_path):
    rows = [preferred(n) for n in range(10)] + [preferred(11, rejected="no " * 50), preferred(12, chosen="yes " * 50)]
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    _, _, report = prepared(tmp_path, "--source", "preferences", "--input", path, "--max-characters", 100)
    assert report["dropped"]["longer than 100 characters"]["count"] == 2
    assert report["kept"] == 10


def test_what_a_benchmark_asks_is_left_out(tmp_path):
    rows = [preferred(n) for n in range(10, 30)]
    path = rows_file(tmp_path / "rows.jsonl", *rows)
    benchmark = rows_file(tmp_path / "bench.jsonl", {**rows[4], "id": "1", "subset": "math"})
    given = ("--source", "preferences", "--input", path, "--decontaminate", f"legs={benchmark}")
    code, output, report = prepared(tmp_path, *given)
    assert code == 0
    (found,) = report["dropped"]["in benchmark legs (same prompt)"]["first"]
    assert (found["file"], found["row"]) == (str(path), 5)
    assert found["same_as"].startswith(f"{benchmark} row 1")
    assert report["benchmarks"]["legs"]["rows"] == 1
    kept = [pair for name in ("train", "test") for pair in read_pairs(output / f"{name}.parquet")]
    assert rows[4]["prompt"] not in {pair.prompt[0]["content"] for pair in kept}
    said = "a long answer that a benchmark knows as well, word for word"
    other = rows_file(tmp_path / "answered.jsonl", *rows[10:], *({**row, "chosen": said} for row in rows[:10]))
    asked = rows_file(tmp_path / "asked.jsonl", {"prompt": "?", "chosen": f"{said} 3", "rejected": "no", "id": "1"})
    given = ("--source", "preferences", "--input", other, "--decontaminate", f"asked={asked}")
    assert prepared(tmp_path, *given)[2]["benchmarks"]["asked"]["records"] == 0
    _, _, report = prepared(tmp_path, *given, "--decontaminate-answers")
    assert (report["benchmarks"]["asked"]["records"], report["kept"]) == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "hh", "--input", "{folder}/none.jsonl"], "there is no file or folder"),
        (["--source", "hh", "--input", "{folder}/empty.jsonl"], "has no rows"),
        (
            ["--source", "hh", "--input", "{folder}/pairs.jsonl"],
            "every one of its 1 rows cannot be used; row 1: chosen",
        ),
        (["--source", "ultrafeedback", "--input", "{folder}/hh.jsonl"], "answers that are text need a prompt"),
        (["--source", "ultrafeedback", "--input", "{folder}/tie.jsonl"], "none of 1 rows was kept .a tie"),
        (["--source", "ultrafeedback", "--input", "{folder}/same.jsonl"], "the two answers of a pair differ"),
        (["--source", "helpsteer2", "--input", "{folder}/alone.jsonl"], "nothing to compare it with: 1"),
        (["--source", "helpsteer2", "--kind", "scores", "--input", "{folder}/range.jsonl"], "helpfulness is 9"),
        (["--source", "gsm8k"], "source 'gsm8k' has no public data set; give --input"),
        (["--source", "embedded", "--input", "{folder}/pairs.jsonl"], "makes its own rows"),
        (["--source", "hh", "--kind", "scores", "--input", "{folder}"], "'hh' rows make pairs, and no scores"),
        (["--source", "helpsteer2-preference", "--kind", "scores", "--input", "{folder}"], "make pairs, and no scores"),
        (["--source", "hh", "--aspect", "wit", "--input", "{folder}"], "--aspect has no effect on pairs of 'hh' rows"),
        (["--source", "embedded", "--aspect", "wit"], "aspect 'wit' is not scored here; choose from helpfulness"),
        (["--source", "embedded", "--aspect", ""], "aspect '' must name attributes"),
        (["--source", "embedded", "--mix", "helpfulness=much"], "aspect 'helpfulness=much' has no number"),
        (["--source", "embedded", "--kind", "scores", "--ties", "keep"], "--ties has no effect on scores"),
        (["--source", "embedded", "--min-gap", "-1"], "min gap is -1.0"),
        (["--source", "embedded", "--min-gap", "9"], "none of .* rows was kept"),
        (["--source", "embedded", "--language", "en"], "--language has no effect"),
        (["--source", "embedded", "--test-ratio", "1"], "test ratio is 1.0"),
        (["--source", "embedded", "--limit", "0"], "limit is 0"),
        (["--source", "embedded", "--decontaminate", "bench"], "write NAME=FILE"),
        (
            ["--source", "embedded", "--decontaminate-answers"],
            "--decontaminate-answers has no effect without a benchmark",
        ),
        (["--source", "embedded", "--decontaminate", "bench={folder}/none.jsonl"], "there is no file or folder"),
        (["--source", "embedded", "--output", "{folder}/pairs.jsonl/out"], "cannot write to"),
        (["--source", "embedded", "--loader", "{folder}/none.py"], "there is no loader"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, capsys, arguments, sentence):
    folder = tmp_path / "input"
    folder.mkdir()
    scored = {"prompt": "a", "response": "b", "helpfulness": 2}
    rows_file(folder / "empty.jsonl", "")
    rows_file(folder / "pairs.jsonl", preferred(1))
    rows_file(
        folder / "hh.jsonl", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    )
    rows_file(folder / "tie.jsonl", preferred(1, score_chosen=1, score_rejected=1))
    rows_file(folder / "same.jsonl", preferred(1, rejected="It is 1."))
    rows_file(folder / "alone.jsonl", scored)
    rows_file(folder / "range.jsonl", {**scored, "helpfulness": 9})
    given = [argument.format(folder=folder) for argument in arguments]
    if "--output" not in given:
        given += ["--output", str(tmp_path / "out")]
    if "embedded" in given and "--limit" not in given:
        given += ["--limit", "40"]
    assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert re.search(sentence, printed.err)
    assert not list(tmp_path.glob("out/*.parquet"))


def test_help_teaches(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "--source helpsteer2 --output ./reward_data" in printed
    assert "pairs, scores or prompts" in printed
    for name in catalog.REWARD_SOURCES:
        assert f"\n  {name} " in printed


def test_a_loader_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.REWARD_SOURCES, "tickets", None)  # so that both names are gone after the test
    monkeypatch.setitem(registry.REWARD_CONVERTERS, "ticket", None)
    loader = tmp_path / "tickets.py"
    loader.write_text(TICKETS)
    output = tmp_path / "out"
    assert main(["--loader", str(loader), "--source", "tickets", "--limit", "30", "--output", str(output)]) == 0
    (first, *_) = read_pairs(output / "train.parquet")
    assert (first.prompt[0]["content"], first.chosen, first.source) == ("Where is 0?", "Here.", "tickets")


TICKETS = """
from cookbook_lib.data.reward.catalog import register_reward_source
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import register_reward_converter, user_turn

@register_reward_converter("ticket")
def from_ticket(row, kind, options):
    return PreferencePair(user_turn(row["asked"]), row["good"], row["bad"], source="tickets")

@register_reward_source("tickets", converter="ticket")
def tickets(limit, seed):
    for number in range(limit):
        yield {"asked": f"Where is {number}?", "good": "Here.", "bad": "Hm."}
"""
