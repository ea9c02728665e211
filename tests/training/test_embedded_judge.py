"""tiny-judge: made once, by a process of its own, and then a folder like any other."""

import json
import subprocess
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from cookbook_lib.config import CookbookError
from cookbook_lib.training import embedded, embedded_judge


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """The commands that were run in place of training, each making the folder it names; `maker.code` is how they end."""

    class Maker(list):
        code = 0

        def __call__(self, command, env, **_):
            self.append((command, env))
            if self.code == 0:
                Path(command[-1]).mkdir()
                (Path(command[-1]) / "config.json").touch()
            return subprocess.CompletedProcess(command, self.code, "", "no room\n")

    monkeypatch.setattr(embedded, "tiny_folder", lambda: tmp_path / "tiny-0123456789ab")
    monkeypatch.setattr(embedded.subprocess, "run", made := Maker())
    return made


def test_it_is_made_where_it_is_not_there_and_only_there(maker, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "3")
    folder = embedded.resolve_model("tiny-judge")
    assert folder.name.startswith("tiny-judge-")
    assert "learns to judge first, once" in capsys.readouterr().out
    assert embedded.resolve_model("tiny-judge") == folder
    [(command, environ)] = maker
    assert command[1:] == ["-m", "cookbook_lib.training.embedded_judge", str(folder)]
    assert "RANK" not in environ, "it would wait for the world that waits for it"
    assert capsys.readouterr().out == ""


def test_another_tokenizer_or_training_makes_another_judge(maker, monkeypatch, tmp_path):
    names = {embedded.judge_folder().name}
    monkeypatch.setattr(embedded, "JUDGE_STEPS", ["trainer.total_training_steps=1"])
    names.add(embedded.judge_folder().name)
    monkeypatch.setattr(embedded, "tiny_folder", lambda: tmp_path / "tiny-ba9876543210")
    names.add(embedded.judge_folder().name)
    assert len(names) == 3


def test_a_failure_is_told(maker):
    maker.code = 1
    with pytest.raises(CookbookError, match="the embedded judge could not be made: no room"):
        embedded.resolve_model("tiny-judge")


@pytest.mark.slow
def test_what_is_made_is_a_plain_model_and_nothing_else_is_left(tmp_path):
    folder = tmp_path / "judge"
    short = ["data.train_batch_size=4", "trainer.total_training_steps=2"]
    embedded_judge.make_judge(folder, {"limit": 80, "seed": 7}, short)
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert "/tiny-" in json.loads((folder / "cookbook.json").read_text())["base"]
    assert [path.name for path in tmp_path.iterdir()] == ["judge"]
