"""scripts/evaluate_pipeline.py: which files a model is measured on when none are named."""

import importlib.util
import json
import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.files import write_tasks
from cookbook_lib.data.judge.prompts import score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.transcripts import read_transcript
from tests.evaluation.benchmarks.rows import judgebench
from tests.evaluation.conftest import base, reward_folder  # noqa: F401  (fixtures)
from tests.evaluation.scripted import Scripted, asked, right

PATH = Path(__file__).resolve().parents[2] / "scripts" / "evaluate_pipeline.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evaluate_pipeline", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_folder(folder: Path, recipe: str) -> Path:
    """A final model beside its run's config."""
    data = folder / "held_out.jsonl"
    data.write_text("{}\n")
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"recipe": recipe, "data": {"val_files": str(data), "chosen_key": "best"}})
    )
    model = folder / "final"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({}))
    return model


def test_only_a_run_on_pairs_has_pairs(script, tmp_path):
    for recipe, count in (("bradley_terry", 1), ("pointwise", 0), ("sft", 0)):
        (tmp_path / recipe).mkdir()
        assert len(script.pair_files(str(run_folder(tmp_path / recipe, recipe)), "val_files")) == count


def test_the_runs_own_columns_are_read(script, tmp_path):
    assert script.pair_columns(str(run_folder(tmp_path, "bradley_terry"))) == {"chosen_key": "best"}


def test_a_run_that_does_not_say_how_it_read(script, tmp_path):
    with pytest.raises(CookbookError, match=r"config\.yaml has no data\.max_length and no data\.truncation; write it"):
        script.reading(str(run_folder(tmp_path, "bradley_terry")))


def test_only_a_run_on_prompts_has_tasks(script, tmp_path):
    for recipe, count in (("generative_pointwise", 1), ("bradley_terry", 0)):
        (tmp_path / recipe).mkdir()
        assert len(script.task_files(str(run_folder(tmp_path / recipe, recipe)), "val_files")) == count


