"""Kinds of bad input, each through the verb that a notebook calls: one sentence that has the value found and the way out.

The launchers' refusals are in test_launchers.py, the values' in config/test_load.py.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cookbook_lib import training
from cookbook_lib.config import Config, CookbookError, load_config
from cookbook_lib.parallel.mesh import Mesh, leave_world, make_mesh
from cookbook_lib.training.builders import Base, Data
from cookbook_lib.training.run import Run

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
LONG = {"messages": [{"role": "user", "content": "x " * 400}, {"role": "assistant", "content": "y"}]}
WIZARD = {"messages": [{"role": "wizard", "content": "x"}, {"role": "assistant", "content": "y"}]}
NO_ANSWER = {"messages": [{"role": "user", "content": "x"}]}


class Setup:
    """The first cells of a training notebook, on one process."""

    def __init__(self, mesh: Mesh, base: Base, folder: Path) -> None:
        self.mesh, self.base, self.folder = mesh, base, folder

    def config(self, *overrides: str) -> Config:
        always = [
            f"data.cache_dir={self.folder}/tokens",
            f"trainer.default_local_dir={self.folder}/run",
            "data.val_files=null",
        ]
        return load_config("sft", ["smoke"], [*always, *overrides], {})

    def file(self, name: str, *rows: Any) -> Path:
        path = self.folder / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    def model(self, *overrides: str) -> Base:
        return training.open_base(self.config(*overrides), self.mesh)

    def data(self, file: Path, *overrides: str) -> Data:
        return training.open_data(self.config(f"data.train_files={file}", *overrides), self.base, self.mesh)

    def run(self, *overrides: str) -> Run:
        config = self.config(f"data.train_files={self.file('good.jsonl', *[GOOD] * 20)}", *overrides)
        data = training.open_data(config, self.base, self.mesh)
        model = training.open_model(config, self.base, self.mesh)
        loader = training.open_loader(config, data.train, self.base, self.mesh, model)
        plan = training.open_plan(config, loader, data, self.mesh)
        return training.open_run(config, self.mesh, self.base, data, model, training.SFT(), loader, plan)


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Mesh, Base]]:
    mesh = make_mesh(1, -1, "cpu")
    yield mesh, training.open_base(load_config("sft", ["smoke"], environ={}), mesh)
    leave_world()


@pytest.fixture
def setup(world: tuple[Mesh, Base], tmp_path: Path) -> Setup:
    return Setup(*world, tmp_path)


def no_column(setup: Setup) -> Path:
    pd.DataFrame({"text": ["a"]}).to_parquet(setup.folder / "text.parquet")
    return setup.folder / "text.parquet"


def empty_folder(setup: Setup) -> Path:
    (setup.folder / "empty").mkdir()
    return setup.folder / "empty"


KINDS: dict[str, tuple[Callable[[Setup], Any], str]] = {
    "missing column": (
        lambda s: s.data(no_column(s)),
        r"row 1: messages is missing.*\(columns here: text\).*messages_key",
    ),
    "empty jsonl": (lambda s: s.data(s.file("a.jsonl")), "a.jsonl has no rows; give a file with at least one"),
    "empty parquet": (lambda s: s.data(s.file("a.parquet")), "a.parquet is no whole parquet file.*write it again"),
    "bad json line": (lambda s: s.data(s.file("a.jsonl", "{nope")), "a.jsonl.*row 1"),
    "unknown role": (
        lambda s: s.data(s.file("a.jsonl", WIZARD)),
        "'wizard', but a role is one of system, user, assistant, tool",
    ),
    "no assistant": (lambda s: s.data(s.file("a.jsonl", NO_ANSWER)), "row 1.*needs an assistant message"),
    "no file": (lambda s: s.data(s.folder / "gone.parquet"), "no file or folder .*gone.parquet; check the path"),
    "empty folder": (lambda s: s.data(empty_folder(s)), "empty has no file that ends in .*; name the right folder"),
    "unknown ending": (lambda s: s.data(s.file("a.csv", "a,b")), "a.csv has no known ending; rename it"),
    "wrong messages_key": (
        lambda s: s.data(s.file("a.jsonl", GOOD), "data.multiturn.messages_key=talk"),
        r"talk is missing.*\(columns here: messages\); set messages_key",
    ),
    "wrong tools_key": (
        lambda s: s.data(s.file("a.jsonl", GOOD), "data.multiturn.tools_key=toolz"),
        "toolz is missing.*correct tools_key, or leave it null",
    ),
    "too long": (
        lambda s: s.data(s.file("a.jsonl", LONG), "data.max_length=64", "data.truncation=error"),
        "a.jsonl row 1: .* tokens, max_length is 64 and truncation is error; raise data.max_length",
    ),
    "unknown template": (lambda s: s.model("data.chat_template=llama9"), "'llama9'; it must be a preset"),
    "unknown LoRA target": (
        lambda s: s.run("model.lora_rank=4", "model.target_modules=[q_porj]"),
        r"has no module 'q_porj'; did you mean 'q_proj'\? Its linear maps are down_proj",
    ),
    "no template file": (lambda s: s.model("data.chat_template=./no.jinja"), "no.jinja' and there is no such file"),
    "folder that holds no model": (
        lambda s: s.model(f"model.partial_pretrain={s.folder}"),
        "is a folder without config.json: give the folder that a model was saved to",
    ),
    "no such model on the hub": (
        lambda s: s.model("model.partial_pretrain=no/such-model"),
        "'no/such-model' is no local folder and could not be had from the hub.*check the name",
    ),
    "sp that does not divide": (
        lambda s: training.open_mesh(s.config("ulysses_sequence_parallel_size=2")),
        "ulysses_sequence_parallel_size is 2, which does not divide the world of 1 process; use 1",
    ),
    "fsdp_size that does not divide": (
        lambda s: training.open_mesh(s.config("model.fsdp_config.fsdp_size=3")),
        "fsdp_size is 3, which does not divide the world of 1 process; use 1",
    ),
    "padded batches that do not divide": (
        lambda s: s.run("use_remove_padding=false", "data.train_batch_size=10", "data.micro_batch_size=4"),
        "train_batch_size=10 is not a multiple .* the nearest that are: 8, 12",
    ),
    "no checkpoint to resume from": (
        lambda s: s.run("trainer.resume_mode=resume_path", f"trainer.resume_from_path={s.folder}/gone"),
        "gone holds no manifest.json.*give a folder such as .*step_",
    ),
    "save path that cannot be written": (
        lambda s: s.run(f"trainer.default_local_dir={s.file('occupied')}"),
        "occupied cannot be written .*: give a folder that you may write to",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_in_one_sentence(kind: str, setup: Setup) -> None:
    provoke, sentence = KINDS[kind]
    with pytest.raises(CookbookError, match=sentence) as error:
        provoke(setup)
    assert "\n" not in str(error.value)


def test_no_gpu_where_one_is_asked_for(setup: Setup) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(
        CookbookError, match="trainer.device is cuda, but torch sees no CUDA device; use trainer.device=cpu"
    ):
        training.open_mesh(setup.config("trainer.device=cuda"))


def test_a_bad_row_does_not_stop_the_rest(setup: Setup) -> None:
    data = setup.data(setup.file("a.jsonl", GOOD, "{nope", WIZARD, GOOD))
    assert len(data.train) == 2
    assert sum(data.train.dropped.values()) == 2
