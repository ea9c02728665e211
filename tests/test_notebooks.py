"""The notebooks, with tiny settings, in every way in which they run.

    papermill -k python3      one process, ordinary kernel       every notebook
    papermill -k cookbook     our kernel, one rank               20
    cookbook run -n 2         our runner, two ranks              10, 20, 21, 30 to 34, 41

An executed copy without errors is the least of it: the same validation loss must come out of every way, and the model, the
curve and the summary must be where the last cell says they are.
"""

import json
import math
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cookbook_lib.config.places import HOME
from cookbook_lib.data.judge.job import TaskJob
from cookbook_lib.data.judge.prepare import prepare_tasks
from cookbook_lib.data.prepare import Job as Preparation
from cookbook_lib.data.prepare import prepare
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.embedded_judge import make_judge
from tests.jobs import Command, Job, wait_until

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted(path.stem for path in (HOME / "notebooks").glob("*.ipynb"))
WAYS = {
    "python3": ["-m", "papermill", "-k", "python3"],
    "cookbook": ["-m", "papermill", "-k", "cookbook"],
    "two ranks": ["-m", "cookbook_lib.runtime", "run", "-n", "2"],
}
ON_TWO_RANKS = ["10_prepare_data", "20_sft", "21_scale_out", "30_bradley_terry", "31_pointwise", "41_pipeline"]
ON_TWO_RANKS += ["32_generative_pointwise", "33_generative_pairwise", "34_dpo"]
BAR = re.compile(r" rows(/s)?\]")  # tokenising takes more than some seconds on a slow machine
STEPS = ["data.train_batch_size=8", "trainer.total_training_steps=3", "trainer.test_freq=2"]


KINDS = ("pairs", "scores", "score-judge", "preference-judge")


@dataclass(frozen=True)
class Executed:
    """One notebook that has run: its exit code, what it printed to the terminal, its copy, its folder of results."""

    code: int
    text: str
    copy: nbformat.NotebookNode
    folder: Path

    def outputs(self, *kinds: str) -> list[nbformat.NotebookNode]:
        found = [output for cell in self.copy.cells for output in cell.get("outputs", [])]
        return [output for output in found if output.output_type in kinds]

    @property
    def printed(self) -> str:
        """What the cells printed and showed, as text."""
        shown = [output.data.get("text/plain", "") for output in self.outputs("display_data", "execute_result")]
        return "\n".join([*(output.text for output in self.outputs("stream")), *shown])

    @property
    def summary(self) -> dict[str, Any]:
        """20_sft's summary.json."""
        return json.loads((self.folder / "run/summary.json").read_text(encoding="utf-8"))