def test_conversations_are_read_as_their_run_read_them(script, base, tmp_path, capsys):  # noqa: F811
    talks = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}] for n in range(5)]
    data = tmp_path / "held_out.jsonl"
    data.write_text("".join(json.dumps({"talk": talk}) + "\n" for talk in [*talks[:2], "nothing", *talks[2:]]))
    read = {"max_length": 100, "truncation": "left", "train_on": "all", "multiturn": {"messages_key": "talk"}}
    (tmp_path / "config.yaml").write_text(json.dumps({"recipe": "sft", "data": {"val_files": str(data), **read}}))
    shutil.copytree(base, tmp_path / "final")
    options = ["--limit", "3", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert script.main(["--sft-model", str(tmp_path / "final"), *options]) == 0
    written = json.loads((tmp_path / "out/report.json").read_text())["sft"]
    assert (written["rows"], written["data"]) == (3, [str(data)])
    settings = [written["settings"][name] for name in ("max_length", "truncation", "train_on")]
    assert settings == ["100", "left", "all"]
    assert any(note.startswith("left out, 1 of 4 rows read: ") for note in written["notes"])
    assert all(note in capsys.readouterr().out for note in written["notes"][-1:])


@pytest.fixture
def writer(monkeypatch, tmp_path):
    """A folder of a judge that writes, by a script: it knows that good answers begin with +."""

    def opened(path, **options):
        return Scripted(right, name=str(path))

    monkeypatch.setattr("cookbook_lib.evaluation.open_judge.LocalGenerator", opened)
    return run_folder(tmp_path, "sft")


PAIRS = [
    {"prompt": f"question {n}?", "chosen": f"+ right {n}", "rejected": f"a much longer wrong answer {n}"}
    for n in range(6)
]


def test_scalar_and_generative_judges_in_one_table(script, writer, reward_folder, tmp_path, capsys):  # noqa: F811
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    bench = tmp_path / "judgebench.jsonl"
    bench.write_text(json.dumps(judgebench(1)) + "\n")
    output = tmp_path / "out"
    models = ["--reward-model", str(reward_folder), "--judge-model", str(writer)]
    assert (
        script.main([*models, "--pairs", str(pairs), "--benchmark", f"judgebench={bench}", "--output", str(output)])
        == 0
    )
    said = capsys.readouterr().out
    assert "best, final: held-out pairs" in said and "verdicts that could be read" in said
    assert "final: what was written for the benchmarks" in said
    assert "Public benchmarks" in said and "prompts 1, rubric helpfulness 1, one text a prompt" in said
    document = json.loads((output / "report.json").read_text())
    (other,) = document["others"]
    assert (document["judge"], other["judge"]) == ("best", "final")
    assert other["measures"]["accuracy"]["pairs in order"]["value"] == 1
    assert "calibration" in document["measures"] and "calibration" not in other["measures"]
    assert {result["judge"] for result in document["results"]} == {"best", "final", "longer wins"}
    kept = read_transcript(output / "transcript.parquet")
    assert {one.order for one in kept} >= {"ab", "ba"} and {"A", "B"} <= {one.parsed for one in kept}


def test_two_judges_of_one_name_and_their_drift(script, writer, tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    models = ["--judge-model", str(writer), "--judge-model", f"{writer.parent}/../{writer.parent.name}/final"]
    assert script.main([*models, "--pairs", str(pairs), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Length of what judges write" in said and "longer by" in said
    assert (tmp_path / "out/transcript-1.parquet").exists() and (tmp_path / "out/transcript-2.parquet").exists()


@pytest.mark.parametrize("served", [True, False])
def test_a_judge_that_writes_may_be_called_as_the_reward_model_is(served, script, reward_folder, tmp_path, monkeypatch):  # noqa: F811
    """At a server, or in a folder: each has a column and results of its own."""
    monkeypatch.setattr(script, "ServerGenerator", lambda model: Scripted(right, name=model.model))
    monkeypatch.setattr(script, "open_generative", lambda path, name, **_: GenerativeJudge(Scripted(right), name=name))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    (tmp_path / "bench.jsonl").write_text(json.dumps(judgebench(1)) + "\n")
    (tmp_path / reward_folder.name).mkdir()
    (tmp_path / reward_folder.name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    files = ["--pairs", f"{tmp_path}/pairs.jsonl", "--benchmark", f"judgebench={tmp_path}/bench.jsonl"]
    models = ["--reward-model", str(reward_folder), "--judge-model", reward_folder.name]
    server = ["--judge-url", "http://localhost:1"] if served else []
    assert script.main([*models, *server, *files, "--output", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["judge"], document["others"][0]["judge"]) == (str(reward_folder), reward_folder.name)
    assert [result["judge"] for result in document["results"]] == [
        str(reward_folder),
        reward_folder.name,
        "longer wins",
    ]


def test_a_judge_on_prompts_with_known_verdicts(script, writer, tmp_path, capsys):
    tasks = [
        JudgeTask(score_prompt(answered(asked(f"q{n}"), text)), "score", truth, "test")
        for n, (text, truth) in enumerate([("+a", 4), ("-b", 0), ("+c", 3), ("-d", 0)])
    ]
    write_tasks(tmp_path / "tasks.jsonl", tasks)
    assert script.main(["--judge-model", str(writer), "--tasks", str(tmp_path / "tasks.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "final: prompts with known verdicts" in said
    assert re.search(r"exact +0\.750", said)


def test_a_model_that_learned_to_answer_has_no_verdicts_of_its_own(script, writer, tmp_path, capsys):
    """Its validation prompts are left out, aloud; pairs are still judged, and without any the sentence says what to give."""
    write_tasks(tmp_path / "own.jsonl", [JudgeTask(asked("2+2?"), "answer", "4", "sums")])
    run = {"recipe": "generative_pointwise", "data": {"val_files": str(tmp_path / "own.jsonl")}}
    (writer.parent / "config.yaml").write_text(json.dumps(run))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    assert script.main(["--judge-model", str(writer), "--pairs", str(pairs)]) == 0
    assert "learned to answer: its own prompts ask for no verdict; --tasks gives others" in capsys.readouterr().out
    assert script.main(["--judge-model", str(writer)]) == 2
    assert "give --pairs FILE" in capsys.readouterr().err


def test_scalar_and_generative_judges_on_given_scores(script, writer, reward_folder, tmp_path, capsys):  # noqa: F811
    rows = [{"prompt": f"q{n}", "response": f"{'+-'[n % 2]} answer {n}", "score": 4 * (1 - n % 2)} for n in range(8)]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = ["--reward-model", str(reward_folder), "--judge-model", str(writer)]
    output = tmp_path / "out"
    assert script.main([*models, "--scores", str(tmp_path / "scores.jsonl"), "--output", str(output)]) == 0
    assert "best, final: held-out scores" in capsys.readouterr().out
    scalar, writes = json.loads((output / "report.json").read_text())["scores"]
    assert (scalar["judge"], writes["judge"]) == ("best", "final")
    assert writes["measures"]["scores"]["kappa"]["value"] == writes["measures"]["scores"]["exact"]["value"] == 1
    assert scalar["measures"]["scores"]["spearman"]["value"] < 1


def test_rows_left_out_are_said(script, writer, tmp_path, capsys):
    """Of scores, of prompts with known verdicts, and of what a bag of words learns from: why, and of how many."""
    rows = [{"prompt": f"q{n}", "response": "+", "score": 4 if n < 4 else "4"} for n in range(10)]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [JudgeTask(score_prompt(answered(asked(f"q{n}"), "+")), "score", 4, "test") for n in range(3)]
    write_tasks(tmp_path / "tasks.jsonl", tasks)
    with (tmp_path / "tasks.jsonl").open("a") as file:
        file.write("{}\n")
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*PAIRS, {**PAIRS[0], "margin": -1}])
    )
    names = {"scores": "scores", "tasks": "tasks", "pairs": "pairs", "train-pairs": "pairs"}
    files = [text for name, file in names.items() for text in (f"--{name}", str(tmp_path / f"{file}.jsonl"))]
    assert script.main(["--judge-model", str(writer), *files, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "left out, 6 of 10 rows read: it must be a number" in said
    assert "left out, 1 of 4 rows read: " in said
    assert "\n  left out, 1 of 7 rows read: " in said and "\n  bag of words: left out, 1 of 7 rows read: " in said
    written = json.loads((tmp_path / "out/report.json").read_text())
    assert any(note.startswith("left out, 6 of 10") for note in written["scores"][0]["notes"])


def test_the_first_rows_alone_are_said(script, writer, tmp_path, capsys):
    rows = [{"prompt": f"q{n}", "response": "+", "score": 4} for n in range(4)]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asking = ["--judge-model", str(writer), "--scores", str(tmp_path / "scores.jsonl"), "--limit"]
    for limit, said in (("3", True), ("-1", False)):
        assert script.main([*asking, limit]) == 0
        assert ("\n  of the first 3 responses\n" in capsys.readouterr().out) is said


def test_benchmarks_are_whole_unless_a_limit_is_given(script):
    unset, given = script.parser().parse_args([]), Namespace(limit=5)
    assert (script.limit_of(unset, script.ROWS), script.limit_of(unset, -1)) == (1000, -1)
    assert script.limit_of(given, -1) == 5
