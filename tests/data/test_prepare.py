"""The whole preparation, as a user runs it: files in, files out, and a sentence for everything that is wrong."""

import gzip
import json
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data import prepare, sources
from cookbook_lib.data.converters import registry
from cookbook_lib.data.parquet import SCHEMA
from cookbook_lib.data.records import read_conversations

ROOT = Path(__file__).resolve().parents[2]
main = runpy.run_path(str(ROOT / "scripts" / "prepare_sft_data.py"))["main"]
EXCHANGE = [{"from": "human", "value": "Hi {n}"}, {"from": "gpt", "value": "Hello {n}"}]


def sharegpt(path, count=20, extra=()):
    rows = [
        {"conversations": [{**turn, "value": turn["value"].format(n=n)} for turn in EXCHANGE]} for n in range(count)
    ]
    lines = [json.dumps(row) for row in rows] + [row if isinstance(row, str) else json.dumps(row) for row in extra]
    path.write_text("\n".join(lines))
    return path


def prepared(tmp_path, *arguments):
    output = tmp_path / "out"
    code = main([*map(str, arguments), "--output", str(output)])
    report = json.loads((output / "report.json").read_text()) if (output / "report.json").exists() else None
    return code, output, report


@pytest.mark.parametrize(
    ("arguments", "kept"), [("helpsteer2", 22), ("helpsteer2 --min-correctness 0", 44), ("judge --orders both", 88)]
)
def test_helpsteer2_as_it_is_published(helpsteer2_folder, tmp_path, capsys, arguments, kept):
    code, _, report = prepared(tmp_path, "--source", *arguments.split(), "--input", helpsteer2_folder)
    assert (code, report["rows_read"], report["kept"], report["rows_refused"]) == (0, 44, kept, 0)
    aside = [str(helpsteer2_folder / name / f"{name}.jsonl") for name in ("disagreements", "preference")]
    assert report["left_aside"] == aside
    told = f"2  files left aside, whose rows are of another kind: {', '.join(aside)}"
    assert told in capsys.readouterr().out


def test_files_and_figures(tmp_path, capsys):
    bad = ["{broken", {"conversations": [{"from": "narrator", "value": "x"}]}, {"conversations": [EXCHANGE[0]]}]
    doubled = {"conversations": [{"from": "human", "value": "Hi 3"}, {"from": "gpt", "value": "Hello 3"}]}
    empty = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": " "}]}
    path = sharegpt(tmp_path / "rows.jsonl", extra=[*bad, doubled, empty])
    code, output, report = prepared(tmp_path, "--source", "sharegpt", "--input", path)
    assert code == 0
    assert report["rows_read"] == 25
    assert (report["rows_refused"], report["conversations_dropped"], report["kept"]) == (3, 2, 20)
    assert sum(entry["count"] for entry in report["dropped"].values()) == 5
    assert report["dropped"]["exact duplicate"]["first"] == [{"file": str(path), "row": 24, "same_as": f"{path} row 4"}]
    assert report["dropped"]["empty assistant message"]["first"][0]["row"] == 25
    listed = [json.loads(line) for line in (output / "dropped.jsonl").read_text().splitlines()]
    assert sorted(entry["row"] for entry in listed) == [21, 22, 23, 24, 25]
    assert [entry["field"] for entry in listed if entry["row"] == 22] == ["conversations[0].from"]
    assert report["splits"]["train"]["rows"] == 18
    assert report["splits"]["test"]["rows"] == 2
    assert len(pd.read_parquet(output / "train.parquet")) == 18
    assert sorted(path.name for path in output.iterdir()) == [
        "dropped.jsonl",
        "report.json",
        "test.parquet",
        "train.parquet",
    ]
    printed = capsys.readouterr()
    assert "25  rows read" in printed.out
    assert "1  dropped: exact duplicate" in printed.out
    assert printed.err == ""


def test_both_answers_of_a_prompt_stay_together(tmp_path):
    code, output, report = prepared(
        tmp_path, "--source", "embedded", "--limit", 2000, "--min-correctness", 0, "--test-ratio", 0.2
    )
    assert code == 0
    groups = [{c.group for c in read_conversations(output / f"{name}.parquet")} for name in ("train", "test")]
    assert not groups[0] & groups[1]
    assert all(groups)
    assert abs(report["splits"]["test"]["rows"] / report["kept"] - 0.2) < 0.01


