"""`fit` on whole runs: what it learns, how it stops, goes on, skips and ends; the same on every layout."""

import json
import math
from pathlib import Path

import pytest
import torch

from cookbook_lib import training
from cookbook_lib.config import CookbookError
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.objectives.base import Loss
from cookbook_lib.training.stop import StoppedTraining
from tests.ranks import run_ranks
from tests.training.embedded_run import config_of, prepared, run_of, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data"))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_the_run_folder_is_complete(data: Path, tmp_path: Path) -> None:
    run = training.fit(run_of(config_of(data, tmp_path)))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(7))
    assert rows[-1]["val/loss"] < rows[0]["val/loss"] - 0.3
    assert {
        "train/loss",
        "train/lr",
        "train/grad_norm",
        "train/tokens_per_second",
        "train/mfu",
        "train/weights_moved",
    } <= rows[1].keys()
    assert rows[1]["train/weights_moved"] > 0.9
    for name in (
        "config.yaml",
        "latest/model.safetensors",
        "best/model.safetensors",
        "sft-final/model.safetensors",
        "step_00000002",
    ):
        assert (tmp_path / name).exists(), name
    assert json.loads((tmp_path / "sft-final" / "cookbook.json").read_text())["base"]
    assert training.write_summary(run)["val_loss_after"] == rows[-1]["val/loss"]


def test_a_forward_before_the_optimizer_leaves_no_weight_behind(data: Path, tmp_path: Path) -> None:
    """FSDP2 keeps the root's weights whole after a forward without backward; an optimizer made then would train copies."""
    plain = training.fit(run_of(config_of(data, tmp_path / "plain")))
    looked = run_of(config_of(data, tmp_path / "looked"), check=True, by_hand=True)
    before = weights(looked)
    training.fit(looked)
    after = weights(looked)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert same(after, weights(plain))


def test_the_final_model_is_plain_transformers(data: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    run = training.fit(run_of(config_of(data, tmp_path)))
    batch = run.loader.step(0)[0]
    first = batch.lengths[0]
    ids = batch.input_ids[:, :first]
    with torch.no_grad():
        ours = run.model(ids, batch.position_ids[:, :first], (0, first))
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "sft-final")(ids).logits
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_stopped_and_resumed_is_bit_for_bit_the_run_left_alone(data: Path, tmp_path: Path) -> None:
    alone = training.fit(run_of(config_of(data, tmp_path / "alone")))
    first = run_of(config_of(data, tmp_path / "stopped"))
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining, match="after step 3 of 6 .*run again"):
        training.fit(first)
    seen = Seen()
    second = run_of(config_of(data, tmp_path / "stopped"), watch=[seen])
    assert second.progress.step == 3
    assert seen.steps == [0, 1, 2]  # who watches is told what was before; step 3 owes its validation
    training.fit(second)
    assert same(weights(second), weights(alone))
    rows = read_metrics(tmp_path / "stopped" / "metrics.jsonl")
    assert [row["step"] for row in rows] == seen.steps == list(range(7))  # none twice, none missing
    assert {"train/loss", "val/loss"} <= rows[3].keys()


def test_an_interrupted_cell_goes_on_with_the_same_run(data: Path, tmp_path: Path) -> None:
    alone = training.fit(run_of(config_of(data, tmp_path / "alone")))
    run = run_of(config_of(data, tmp_path / "again"))
    for step in (1, 2, 4):
        _stop_after(run, step)
        with pytest.raises(StoppedTraining):
            training.fit(run)
    training.fit(run)
    assert same(weights(run), weights(alone))


def test_how_a_step_is_cut_changes_nothing(data: Path, tmp_path: Path) -> None:
    """One forward or many, packed or padded: the same losses."""
    cuts = {
        "one": [],
        "many": ["data.micro_batch_size=1"],
        "padded": ["use_remove_padding=false"],
        "kept": ["trainer.log_freq=2"],
    }
    last = {
        name: training.fit(run_of(config_of(data, tmp_path / name, *cut))).validated["val/loss"]
        for name, cut in cuts.items()
    }
    assert all(math.isclose(loss, last["one"], rel_tol=1e-5) for loss in last.values()), last


