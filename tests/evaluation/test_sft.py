"""The comparison, from two folders to a table and a file; the command that prints it."""

import importlib.util
import json
import math
import os
import shutil

import pytest
import yaml

from cookbook_lib.config import CookbookError
from cookbook_lib.config.places import HOME
from cookbook_lib.data.records import chat
from cookbook_lib.evaluation import report
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.evaluation.sft import Settings, compare, figures

SETTINGS = Settings(max_length=128, max_new_tokens=24)


@pytest.fixture(scope="module")
def found(base, checkpoint, rows):
    return compare(checkpoint, base, rows, SETTINGS)


def test_what_was_learned_shows(found):
    lines = {figure.name: figure for figure in figures(found)}
    loss = lines["loss per token"]
    assert loss.base.value == pytest.approx(math.log(found_vocabulary(found)), rel=0.1)  # a random model knows nothing
    assert loss.checkpoint.value < 0.5
    assert loss.change.value == pytest.approx(loss.checkpoint.value - loss.base.value)
    assert loss.change.high < 0
    assert lines["perplexity"].checkpoint.value == pytest.approx(math.exp(loss.checkpoint.value))
    assert (lines["exact answers"].base.value, lines["exact answers"].checkpoint.value) == (0, 1)
    assert lines["exact answers"].checkpoint.low < 0.7, "six of six is no certainty"
    assert lines["ended by itself"].checkpoint.value == 1


def found_vocabulary(found) -> int:
    return open_model(found.base.folder).config.vocab_size


def test_rows_samples_and_json_are_plain_and_agree(found):
    table = report.table_rows(found)
    assert [row[""] for row in table] == ["loss per token", "perplexity", "exact answers", "ended by itself"]
    assert table[2]["base"].startswith("0.0% [0.0%")
    (sample, *_) = report.sample_rows(found, 1)
    assert sample["checkpoint"] == sample["reference"] == "The box is teal."
    assert sample["checkpoint right"] is True
    assert sample["base right"] is False
    told = json.loads(json.dumps(report.as_json(found, "base: x", ["val.parquet"])))
    assert told["figures"]["exact answers"]["checkpoint"]["value"] == 1
    assert len(told["samples"]) == 6
    assert told["rows"] == 6


def test_without_a_base_the_table_says_so(checkpoint, rows):
    alone = compare(checkpoint, None, rows, SETTINGS)
    assert {row["base"] for row in report.table_rows(alone)} == {"–"}
    assert {row["change"] for row in report.table_rows(alone)} == {"–"}
    assert "base" not in report.sample_rows(alone)[0]
    assert report.as_json(alone, "no base", [])["base"] is None


def test_without_checkable_answers_exactness_is_absent_and_said(checkpoint):
    plain = [chat("Hello", "The box is teal."), chat("Hi", "The hat is white.")]
    found = compare(checkpoint, None, plain, SETTINGS)
    assert "exact answers" not in {row[""] for row in report.table_rows(found)}
    assert report.NO_ANSWERS in report.notes(found)


def test_checkable_rows_are_asked_first_and_the_sample_is_seeded(checkpoint, rows):
    mixed = [chat(f"Hello {i}", "The box is teal.") for i in range(6)] + rows
    asked = [
        [
            q.reference
            for q in compare(
                checkpoint, None, mixed, Settings(128, questions=3, max_new_tokens=2, seed=s)
            ).rows.questions
        ]
        for s in (0, 0, 1)
    ]
    assert asked[0] == asked[1] != asked[2]
    assert all(reference in {row.messages[-1]["content"] for row in rows} for reference in asked[0])


def test_no_questions_is_loss_alone(checkpoint, rows):
    found = compare(checkpoint, None, rows, Settings(128, questions=0))
    assert [row[""] for row in report.table_rows(found)] == ["loss per token", "perplexity"]


def test_weights_of_messages_count(checkpoint, rows):
    halved = [chat(row.messages[0]["content"], row.messages[1]["content"]) for row in rows[:1]]
    ignored = [type(row)((row.messages[0], row.messages[1] | {"weight": 0.5})) for row in rows[1:]]
    found = compare(checkpoint, None, halved + ignored, Settings(128, questions=0))
    full = compare(checkpoint, None, rows, Settings(128, questions=0))
    assert found.checkpoint.losses.weight.tolist() == (full.checkpoint.losses.weight * ([1] + [0.5] * 5)).tolist()


def test_left_out_rows_are_counted_and_none_left_is_an_error(checkpoint, rows):
    long = chat("word " * 500, "answer")
    found = compare(checkpoint, None, [*rows, long], Settings(128, questions=0))
    assert sum(found.rows.left_out.values()) == 1
    assert any("left out: 1 x" in note for note in report.notes(found))
    with pytest.raises(CookbookError, match="no conversation of the held-out data can be used"):
        compare(checkpoint, None, [long], Settings(128))


def test_missing_weights_are_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoint, tmp_path / "holed")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CookbookError, match=r"lacks 1 weights \(model\.norm\.weight"):
        open_model(folder)
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CookbookError, match="does not load"):
        open_model(folder)


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location("evaluate_sft", HOME / "scripts" / "evaluate_sft.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path, rows):
    file = tmp_path / "val.jsonl"
    lines = [{"messages": list(row.messages), "answer": row.answer} for row in rows]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_the_command_prints_a_table_and_writes_the_file(command, checkpoint, data, tmp_path, capsys):
    output = tmp_path / "made" / "report.json"
    arguments = [
        "--checkpoint-path",
        checkpoint,
        "--data",
        data,
        "--output",
        output,
        "--max-new-tokens",
        24,
        "--limit",
        5,
    ]
    assert command.main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr().out
    for expected in (
        "loss per token",
        "exact answers",
        "5 held-out conversations",
        "base: ",
        "The box is teal.  [right]",
    ):
        assert expected in printed
    assert json.loads(output.read_text())["figures"]["exact answers"]["checkpoint"]["value"] == 1


def test_the_run_s_own_data_and_settings_are_the_default(command, checkpoint, data, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run / "best")
    config = {
        "data": {
            "val_files": str(data),
            "max_length": 100,
            "train_on": "last_assistant",
            "multiturn": {"messages_key": "messages"},
        }
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert command.main(["--checkpoint-path", str(run / "best"), "--questions", "0"]) == 0
    assert "6 held-out conversations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--checkpoint-path", "{run}/best_model"], "best_model is not there; models under {run}: best"),
        (["--checkpoint-path", "{run}/best"], "no run beside it names held-out data; give it with --data FILE"),
        (["--checkpoint-path", "{run}/best", "--data", "nowhere.parquet"], "nowhere.parquet"),
        (["--checkpoint-path", "{run}/best", "--base-path", "nowhere", "--data", "x"], "nowhere is not there"),
        (["--checkpoint-path", "{run}/best", "--data", "x", "--output", "{run}"], "cannot be written"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(command, checkpoint, capsys, arguments, sentence):
    run = str(checkpoint.parent)
    assert command.main([argument.format(run=run) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence.format(run=run) in told
    assert "Traceback" not in told


def test_an_output_folder_that_cannot_be_written_fails_before_the_work(command, checkpoint, tmp_path, capsys):
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("")
        output = tmp_path / "file" / "report.json"  # root may write anywhere, but not below a file
    else:
        tmp_path.chmod(0o500)
        output = tmp_path / "report.json"
    assert command.main(["--checkpoint-path", str(checkpoint), "--data", "x", "--output", str(output)]) == 2
    assert "--output" in capsys.readouterr().err
