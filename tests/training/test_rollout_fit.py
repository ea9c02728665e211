"""`fit` of a generative judge from its recipe: what a run leaves, and what one that was stopped inside a round goes on from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cookbook_lib import training
from cookbook_lib.config import Config, load_config
from cookbook_lib.data.judge.files import write_tasks
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.run import Run
from cookbook_lib.training.stop import StoppedTraining
from tests.ranks import run_ranks
from tests.training.embedded_run import weights
from tests.training.test_fit import _stop_after, same

pytestmark = pytest.mark.slow

REWARD = '''
def vowels(samples):
    """A random model can learn it."""
    return [sum(letter in "aeiou" for letter in sample.text) / max(len(sample.text), 1) for sample in samples]
'''


def tasks(count: int) -> Iterator[JudgeTask]:
    for i in range(count):
        yield JudgeTask(
            ({"role": "user", "content": f"How good is {i}? " + "Well? " * (i % 5)},), "answer", "so", "numbers"
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tasks(folder / "train.parquet", tasks(12))
    write_tasks(folder / "test.parquet", tasks(3))
    (folder / "reward.py").write_text(REWARD)
    return folder


def config_of(data: Path, save: Path, *overrides: str) -> Config:
    small = [
        "data.train_batch_size=4", "rollout.n=4", "rollout.updates=2", "rollout.max_new_tokens=12", "data.max_length=256",
        "reward.functions=[custom]", f"reward.custom={data}/reward.py:vowels", "trainer.total_training_steps=6",
        "trainer.save_freq=2", "trainer.test_freq=3", "trainer.logger=[jsonl]", "trainer.async_save=false", "optim.lr=1e-2",
    ]  # fmt: skip
    files = {"train_file": str(data / "train.parquet"), "val_file": str(data / "test.parquet"), "save_path": str(save)}
    return load_config("generative/pointwise", ["smoke"], [*small, *overrides], environ={}, **files)


def run_of(config: Config) -> Run:
    return training.open_recipe(config, training.open_mesh(config))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six steps of three rounds, in a folder of their own."""
    make_mesh(device="cpu")
    return training.fit(run_of(config_of(data, tmp_path_factory.mktemp("alone"))))


def test_what_a_run_leaves(trained: Run) -> None:
    folder = trained.checkpoints.folder
    kept = sorted(path.name for path in (folder / "rollouts").iterdir())
    assert kept == [f"round_{k:08d}.parquet" for k in range(3)] + [f"validation_{s:08d}.parquet" for s in (0, 3, 6)]
    first = pd.read_parquet(folder / "rollouts" / kept[0])
    assert len(first) == 16 and first.reward.between(0, 1).all() and first.prompt.str.contains("How good is").all()
    rows = read_metrics(folder / "metrics.jsonl")
    train = [row for row in rows if row.get("train/reward") is not None]
    assert train and rows[-1]["val/reward"] is not None
    for name in ("mismatch", "mismatch_max", "length", "parsed", "filtered_groups", "rollout_seconds", "rollout_share"):
        assert train[-1][f"train/{name}"] is not None, name
    assert train[-1]["train/mismatch_max"] < 1e-4 and 0 < train[-1]["train/rollout_share"] <= 1


def test_a_look_at_the_first_batch_counts_as_no_step(data: Path, tmp_path: Path) -> None:
    """As notebooks 32 and 33 take it: the validation before training is that of step 0."""
    run = run_of(config_of(data, tmp_path, "trainer.val_at_start=true"))
    assert training.next_forward(run) is not None and not run.inside_step
    run.begin()
    assert [path.name for path in (tmp_path / "rollouts").glob("validation_*")] == ["validation_00000000.parquet"]


def test_a_look_at_a_run_that_goes_on_is_at_its_own_round(data: Path, tmp_path: Path, trained: Run) -> None:
    """It makes no round but the one that comes next, and none of a run that is finished."""
    stopped(data, tmp_path, 3)
    before = (tmp_path / "rollouts/round_00000000.parquet").stat().st_mtime_ns
    run = run_of(config_of(data, tmp_path))
    batch = training.next_forward(run)
    assert batch is not None and run.loader.facts()["round"] == 1
    run.objective(run.model, batch)
    assert same(weights(training.fit(run)), weights(trained))
    assert training.next_forward(run_of(config_of(data, tmp_path))) is None
    assert len(list((tmp_path / "rollouts").glob("round_*"))) == 3
    assert (tmp_path / "rollouts/round_00000000.parquet").stat().st_mtime_ns == before