def test_the_order_of_rows_does_not_change_the_split(tmp_path):
    path = sharegpt(tmp_path / "rows.jsonl", count=60)
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(path.read_text().split("\n"))))
    tests = []
    for file in (path, turned):
        code, output, _ = prepared(tmp_path, "--source", "sharegpt", "--input", file)
        assert code == 0
        tests.append({str(c.messages) for c in read_conversations(output / "test.parquet")})
    assert tests[0] == tests[1]


def test_the_answer_survives(tmp_path):
    prepared(tmp_path, "--source", "embedded", "--limit", 400)
    conversations = list(read_conversations(tmp_path / "out" / "train.parquet"))
    assert all(conversation.answer for conversation in conversations)
    assert pd.read_parquet(tmp_path / "out" / "train.parquet").columns.tolist() == SCHEMA.names


def test_filters_system_and_several_inputs(tmp_path):
    first, second = sharegpt(tmp_path / "a.jsonl", 5), tmp_path / "b.json.gz"
    long = [{"conversations": [{"from": "human", "value": "why " * 50}, {"from": "gpt", "value": "so"}]}]
    second.write_bytes(gzip.compress(json.dumps(long).encode()))
    code, output, report = prepared(
        tmp_path,
        "--source",
        "sharegpt",
        "--input",
        first,
        "--input",
        second,
        "--max-characters",
        100,
        "--system",
        "Be kind.",
        "--test-ratio",
        0,
    )
    assert code == 0
    assert report["dropped"]["longer than 100 characters"]["count"] == 1
    assert [entry["rows_read"] for entry in report["files"]] == [5, 1]
    assert not (output / "test.parquet").exists()
    assert {c.messages[0]["content"] for c in read_conversations(output / "train.parquet")} == {"Be kind."}


def test_an_earlier_test_file_does_not_mislead(tmp_path):
    path = sharegpt(tmp_path / "rows.jsonl")
    prepared(tmp_path, "--source", "sharegpt", "--input", path)
    _, output, _ = prepared(tmp_path, "--source", "sharegpt", "--input", path, "--test-ratio", 0)
    assert not (output / "test.parquet").exists()


def test_one_prompt_alone_makes_no_test_set_and_says_so(tmp_path, capsys):
    extra = [{"conversations": [EXCHANGE[0], {"from": "gpt", "value": f"Hello {n}"}]} for n in range(3)]
    code, output, _ = prepared(tmp_path, "--source", "sharegpt", "--input", sharegpt(tmp_path / "r.jsonl", 0, extra))
    assert code == 0
    assert not (output / "test.parquet").exists()
    assert "every row has the same prompt" in capsys.readouterr().out


def test_a_failed_run_leaves_the_earlier_files_alone(tmp_path):
    _, output, _ = prepared(tmp_path, "--source", "sharegpt", "--input", sharegpt(tmp_path / "rows.jsonl"))
    before = (output / "train.parquet").read_bytes(), (output / "test.parquet").read_bytes()
    code, *_ = prepared(tmp_path, "--source", "sharegpt", "--input", tmp_path / "rows.jsonl", "--min-turns", 9)
    assert code == 2
    assert ((output / "train.parquet").read_bytes(), (output / "test.parquet").read_bytes()) == before
    assert not [path for path in output.iterdir() if path.suffix == ".partial" or path.stem == "spool"]


def test_a_full_disk_is_a_sentence(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "publish_split", full)
    with pytest.raises(CookbookError, match="No space left on device"):
        prepare.prepare(prepare.Job("embedded", tmp_path / "out", limit=10))


def test_a_turn_without_answer_is_cut_and_said(tmp_path):
    extra = [{"conversations": [*EXCHANGE, {"from": "human", "value": "And?"}]}]
    path = sharegpt(tmp_path / "rows.jsonl", extra=extra)
    _, _, report = prepared(tmp_path, "--source", "sharegpt", "--input", path)
    assert report["repaired"] == {"without the question or answer that had no counterpart at an end": 1}


