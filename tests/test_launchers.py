"""The launchers, with the machine and the runner played by small scripts: what they say, refuse and become."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cookbook_lib.config.places import HOME
from cookbook_lib.config.verl_names import NAMES
from cookbook_lib.training.embedded import tiny_folder

RUNNER = """#!{python}
import json, os, signal, sys, time
def stop(*_): sys.exit(7)
signal.signal(signal.SIGTERM, stop)
names = ("COOKBOOK_AUTHKEY", "MODEL_PATH", "RANK", "WORLD_SIZE")
with open("{record}", "w") as file:
    json.dump(dict(argv=sys.argv[1:], cwd=os.getcwd(), pid=os.getpid(), env={{n: os.environ.get(n) for n in names}}), file)
time.sleep(float(os.environ.get("STUB_SLEEP", 0)))
sys.exit(int(os.environ.get("STUB_EXIT", 0)))
"""


# recipe -> launcher, notebook, how its data is prepared
LAUNCHERS = {
    "sft": ("sft/sft_rm.sh", "20_sft", "prepare_sft_data.py"),
    "bradley_terry": ("bradley_terry/run_bt.sh", "30_bradley_terry", "prepare_reward_data.py --kind pairs"),
    "pointwise": ("pointwise/run_pointwise.sh", "31_pointwise", "prepare_reward_data.py --kind scores"),
    "generative/pointwise": (
        "generative/pointwise/run_pointwise.sh",
        "32_generative_pointwise",
        "prepare_reward_data.py --kind score-judge",
    ),
    "generative/pairwise": (
        "generative/pairwise/run_pairwise.sh",
        "33_generative_pairwise",
        "prepare_reward_data.py --kind preference-judge",
    ),
    "dpo": ("dpo/run_dpo.sh", "34_dpo", "prepare_reward_data.py --kind pairs"),
}

each_launcher = pytest.mark.parametrize("recipe", LAUNCHERS)


class Bench:
    """A copy of the launchers without an environment of its own; `python` and `cookbook` come from PATH."""

    def __init__(self, folder: Path) -> None:
        self.home, self.record = folder / "home", folder / "record.json"
        shutil.copytree(HOME / "cookbook", self.home / "cookbook", ignore=shutil.ignore_patterns("checkpoints", "data"))
        shutil.copytree(HOME / "scripts", self.home / "scripts")
        shutil.copytree(HOME / "cookbook_lib/config", self.home / "cookbook_lib/config")
        self.bin = folder / "bin"
        self.command("cookbook", RUNNER.format(python=sys.executable, record=self.record))
        self.command("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        for recipe in LAUNCHERS:
            data = self.home / "cookbook" / recipe / "data"
            data.mkdir()
            for name in ("train.parquet", "test.parquet"):
                (data / name).touch()

    def command(self, name: str, text: str) -> None:
        self.bin.mkdir(exist_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def gpus(self, count: int) -> None:
        self.command("nvidia-smi", "#!/bin/sh\n" + "".join(f"echo 'GPU {n}: a stub'\n" for n in range(count)))

    def start(
        self, *arguments: str, script: str = "sft/sft_rm.sh", cwd: str | None = None, **variables: str
    ) -> subprocess.Popen:
        environ = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.home / "people"), **variables}
        path, pipe = self.home / "cookbook" / script, subprocess.PIPE
        command, folder = ["bash", str(path), *arguments], path.parent if cwd is None else self.home / cwd
        return subprocess.Popen(command, cwd=folder, env=environ, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, **variables: str) -> "Ran":
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        called = json.loads(self.record.read_text()) if self.record.exists() else {}
        return Ran(process.returncode, out, err, called)


class Ran:
    """What a launcher did."""

    def __init__(self, code: int, out: str, err: str, called: dict) -> None:
        self.code, self.out, self.err, self.called = code, out, err, called

    def option(self, name: str) -> str:
        argv = self.called["argv"]
        return argv[argv.index(name) + 1]

    @property
    def parameters(self) -> dict:
        return json.loads(self.option("-y"))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@each_launcher
def test_without_arguments_and_gpu_it_rehearses_and_says_so(bench, recipe):
    script, notebook, _ = LAUNCHERS[recipe]
    ran = bench.run(script=script)
    assert ran.code == 0, ran.err
    assert "no GPU here and no MODEL_PATH: a rehearsal with the embedded tiny model (cookbook/smoke.yaml)" in ran.out
    assert "1 node(s) x 1 CPU rank(s), this is node 0" in ran.out
    assert ran.called["argv"][:2] == ["run", str(bench.home / f"notebooks/{notebook}.ipynb")]
    assert ran.option("--output") == str(bench.home / f"cookbook/{recipe}/checkpoints/run.ipynb")
    assert ran.option("-n") == "1"
    assert ran.parameters == {"recipe": recipe, "overlays": ["smoke"], "overrides": []}


def test_the_later_name_is_the_same_launcher(bench):
    assert bench.run(script="sft/run_sft_rm.sh").parameters["recipe"] == "sft"


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [((), {"MODEL_PATH": "some/model"}), (("model.partial_pretrain=some/model",), {}), (("--overlay", "smoke"), {})],
)
def test_a_word_about_the_model_ends_the_rehearsal(bench, arguments, variables):
    assert "rehearsal" not in bench.run(*arguments, **variables).out


@pytest.mark.parametrize("name", [name for name, key in NAMES.items() if key == "model.partial_pretrain"])
def test_a_word_in_verls_name_of_the_model_ends_it_too(bench, name):
    """run_pointwise.sh algorithm.adv_estimator=grpo actor_rollout_ref.model.path=..., as verl's GRPO is started."""
    ran = bench.run(f"{name}=some/model", script="generative/pointwise/run_pointwise.sh")
    assert ran.code == 0, ran.err
    assert "rehearsal" not in ran.out
    assert "model     some/model\n" in ran.out
    assert ran.parameters["overlays"] == []