def test_of_equal_rewards_the_first_is_best(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However low the loss is that the clipped objective has on validation prompts."""
    found = iter([(0.25, 0.5), (0.5, 0.4), (0.5, 0.1), (0.4, 0.0)])

    def told(run: Run) -> dict[str, float]:
        reward, loss = next(found)
        return {"val/reward": reward, "val/loss": loss}

    monkeypatch.setattr("cookbook_lib.training.run.validate", told)
    more = ("trainer.val_at_start=true", "trainer.test_freq=2", "trainer.best_metric=val/reward")
    run = training.fit(run_of(config_of(data, tmp_path, *more)))
    assert (run.progress.best_step, run.progress.best) == (2, 0.5)


def stopped(data: Path, save: Path, step: int, *overrides: str) -> Path:
    run = run_of(config_of(data, save, *overrides))
    _stop_after(run, step)
    with pytest.raises(StoppedTraining, match=f"after step {step} of 6"):
        training.fit(run)
    return save


@pytest.mark.parametrize("step", [2, 3], ids=["between rounds", "inside a round"])
def test_stopped_and_resumed_is_bit_for_bit_the_run_left_alone(
    data: Path, tmp_path: Path, trained: Run, step: int
) -> None:
    again = training.fit(run_of(config_of(data, stopped(data, tmp_path, step))))
    assert same(weights(again), weights(trained))


def stop_at_answer(monkeypatch: pytest.MonkeyPatch, run: Run, number: int) -> None:
    """Ask the run to stop when its engine is asked for the `number`-th time, for a round or a validation."""
    seen = iter(range(1, 100))
    engine = run.loader.maker.policy.engine
    generate = engine.generate

    def stopping(*prompts: Any, **options: Any) -> Any:
        if next(seen) == number:
            run.stop.request("the machine is wanted back")
        return generate(*prompts, **options)

    monkeypatch.setattr(engine, "generate", stopping)


def test_a_stop_amid_the_first_round(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(config_of(data, tmp_path, "trainer.val_at_start=false"))
    stop_at_answer(monkeypatch, run, 1)
    with pytest.raises(StoppedTraining, match="before the first step .*wanted back.*nothing to save"):
        training.fit(run)


# what is answered: round 0, round 1, validation of step 3, round 2, validation of step 6
@pytest.mark.parametrize(("number", "step"), [(2, 2), (3, 3), (5, 6)], ids=["round", "validation", "last validation"])
def test_a_stop_amid_answers_leaves_them_undone_and_the_run_ends_as_one_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Run, number: int, step: int
) -> None:
    first = run_of(config_of(data, tmp_path, "trainer.val_at_start=false"))
    stop_at_answer(monkeypatch, first, number)
    with pytest.raises(StoppedTraining, match=f"after step {step} of 6.*saved"):
        training.fit(first)
    assert not list((tmp_path / "rollouts").glob(f"validation_{step:08d}.parquet"))
    again = training.fit(run_of(config_of(data, tmp_path, "trainer.val_at_start=false")))
    assert same(weights(again), weights(trained))
    assert again.validated == trained.validated
    logged = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "val/reward" in row]
    assert [row["step"] for row in logged] == [3, 6]
    assert all("train/reward" in row for row in logged)


def test_a_stop_amid_a_look_leaves_the_round_undone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(config_of(data, tmp_path))
    stop_at_answer(monkeypatch, run, 1)
    with pytest.raises(StoppedTraining, match="before the first step"):
        training.next_forward(run)
    assert not list((tmp_path / "rollouts").glob("round_*")) and not run.inside_step
    assert training.next_forward(run) is not None


def test_a_round_that_another_run_made_in_between_is_not_taken_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gone back, with another rate, and killed in a round that it made anew, before it saved; then started again."""
    stopped(data, tmp_path, 5)
    back = ("trainer.resume_mode=resume_path", f"trainer.resume_from_path={tmp_path}/step_00000002")
    run = run_of(config_of(data, tmp_path, *back, "optim.lr=1e-3", "trainer.total_training_steps=5"))
    for saves in ("report", "end"):
        monkeypatch.setattr(run, saves, lambda: None)
    training.fit(run)
    capsys.readouterr()
    again = run_of(config_of(data, tmp_path))
    assert again.progress.step == 5
    training.fit(again)
    sentence = "round_00000002.parquet was made by other weights than the checkpoint goes on from: round 2 is made anew"
    assert sentence in capsys.readouterr().out


def go_on(data: Path, save: Path, overrides: tuple[str, ...]) -> dict[str, float]:
    return training.fit(run_of(config_of(data, save, *overrides))).validated


@pytest.mark.parametrize("overrides", [(), ("ulysses_sequence_parallel_size=2",)], ids=["FSDP", "Ulysses"])
def test_a_round_goes_on_on_two_ranks(data: Path, tmp_path: Path, trained: Run, overrides: tuple[str, ...]) -> None:
    stopped(data, tmp_path, 5)
    for validated in run_ranks(go_on, 2, data, tmp_path, overrides, timeout=300.0):
        assert validated["val/reward"] == pytest.approx(trained.validated["val/reward"], abs=1e-6)