def test_token_lengths(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / "tokenizer")
    path = sharegpt(tmp_path / "rows.jsonl")
    _, _, report = prepared(tmp_path, "--source", "sharegpt", "--input", path, "--tokenizer", tmp_path / "tokenizer")
    assert report["lengths"] == {
        "unit": "tokens of the contents",
        "count": 20,
        "total": 80,
        "min": 4,
        "median": 4,
        "p95": 4,
        "max": 4,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "sharegpt", "--input", "{folder}/none.jsonl"], "there is no file or folder"),
        (["--source", "sharegpt", "--input", "{folder}/empty.jsonl"], "has no rows"),
        (["--source", "sharegpt", "--input", "{folder}/placeholder.jsonl"], "row 1: line is '<PLACEHOLDER ROW>'"),
        (["--source", "sharegpt", "--input", "{folder}/alpaca.jsonl"], "conversations is missing"),
        (["--source", "sharegpt", "--input", "{folder}/unanswered.jsonl"], "needs an assistant message"),
        (["--source", "alpaca", "--input", "{folder}/sharegpt.jsonl"], "instruction or prompt"),
        (
            ["--source", "helpsteer2", "--input", "{folder}/poor.jsonl"],
            "none of 1 rows was kept .correctness below 4: 1.",
        ),
        (["--source", "embedded", "--loader", "{folder}/none.py"], "there is no loader"),
        (["--source", "gym"], "has no public data set; give --input"),
        (["--source", "embedded", "--input", "{folder}/alpaca.jsonl"], "makes its own rows"),
        (["--source", "embedded", "--test-ratio", "1"], "test ratio is 1.0"),
        (["--source", "gsm8k", "--min-correctness", "3", "--input", "{folder}"], "--min-correctness has no effect"),
        (["--source", "embedded", "--tokenizer", "{folder}/none"], "no tokenizer at"),
        (["--source", "embedded", "--output", "{folder}/alpaca.jsonl/out"], "cannot write to"),
        (["--source", "embedded", "--limit", "0"], "limit is 0"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, capsys, arguments, sentence):
    folder = tmp_path / "input"
    folder.mkdir()
    sharegpt(folder / "sharegpt.jsonl")
    lines = {
        "empty": "",
        "placeholder": "<PLACEHOLDER ROW>",
        "alpaca": '{"instruction": "a", "output": "b"}',
        "unanswered": '{"conversations": [{"from": "human", "value": "Hi"}]}',
        "poor": '{"prompt": "a", "response": "b", "correctness": 2}',
    }
    for name, line in lines.items():
        (folder / f"{name}.jsonl").write_text(line)
    given = [argument.format(folder=folder) for argument in arguments]
    if "--output" not in given:
        given += ["--output", str(tmp_path / "out")]
    assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert re.search(sentence, printed.err)
    assert not list(tmp_path.glob("out/*.parquet"))


def test_a_file_that_is_not_the_format_stops_early(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(['{"instruction": "a", "output": "b"}'] * 500))
    assert main(["--source", "sharegpt", "--input", str(path), "--output", str(tmp_path / "out")]) == 2
    assert "its first 100 rows cannot be used" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "--source sharegpt --output ./sft_data" in printed
    for name in ("sharegpt", "alpaca", "openai", "helpsteer2", "gsm8k", "gym", "judge", "embedded"):
        assert f"\n  {name} " in printed


def test_progress_goes_to_stderr_when_asked(tmp_path, capsys):
    assert main(["--source", "embedded", "--limit", "100", "--progress", "--output", str(tmp_path / "out")]) == 0
    assert "100 rows" in capsys.readouterr().err


def test_a_loader_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "tickets", None)  # so that both names are gone after the test
    monkeypatch.setitem(registry.CONVERTERS, "ticket", None)
    loader = tmp_path / "tickets.py"
    loader.write_text(TICKETS)
    output = tmp_path / "out"
    assert main(["--loader", str(loader), "--source", "tickets", "--limit", "30", "--output", str(output)]) == 0
    (first, *_) = read_conversations(output / "train.parquet")
    assert [message["content"] for message in first.messages] == ["Where is 0?", "Here."]
    assert first.source == "tickets"


TICKETS = """
from cookbook_lib.data.converters import register_converter
from cookbook_lib.data.records import chat
from cookbook_lib.data.sources import register_source

@register_converter("ticket")
def from_ticket(row, options):
    return chat(row["asked"], row["told"], source="tickets")

@register_source("tickets", converter="ticket")
def tickets(limit, seed):
    for number in range(limit):
        yield {"asked": f"Where is {number}?", "told": "Here."}
"""