def sft_checkpoint(bench: Bench, base: str) -> None:
    """What ../sft/checkpoints/sft-final is to a launcher."""
    folder = bench.home / "cookbook/sft/checkpoints/sft-final"
    folder.mkdir(parents=True)
    (folder / "cookbook.json").write_text(json.dumps({"base": base, "recipe": "sft"}, indent=2))


@pytest.mark.parametrize("recipe", [recipe for recipe in LAUNCHERS if recipe != "sft"])
@pytest.mark.parametrize("kind", ["", "judge-"])
def test_a_rehearsal_goes_on_from_a_rehearsals_outcome(bench, recipe, kind):
    """cd cookbook/bradley_terry && MODEL_PATH=../sft/checkpoints/sft-final bash run_bt.sh, on a machine without a GPU."""
    sft_checkpoint(bench, str(tiny_folder()).replace("tiny-", f"tiny-{kind}"))
    up = "../" * len(Path(recipe).parts)
    ran = bench.run(script=LAUNCHERS[recipe][0], MODEL_PATH=f"{up}sft/checkpoints/sft-final")
    assert ran.code == 0, ran.err
    assert "MODEL_PATH is a rehearsal's outcome: the rehearsal goes on (cookbook/smoke.yaml)" in ran.out
    assert f"model     {bench.home}/cookbook/sft/checkpoints/sft-final" in ran.out
    started = f"{up}sft/checkpoints/sft-final"
    assert ran.parameters == {"recipe": recipe, "overlays": ["smoke"], "overrides": [], "model_path": started}


def test_from_a_real_checkpoint_it_is_no_rehearsal(bench):
    sft_checkpoint(bench, "/models/Qwen2.5-7B-Instruct")
    ran = bench.run(script="bradley_terry/run_bt.sh", MODEL_PATH="../sft/checkpoints/sft-final")
    assert ran.code == 0, ran.err
    assert "rehearsal" not in ran.out
    assert ran.parameters["overlays"] == []


def test_on_gpus_a_rehearsals_outcome_is_a_model_like_any_other(bench):
    sft_checkpoint(bench, str(tiny_folder()))
    bench.gpus(2)
    assert (
        bench.run(script="bradley_terry/run_bt.sh", MODEL_PATH="../sft/checkpoints/sft-final").parameters["overlays"]
        == []
    )


def test_a_key_of_another_recipe_is_refused(bench):
    ran = bench.run("data.train_on=all", script="bradley_terry/run_bt.sh")
    assert ran.code == 2
    assert ran.err == "error: override: data.train_on has no effect in recipe bradley_terry; remove it\n"


@each_launcher
def test_missing_data_is_prepared_by_the_recipes_own_script(bench, recipe):
    script, _, prepare = LAUNCHERS[recipe]
    shutil.rmtree(bench.home / "cookbook" / recipe / "data")
    ran = bench.run(script=script, MODEL_PATH="some/model")
    assert ran.code == 2
    assert f"prepare data (python scripts/{prepare} --source " in ran.err
    assert f"--output {bench.home}/cookbook/{recipe}/data)" in ran.err


def test_environment_and_overrides_reach_the_notebook_as_parameters(bench):
    ran = bench.run("optim.lr=1e-5", "trainer.logger=[console,swanlab]", TOTAL_BATCH_SIZE="8", MODEL_PATH="some/model")
    assert ran.parameters == {
        "recipe": "sft",
        "overlays": [],
        "overrides": ["optim.lr=1e-5", "trainer.logger=[console,swanlab]"],
        "model_path": "some/model",
        "total_batch_size": "8",
    }
    assert ran.called["env"]["MODEL_PATH"] is None  # parameters alone: a node with another environment must not differ


def test_gpus_decide_the_number_of_ranks(bench):
    bench.gpus(4)
    ran = bench.run(MODEL_PATH="some/model")
    assert ran.option("-n") == "4"
    assert "4 GPU rank(s)" in ran.out
    assert bench.run(N_GPUS_PER_NODE="2", MODEL_PATH="some/model").option("-n") == "2"
    assert bench.run(CUDA_VISIBLE_DEVICES="3,1,0", MODEL_PATH="some/model").option("-n") == "3"
    assert bench.run(CUDA_VISIBLE_DEVICES="").option("-n") == "1"
    assert "this node has 4 GPUs" in bench.run(N_GPUS_PER_NODE="8").err