def test_validation_sees_every_row_whatever_the_batch(data: Path, tmp_path: Path) -> None:
    losses = []
    for size in (1, 7, 1000):
        run = run_of(config_of(data, tmp_path / str(size)))
        run.val_loader.batch_size = min(size, len(run.val_loader.examples))
        rows = [row for batch in run.val_loader.epoch() for row in batch.rows]
        assert sorted(rows) == list(range(len(run.val_loader.examples)))
        losses.append(training.validate(run)["val/loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


class Seen:
    """A tracker that remembers which steps it was told of."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step, metrics):
        self.steps.append(step)

    def finish(self):
        pass


class NotFinite(training.SFT):
    """SFT whose loss is NaN on chosen calls."""

    def __init__(self, calls: set[int]) -> None:
        self.calls, self.made = calls, 0

    def __call__(self, model, batch):
        loss = super().__call__(model, batch)
        self.made += torch.is_grad_enabled()
        return Loss(loss.total * float("nan"), loss.stats) if self.made in self.calls else loss


class Breaks(training.SFT):
    """SFT that raises once, between forward and backward of the second micro-batch."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, model, batch):
        loss = super().__call__(model, batch)
        self.made += torch.is_grad_enabled()
        if self.made == 2:
            raise RuntimeError("out of memory, say")
        return loss


def test_a_step_that_broke_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    alone = training.fit(run_of(config_of(data, tmp_path / "alone", "data.micro_batch_size=1")))
    run = run_of(config_of(data, tmp_path / "broke", "data.micro_batch_size=1"))
    run.objective = Breaks()
    with pytest.raises(RuntimeError, match="out of memory"):
        training.fit(run)
    training.fit(run)
    assert same(weights(run), weights(alone))


def test_a_step_that_is_not_finite_is_skipped_counted_and_shown(data: Path, tmp_path: Path) -> None:
    run = run_of(config_of(data, tmp_path))
    run.objective = NotFinite({2})
    before = weights(run)
    training.fit(run)
    assert run.progress.skipped == 1
    assert all(torch.isfinite(w).all() for w in weights(run).values())
    assert not same(before, weights(run))
    assert read_metrics(tmp_path / "metrics.jsonl")[2]["train/skipped_steps"] == 1


def test_too_many_of_them_end_the_run_and_keep_the_last_good_checkpoint(data: Path, tmp_path: Path) -> None:
    run = run_of(config_of(data, tmp_path, "trainer.max_nonfinite_steps=1"))
    run.objective = NotFinite({4, 5, 6})
    with pytest.raises(CookbookError, match=r"not finite 2 times in a row .*max_nonfinite_steps=1.*lower optim.lr"):
        training.fit(run)
    assert (
        run_of(config_of(data, tmp_path)).progress.step == 4
    )  # its first skip left the weights of step 3 as they were


def test_early_stopping_publishes_the_best_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.1, 2.0])
    monkeypatch.setattr("cookbook_lib.training.run.validate", lambda run: {"val/loss": next(losses)})
    changes = ("trainer.early_stopping_patience=2", "trainer.test_freq=1", "trainer.total_training_steps=40")
    run = training.fit(run_of(config_of(data, tmp_path, *changes)))
    assert (run.progress.step, run.progress.worse, run.progress.best_step) == (4, 2, 2)
    final, best = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("sft-final", "step_00000002"))
    assert final == best  # and not the worse one that came last


def final_loss(data: Path, save: Path, overrides: tuple[str, ...]) -> float:
    return training.fit(run_of(config_of(data, save, *overrides), check=True)).validated["val/loss"]


@pytest.mark.slow
def test_the_same_run_on_other_layouts(data: Path, tmp_path: Path) -> None:
    alone = final_loss(data, tmp_path / "alone", ())
    two = run_ranks(final_loss, 2, data, tmp_path / "two", ())
    shared = run_ranks(final_loss, 2, data, tmp_path / "shared", ("ulysses_sequence_parallel_size=2",))
    assert [*two, *shared] == pytest.approx([alone] * 4, rel=1e-5)


def resume_elsewhere(data: Path, save: Path) -> int:
    run = run_of(config_of(data, save))
    at = run.progress.step
    training.fit(run)
    return at


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_ranks(data: Path, tmp_path: Path) -> None:
    alone = training.fit(run_of(config_of(data, tmp_path / "alone")))
    first = run_of(config_of(data, tmp_path / "moved"))
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining):
        training.fit(first)
    assert run_ranks(resume_elsewhere, 2, data, tmp_path / "moved") == [3, 3]
    moved = read_metrics(tmp_path / "moved" / "metrics.jsonl")[-1]["val/loss"]
    assert moved == pytest.approx(alone.validated["val/loss"], rel=1e-5)


def _stop_after(run: training.Run, step: int) -> None:
    """Ask for a stop while step `step` (from 1) is computed, as a signal would."""
    ordinary = type(run).update

    def update(at: int) -> None:
        ordinary(run, at)
        if at + 1 == step:
            run.stop.request("the test asked")

    run.update = update  # type: ignore[method-assign]