class Desk:
    """Data and kernels for the notebooks of a session, in a scratch folder; every run gets a folder of its own there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.job = folder, Job()
        self.commands: list[Command] = []
        prepare(Preparation("embedded", output=folder / "data", limit=160, test_ratio=0.2))
        for kind in ("pairs", "scores"):
            prepare_reward(RewardJob("embedded", output=folder / kind, limit=160, test_ratio=0.2, kind=kind))
        for ask in ("score-judge", "preference-judge"):
            prepare_tasks(TaskJob("embedded", output=folder / ask, limit=160, test_ratio=0.2, ask=ask))
        self.environment = {"JUPYTER_PATH": f"{folder}/share/jupyter", "COOKBOOK_OUTPUT": "rank0"}
        installed = self.start("kernels", "-m", "cookbook_lib.runtime", "kernel", "install", "--prefix", str(folder))
        assert installed.finish().code == 0
        self.execute = cache(self.execute)

    @cached_property
    def judge(self) -> str:
        """A judge to begin with, taught for some seconds: a few of its verdicts can be read."""
        short = ["data.train_batch_size=16", "trainer.total_training_steps=60"]
        make_judge(self.folder / "judge", {"limit": 1000, "seed": 7}, short)
        return str(self.folder / "judge")

    def start(self, place: str, *arguments: str) -> Command:
        (self.folder / place).mkdir(exist_ok=True)
        self.commands.append(Command(self.job, self.folder / place, list(arguments), **self.environment))
        return self.commands[-1]

    def begin(self, notebook: str, way: str, place: str, **changes: Any) -> Command:
        """Start a notebook on its way; results and copy go to the folder `place`."""
        parameters = json.dumps(self.parameters(notebook, self.folder / place) | changes)
        source = str(HOME / f"notebooks/{notebook}.ipynb")
        output = ["copy.ipynb"] if way != "two ranks" else ["-o", "copy.ipynb"]
        return self.start(place, *WAYS[way], source, *output, "-y", parameters)

    def finish(self, command: Command, place: str) -> Executed:
        done, folder = command.finish(500), self.folder / place
        assert not self.job.left_after(5)
        copy = folder / "copy.ipynb"
        return Executed(done.code, done.text, nbformat.read(copy, as_version=4), folder)

    def execute(self, notebook: str, way: str) -> Executed:
        """Run a notebook, once a session for each way."""
        place = f"{notebook} {way}".replace(" ", "-")
        return self.finish(self.begin(notebook, way, place), place)

    def parameters(self, notebook: str, folder: Path) -> dict[str, Any]:
        train, val, tokens = (str(self.folder / "data" / name) for name in ("train.parquet", "test.parquet", "tokens"))
        settings = [*STEPS, f"data.cache_dir={tokens}"]
        run = {"save_path": str(folder / "run"), "overrides": settings}
        files = {
            kind: {
                "train_file": f"{self.folder}/{kind}/train.parquet",
                "val_file": f"{self.folder}/{kind}/test.parquet",
            }
            for kind in KINDS
        }
        answers = {**run, "overrides": [*STEPS, "data.val_max_samples=8"], "shown": 1}
        if notebook in ("32_generative_pointwise", "33_generative_pairwise"):
            answers["model_path"] = self.judge
        if notebook == "40_evaluate":  # what another notebook has made
            model = self.execute("30_bradley_terry", "two ranks").summary["final_model"]
            asked = {"pair_file": files["pairs"]["val_file"], "train_file": files["pairs"]["train_file"]}
            return {"model": model, "output": str(folder / "evaluation"), **asked}
        return {
            "00_tour": {},
            "10_prepare_data": {"output": str(folder / "data"), "limit": 60},
            "12_mask_and_pack": {"conversations": 16},
            "20_sft": {
                "train_file": train,
                "val_file": val,
                **run,
                "samples": 1,
            },
            "30_bradley_terry": {**files["pairs"], **run, "mistakes": 1},
            "31_pointwise": {**files["scores"], **run, "shown": 1},
            "32_generative_pointwise": {**files["score-judge"], **answers},
            "33_generative_pairwise": {**files["preference-judge"], **answers},
            "34_dpo": {**files["pairs"], **run},
            "41_pipeline": {"folder": str(folder / "run"), "sft_overrides": settings, "bt_overrides": settings},
            "21_scale_out": {"train_file": train, "steps": 1, "overrides": [STEPS[0], f"data.cache_dir={tokens}"]},
        }[notebook]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("notebooks"))
    yield made
    made.job.kill()
    for command in made.commands:
        command.process.wait(10)


def assert_ran(run: Executed) -> None:
    """Every cell ran, and nothing in the copy would make a reader frown."""
    assert run.code == 0, run.text
    assert not run.outputs("error")
    said = [output.text for output in run.outputs("stream") if output.name == "stderr"]
    assert not [text for text in said if text.strip() and not BAR.search(text)]
    ran = [cell for cell in run.copy.cells if cell.cell_type == "code" and cell.source]
    assert all(cell.execution_count for cell in ran)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_on_the_ordinary_kernel(desk: Desk, notebook: str) -> None:
    assert_ran(desk.execute(notebook, "python3"))


@pytest.mark.parametrize("notebook", ON_TWO_RANKS)
def test_on_two_ranks(desk: Desk, notebook: str) -> None:
    assert_ran(desk.execute(notebook, "two ranks"))


def test_prepared_data_is_there_and_is_the_same_on_two_ranks(desk: Desk) -> None:
    folders = [desk.execute("10_prepare_data", way).folder / "data" for way in ("python3", "two ranks")]
    for name in ("train.parquet", "test.parquet", "judge/train.parquet"):
        one, two = ((folder / name).read_bytes() for folder in folders)
        assert one == two, name


def test_the_loss_is_the_same_in_every_way(desk: Desk) -> None:
    runs = {way: desk.execute("20_sft", way) for way in WAYS}
    for run in runs.values():
        assert_ran(run)
    assert [run.summary["processes"] for run in runs.values()] == [1, 1, 2]
    expected = runs["python3"].summary
    assert expected["val_loss_after"] < expected["val_loss_before"]
    for way, run in runs.items():
        for name in ("val_loss_before", "val_loss_after"):
            assert run.summary[name] == pytest.approx(expected[name], rel=1e-5), (way, name)


@pytest.mark.parametrize("notebook", ["30_bradley_terry", "31_pointwise", "34_dpo"])
def test_scores_are_the_same_in_every_way(desk: Desk, notebook: str) -> None:
    one, two = (desk.execute(notebook, way).summary for way in ("python3", "two ranks"))
    assert (one["processes"], two["processes"]) == (1, 2)
    for moment in ("validation_before", "validation_after"):
        assert two[moment] == pytest.approx(one[moment], rel=1e-4, abs=1e-5), moment
    if notebook != "31_pointwise":
        assert one["val_loss_before"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("notebook", ["32_generative_pointwise", "33_generative_pairwise"])
def test_a_judge_earns_the_same_in_every_way(desk: Desk, notebook: str) -> None:
    one, two = (desk.execute(notebook, way) for way in ("python3", "two ranks"))
    assert (one.summary["processes"], two.summary["processes"]) == (1, 2)
    for name in ("reward", "parsed", "length"):
        for moment in ("validation_before", "validation_after"):
            assert two.summary[moment][name] == pytest.approx(one.summary[moment][name], rel=1e-5), (moment, name)
    assert {"measure", "before", "after"} <= set(one.summary["compared"][0])
    assert sorted(path.name for path in (one.folder / "run/rollouts").iterdir())[0] == "round_00000000.parquet"


def test_answers_that_are_checked_are_no_verdicts(desk: Desk) -> None:
    """The same notebook where the model learns to answer: it is rewarded, and nothing is compared with a truth."""
    data, place = desk.folder / "answers", "32-answers"
    prepare_tasks(TaskJob("embedded", output=data, limit=160, test_ratio=0.2, ask="answers"))
    overrides = [*STEPS, "data.val_max_samples=8", "reward.functions=[exact_match]"]
    files = {"train_file": str(data / "train.parquet"), "val_file": str(data / "test.parquet")}
    run = desk.finish(desk.begin("32_generative_pointwise", "python3", place, **files, overrides=overrides), place)
    assert_ran(run)
    assert run.summary["compared"] == [] and run.summary["validation_after"]["reward"] is not None


def test_the_pipeline_ends_in_one_table(desk: Desk) -> None:
    run = desk.execute("41_pipeline", "two ranks")
    rows = json.loads((run.folder / "run/pipeline.json").read_text(encoding="utf-8"))["rows"]
    assert [row[""].split(":")[0] for row in rows[:3]] == ["SFT", "SFT", "Bradley-Terry"]
    assert rows[2]["best possible"] == "100.0%"
    assert (run.folder / "run/bt/bt-final/model.safetensors").is_file()


def test_what_training_leaves(desk: Desk) -> None:
    run = desk.execute("20_sft", "two ranks")
    assert run.summary["steps"] == 3
    assert [row["step"] for row in read_metrics(run.folder / "run/metrics.jsonl")][-1] == 3
    picture = Path(run.summary["curve"])
    assert picture.parent == run.folder / "run"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "exact answers" in {row[""] for row in run.summary["compared"]}
    assert "image/png" in {kind for output in run.outputs("display_data") for kind in output.data}


def test_the_final_model_needs_nothing_of_ours(desk: Desk) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = desk.execute("20_sft", "two ranks").summary["final_model"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = [{"role": "user", "content": "What colour is the door of Ada?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]


def test_a_terminated_run_is_saved_and_the_next_goes_on(desk: Desk) -> None:
    place, parameters = "terminated", desk.parameters("20_sft", desk.folder / "terminated")
    changes = {"overrides": [*parameters["overrides"], "trainer.total_training_steps=30"], "samples": 0}
    metrics = desk.folder / place / "run/metrics.jsonl"
    command = desk.begin("20_sft", "two ranks", place, **changes)
    wait_until(lambda: len(read_metrics(metrics)) > 2, 150)
    os.kill(command.process.pid, signal.SIGTERM)
    stopped = desk.finish(command, place)
    assert stopped.code == 143, stopped.text
    [error] = stopped.outputs("error")
    assert error.ename == "StoppedTraining", "the copy says why it ends"
    assert "saved: run again to go on from there" in error.evalue
    step = read_metrics(metrics)[-1]["step"]
    assert step < 30
    assert (metrics.parent / "latest").resolve().name == f"step_{step:08d}"

    resumed = desk.finish(desk.begin("20_sft", "two ranks", place, **changes), place)
    assert_ran(resumed)
    assert f"going on after step {step}" in resumed.printed
    assert [row["step"] for row in read_metrics(metrics) if "train/loss" in row] == list(range(1, 31))
    assert resumed.summary["steps"] == 30


@pytest.mark.parametrize("notebook", ["30_bradley_terry", "31_pointwise"])
def test_a_process_without_an_answer_of_its_own_goes_on(desk: Desk, notebook: str) -> None:
    """Two Ulysses ranks and one row a step: its last token lies on one of them, the other counts nothing."""
    alone = ["data.train_batch_size=1", "trainer.total_training_steps=1", "trainer.logger=[jsonl]"]
    place = f"{notebook}-one-row"
    found = desk.finish(desk.begin(notebook, "two ranks", place, sp_size=2, overrides=alone), place)
    assert found.code == 0, found.text
    assert "1 pairs in the first forward" in found.printed or "1 answers in the first forward" in found.printed