def test_cpu_ranks_by_the_same_variable(bench):
    assert bench.run(N_GPUS_PER_NODE="2").option("-n") == "2"


@pytest.mark.parametrize(
    ("variables", "nodes", "this"),
    [
        ({"NNODES": "4", "NODE_RANK": "3"}, "4", "3"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "2", "1"),  # a scheduler's names
        ({"WORLD_SIZE": "8", "NNODES": "2", "RANK": "5", "NODE_RANK": "0"}, "2", "0"),  # the exported ones are honoured
        ({}, "1", "0"),
    ],
)
def test_nodes(bench, variables, nodes, this):
    ran = bench.run(MASTER_ADDR="10.0.0.1", MASTER_PORT="29999", COOKBOOK_AUTHKEY="secret", **variables)
    assert (ran.option("--nnodes"), ran.option("--node-rank")) == (nodes, this)
    assert (ran.option("--master-addr"), ran.option("--master-port")) == ("10.0.0.1", "29999")
    assert ran.called["env"]["RANK"] is None
    assert ran.called["env"]["WORLD_SIZE"] is None
    assert ran.called["env"]["COOKBOOK_AUTHKEY"] == "secret"


def test_nodes_that_share_a_home_share_a_secret(bench):
    keys = [bench.run(NNODES="2", NODE_RANK=str(rank)).called["env"]["COOKBOOK_AUTHKEY"] for rank in (0, 1)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 64
    file = bench.home / "people/.cookbook/authkey"
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.iterdir()] == ["authkey"]


def test_a_secret_that_cannot_be_kept_is_asked_for(bench):
    (bench.home / "people").write_text("not a folder")
    ran = bench.run(NNODES="2")
    assert ran.code == 2
    assert "export the same COOKBOOK_AUTHKEY" in ran.err


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (("optim.lrr=1", "data.max_length=x"), {}, "2 problems in the configuration"),
        (("trainer.logger=['console',", "'swanlab']"), {}, "not of the form key=value"),
        (("--fast",), {}, "--fast is not an option; see --help"),
        ((), {"NNODES": "two"}, "NNODES is 'two', but must be a whole number, at least 1"),
        ((), {"N_GPUS_PER_NODE": "0"}, "N_GPUS_PER_NODE is '0', but must be a whole number, at least 1"),
        ((), {"NNODES": "2", "NODE_RANK": "2"}, "NODE_RANK is 2, but 2 nodes count from 0 to 1"),
        ((), {"TRAIN_FILE": "nowhere.parquet"}, "nowhere.parquet does not exist; prepare data"),
        ((), {"SAVE_PATH": "/proc/nowhere"}, "/proc/nowhere cannot be written; name another folder: SAVE_PATH=..."),
        ((), {"MODEL_PATH": "./nowhere"}, "which is no folder; name one, a hub name, or tiny"),
    ],
)
def test_refused_in_a_sentence_before_anything_starts(bench, arguments, variables, sentence):
    ran = bench.run(*arguments, **variables)
    assert ran.code == 2
    assert sentence in ran.err
    assert ran.err.startswith("error: ")
    assert ran.called == {}


@each_launcher
def test_missing_embedded_data_is_prepared_and_that_is_said(bench, recipe):
    script, _, prepare = LAUNCHERS[recipe]
    name, *options = prepare.split()
    shutil.rmtree(bench.home / "cookbook" / recipe / "data")
    asked = bench.home / "asked"
    (bench.home / "scripts" / name).write_text(f"import sys; open({str(asked)!r}, 'w').write(' '.join(sys.argv[1:]))")
    ran = bench.run(script=script)
    assert "not there yet: the embedded data is prepared first" in ran.out
    expected = [*options, "--source", "embedded", "--output", f"{bench.home}/cookbook/{recipe}/data"]
    assert asked.read_text().split() == expected


def test_dry_run_and_help_start_nothing(bench):
    for option in ("--dry-run", "--help"):
        ran = bench.run(option)
        assert ran.code == 0
        assert ran.called == {}
    assert "MODEL_PATH" in ran.out


def test_the_exit_status_is_the_notebooks(bench):
    assert bench.run(STUB_EXIT="1").code == 1


def test_sigterm_reaches_the_notebook(bench):
    with bench.start(STUB_SLEEP="30") as process:
        wait_until(lambda: bench.record.exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 7  # the runner's own answer to SIGTERM, not the shell's death by it


def test_paths_are_relative_to_where_the_person_is(bench):
    (bench.home / "mine.parquet").touch()
    ran = bench.run(TRAIN_FILE="mine.parquet", cwd=".")
    assert f"data      {bench.home}/mine.parquet" in ran.out
    assert ran.called["cwd"] == str(bench.home)


def test_without_an_environment_it_says_how_to_make_one(bench):
    (bench.bin / "cookbook").unlink()
    ran = bench.run()
    assert ran.code == 2
    assert "run 'make setup'" in ran.err
    assert os.listdir(bench.bin) == ["python"]
