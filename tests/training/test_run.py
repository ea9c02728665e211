"""What a run does between two steps, where a second start or a second cell meets what the first one left."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cookbook_lib import training
from cookbook_lib.config import CookbookError
from cookbook_lib.training.objectives.base import Loss
from tests.training.embedded_run import config_of, prepared, run_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data"))


class NeverFinite(training.SFT):
    def __call__(self, model, batch):
        loss = super().__call__(model, batch)
        return Loss(loss.total * float("nan"), loss.stats)


def test_a_run_that_ended_by_too_many_nans_can_go_on(data: Path, tmp_path: Path) -> None:
    run = run_of(config_of(data, tmp_path, "trainer.max_nonfinite_steps=1", "trainer.val_at_start=false"))
    run.objective = NeverFinite()
    with pytest.raises(CookbookError, match="not finite 2 times in a row"):
        training.fit(run)
    run.objective = training.SFT()
    training.fit(run)
    assert run.progress.skipped == 2
    assert all(torch.isfinite(p.full_tensor()).all() for p in run.model.parameters())


def test_a_finished_run_started_again_ends_as_it_did(data: Path, tmp_path: Path) -> None:
    first = training.fit(run_of(config_of(data, tmp_path)))
    again = training.fit(run_of(config_of(data, tmp_path)))
    assert again.progress == first.progress
    assert training.write_summary(again) == training.write_summary(first)


def test_another_runs_last_checkpoint_becomes_this_runs_final_model(data: Path, tmp_path: Path) -> None:
    """There is no step left, and nothing of it in this folder yet."""
    training.fit(run_of(config_of(data, tmp_path / "there")))
    source = f"trainer.resume_from_path={tmp_path}/there/step_00000006"
    here = run_of(config_of(data, tmp_path / "here", "trainer.resume_mode=resume_path", source))
    assert here.progress.step == 6
    training.fit(here)
    assert (tmp_path / "here/step_00000006/manifest.json").is_file()
    final = [(tmp_path / place / "sft-final/model.safetensors").read_bytes() for place in ("here", "there")]
    assert final[0] == final[1]


def test_a_run_s_model_and_threads_go_with_it(data: Path, tmp_path: Path) -> None:
    """At the latest when the next model is made, not whenever the collector happens to come by."""
    groups = dist.distributed_c10d._world.pg_map
    first = training.fit(run_of(config_of(data, tmp_path / "first")))
    model, weight, known = weakref.ref(first.model), weakref.ref(next(first.model.parameters())), len(groups)
    gc.disable()
    try:
        del first
        second = run_of(config_of(data, tmp_path / "second"))
        assert model() is None and weight() is None
        assert len(groups) == known, "the second run's group in place of the first one's"
        assert second.checkpoints.last_step is None
    finally:
        gc.enable()


class Seen:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step, metrics) -> None:
        self.steps.append(step)

    def finish(self) -> None:
        pass


def test_who_watches_a_resumed_run_sees_it_from_the_beginning(data: Path, tmp_path: Path) -> None:
    """The figure of a run is saved under one name: drawn from the last steps alone, it would replace the whole one."""
    training.fit(run_of(config_of(data, tmp_path, "trainer.total_training_steps=4")))
    again, finished = Seen(), Seen()
    training.fit(run_of(config_of(data, tmp_path), watch=[again]))
    training.fit(run_of(config_of(data, tmp_path), watch=[finished]))
    assert sorted(set(again.steps)) == sorted(set(finished.steps)) == list(range(7))
