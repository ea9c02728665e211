"""What a run does between two steps, where a second start or a second cell meets what the first one left."""

import gc
import shutil
import weakref
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cookbook_lib import training
from cookbook_lib.config import CookbookError
from cookbook_lib.training.beginning import beginning, refuse_another
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


def test_a_finished_run_started_again_says_that_nothing_is_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.fit(run_of(config_of(data, tmp_path)))
    assert "nothing is trained" not in capsys.readouterr().out
    training.fit(run_of(config_of(data, tmp_path)))
    said = f"{tmp_path} holds this run, and it has had all of its 6 steps: nothing is trained."
    assert said in capsys.readouterr().out


def test_another_start_in_the_same_folder_is_refused(data: Path, tmp_path: Path) -> None:
    """It would find no step left, and the first start's model would be taken for its own."""
    first = training.fit(run_of(config_of(data, tmp_path / "run")))
    final = str(first.checkpoints.folder / "sft-final")
    there = f"model.partial_pretrain={final}"
    with pytest.raises(
        CookbookError, match=r"run holds a run that began from .*tiny-.*, and this one begins from .*sft-final: "
    ):
        run_of(config_of(data, tmp_path / "run", there))
    anew = run_of(config_of(data, tmp_path / "run", there, "trainer.resume_mode=disable"))
    assert anew.progress.step == 0


def test_a_start_is_known_by_its_weights(tmp_path: Path) -> None:
    base, elsewhere = tmp_path / "base", tmp_path / "elsewhere"
    base.mkdir()
    (base / "model.safetensors").write_bytes(bytes(range(256)) * 2000)
    shutil.copytree(base, elsewhere)
    began = beginning("sft", base)
    refuse_another(began, beginning("sft", elsewhere), tmp_path)
    refuse_another({}, began, tmp_path)  # saved before anybody asked
    with pytest.raises(
        CookbookError, match="began from sft, and this one begins from dpo: give it a folder of its own"
    ):
        refuse_another(began, beginning("dpo", base), tmp_path)
    (base / "model.safetensors").write_bytes(bytes(reversed(range(256))) * 2000)
    with pytest.raises(CookbookError, match="base as it was then, and this one begins from what is there now"):
        refuse_another(began, beginning("sft", base), tmp_path)


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
