"""`fit` of reward models: what is learned, what is kept, what a run goes on from; the same on every layout."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib import training
from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.evaluation.held_out_answers import judge_pairs, judge_scores
from cookbook_lib.parallel.fsdp import rest
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.objectives.scoring import raw_scores
from cookbook_lib.training.stop import StoppedTraining
from tests.ranks import run_ranks
from tests.training.embedded_run import weights
from tests.training.reward_run import config_of, plain_logits, prepared, run_of
from tests.training.test_fit import _stop_after, same

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data"), "pointwise")


def embedded(folder: Path, recipe: str) -> Path:
    """The embedded source as scripts/prepare_reward_data.py writes it."""
    kinds: dict[str, Any] = {"bradley_terry": "pairs", "pointwise": "scores"}
    prepare_reward(RewardJob("embedded", folder, limit=120, test_ratio=0.2, kind=kinds[recipe]))
    return folder


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """Six steps of Bradley-Terry, in a folder of their own."""
    return training.fit(run_of(config_of(pairs, tmp_path_factory.mktemp("bt"))))


def final(run: training.Run) -> Path:
    return run.checkpoints.folder / run.config.trainer.final_name


def our_logits(run: training.Run) -> torch.Tensor:
    """(rows x answers, L) of all validation rows, in order: packed, prompts shared, as `validate` reads them."""
    loader = run.val_loader
    assert loader is not None
    run.model.eval()
    with torch.no_grad():
        found = [
            (row, scores)
            for batch in loader.epoch()
            for row, scores in zip(
                batch.rows, raw_scores(run.model, batch, run.mesh, loader.examples.answers), strict=True
            )
        ]
    rest(run.model)
    return torch.cat([scores for _, scores in sorted(found, key=lambda entry: entry[0])])


# ------------------------------------------------------------------------------------------------------ what is learned


def test_it_begins_at_ln_2_and_the_loss_falls(trained: training.Run) -> None:
    rows = read_metrics(trained.checkpoints.folder / "metrics.jsonl")
    assert rows[0]["val/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (rows[0]["val/accuracy"], rows[0]["val/brier"], rows[0]["val/margin"]) == (0.5, 0.25, 0)
    assert rows[1]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["val/loss"] < 0.5
    assert rows[-1]["val/accuracy"] > 0.9
    assert [row["step"] for row in rows] == list(range(7))


def test_the_final_model_is_a_plain_sequence_classifier(trained: training.Run) -> None:
    rows = list(range(len(trained.val_loader.examples)))
    theirs, ours = plain_logits(final(trained), trained, rows), our_logits(trained)
    assert ours.std() > 1e-2
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    told = json.loads((final(trained) / "cookbook.json").read_text())["scores"]
    assert told["mean"] == pytest.approx(theirs.mean().item(), rel=1e-4)
    assert told["std"] == pytest.approx(theirs.std(correction=0).item(), rel=1e-4)
    decided = torch.from_numpy(trained.val_loader.examples.targets[:, 1] == 1)
    chosen, rejected = theirs.reshape(-1, 2)[decided].unbind(1)
    assert trained.validated["val/accuracy"] == pytest.approx((chosen > rejected).float().mean().item())


def test_the_closing_report_and_the_validation_say_the_same(pairs: Path, tmp_path: Path) -> None:
    """Of prompts so long that some lose their oldest turns, and of ties."""
    run = training.fit(run_of(config_of(pairs, tmp_path, "data.max_length=64")))
    report = judge_pairs(run.config, final(run))
    assert report is not None and any("without their oldest turns" in note for note in report.notes)
    figure = report.sections["accuracy"]["val/accuracy"]
    assert figure.value == pytest.approx(run.validated["val/accuracy"], abs=1e-9)
    assert figure.rows < len(run.val_loader.examples), "ties have no order"


def test_the_closing_report_of_scores_and_the_validation_say_the_same(scores: Path, tmp_path: Path) -> None:
    run = training.fit(run_of(config_of(scores, tmp_path, "data.max_length=48", recipe="pointwise")))
    found = judge_scores(run.config, final(run))
    assert found is not None and "without their oldest turns" in found.measures["score"]["mean error"].note
    figures = {name: figure.value for name, figure in found.measures["score"].items()}
    assert figures["mean error"] == pytest.approx(run.validated["val/mae"], rel=1e-5)
    assert figures["exact after rounding"] == pytest.approx(run.validated["val/exact"], abs=1e-9)


@pytest.mark.parametrize("loss", ["mse", "ordinal"])
def test_pointwise_learns_and_its_folder_says_what_the_outputs_mean(scores: Path, tmp_path: Path, loss: str) -> None:
    two = "pointwise.attributes=[score,tone]"
    run = training.fit(run_of(config_of(scores, tmp_path, f"pointwise.loss={loss}", two, recipe="pointwise")))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["val/loss"] < rows[0]["val/loss"]
    theirs, ours = plain_logits(final(run), run, list(range(40))), our_logits(run)
    torch.testing.assert_close(ours[:40], theirs, rtol=1e-5, atol=1e-5)
    told = json.loads((final(run) / "config.json").read_text())["score_head"]
    assert (told["kind"], told["attributes"]) == ({"mse": "regression"}.get(loss, loss), ["score", "tone"])
    if loss == "mse":
        truth = run.loader.examples.targets
        assert np.isnan(truth).any()
        assert told["mean"] == pytest.approx(np.nanmean(truth, axis=0).tolist(), rel=1e-5)
        assert told["scale"] == pytest.approx(np.nanstd(truth, axis=0).tolist(), rel=1e-5)
        known = ~np.isnan(run.val_loader.examples.targets)
        said = (known * told["mean"]).sum() / known.sum()
        assert rows[0]["val/score"] == pytest.approx(said, rel=1e-5), "it begins by saying the mean"


@pytest.mark.parametrize(("recipe", "first"), [("bradley_terry", math.log(2)), ("pointwise", None)])
def test_the_embedded_data_train(tmp_path: Path, recipe: str, first: float | None) -> None:
    """From the files that the script writes to a published model; two steps teach nothing, and need not."""
    data = embedded(tmp_path / "data", recipe)
    files = (f"data.train_files={data}/train.parquet", f"data.val_files={data}/test.parquet")
    run = training.fit(run_of(config_of(data, tmp_path, *files, "trainer.total_training_steps=2", recipe=recipe)))
    losses = [row["val/loss"] for row in read_metrics(tmp_path / "metrics.jsonl") if row.get("val/loss")]
    assert len(losses) == 2
    assert first is None or losses[0] == pytest.approx(first, abs=1e-6)
    assert (final(run) / "model.safetensors").is_file()


def test_how_a_step_is_cut_changes_nothing(pairs: Path, tmp_path: Path, trained: training.Run) -> None:
    cuts = {
        "many": ["data.micro_batch_size=2", "data.max_length=128"],
        "apart": ["data.share_prompts=false"],
        "padded": ["use_remove_padding=false", "data.micro_batch_size=4"],
    }
    for name, cut in cuts.items():
        run = training.fit(run_of(config_of(pairs, tmp_path / name, *cut)))
        assert run.validated["val/loss"] == pytest.approx(trained.validated["val/loss"], rel=1e-5), name
        assert run.validated["val/score_std"] == pytest.approx(trained.validated["val/score_std"], rel=1e-4), name


# ----------------------------------------------------------------------------------------------------- best, and enough


def test_best_by_accuracy_and_early_stopping(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The higher accuracy wins over the lower loss; the lower loss decides between equal ones; two that do neither are enough."""
    found = iter([(0.5, 0.7), (0.6, 0.9), (0.6, 0.8), (0.6, 0.8), (0.55, 0.1)])

    def told(run: training.Run) -> dict[str, float]:
        accuracy, loss = next(found)
        return {"val/accuracy": accuracy, "val/loss": loss, "val/score": 0.25, "val/score_std": 2.0}

    monkeypatch.setattr("cookbook_lib.training.run.validate", told)
    more = ("trainer.best_metric=val/accuracy", "trainer.early_stopping_patience=2", "trainer.test_freq=1")
    run = training.fit(run_of(config_of(pairs, tmp_path, *more)))
    p = run.progress
    assert (p.step, p.best_step, p.best, p.best_loss, p.worse) == (4, 2, 0.6, 0.8, 2)
    last, best = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("bt-final", "step_00000002"))
    assert last == best
    told = json.loads((final(run) / "cookbook.json").read_text())["scores"]
    assert told == {"mean": 0.25, "std": 2.0, "of": "validation data, at step 2"}


def test_a_checkpoint_says_of_what_its_scores_are(pairs: Path, tmp_path: Path) -> None:
    """The newest figures: of training between two validations, and where there is no validation at all."""
    run_with = training.fit(run_of(config_of(pairs, tmp_path / "with", "trainer.max_ckpt_to_keep=null")))
    without = ("data.val_files=null", "trainer.best_metric=val/loss", "trainer.max_ckpt_to_keep=null")
    training.fit(run_of(config_of(pairs, tmp_path / "without", *without)))
    logged = {row["step"]: row for row in read_metrics(tmp_path / "with/metrics.jsonl")}

    def told(run: str, step: int) -> dict[str, Any]:
        return json.loads((tmp_path / run / f"step_{step:08}" / "cookbook.json").read_text())["scores"]

    assert run_with.config.trainer.test_freq == 3
    for step in (2, 4):
        assert told("with", step) == told("without", step) == {
            "mean": logged[step]["train/score"], "std": logged[step]["train/score_std"],
            "of": f"training data, up to step {step}",
        }  # fmt: skip
    assert told("with", 6) == {
        "mean": logged[6]["val/score"], "std": logged[6]["val/score_std"], "of": "validation data, at step 6",
    }  # fmt: skip
    assert told("without", 6)["of"] == "training data, up to step 6"


# -------------------------------------------------------------------------------------------------- going on from there


def test_stopped_and_resumed_is_bit_for_bit_the_run_left_alone(
    pairs: Path, tmp_path: Path, trained: training.Run
) -> None:
    first = run_of(config_of(pairs, tmp_path))
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining, match="after step 3 of 6"):
        training.fit(first)
    second = run_of(config_of(pairs, tmp_path))
    assert second.progress.step == 3
    training.fit(second)
    assert same(weights(second), weights(trained))


def go_on(data: Path, save: Path, overrides: tuple[str, ...]) -> tuple[int, dict[str, float]]:
    run = run_of(config_of(data, save, *overrides))
    at = run.progress.step
    return at, training.fit(run).validated


@pytest.mark.parametrize("overrides", [(), ("ulysses_sequence_parallel_size=2",)], ids=["FSDP", "Ulysses"])
def test_a_run_goes_on_on_two_ranks(
    pairs: Path, tmp_path: Path, trained: training.Run, overrides: tuple[str, ...]
) -> None:
    first = run_of(config_of(pairs, tmp_path))
    _stop_after(first, 3)
    with pytest.raises(StoppedTraining):
        training.fit(first)
    for at, validated in run_ranks(go_on, 2, pairs, tmp_path, overrides):
        assert at == 3
        for name in ("val/loss", "val/accuracy", "val/brier", "val/score_std"):
            assert validated[name] == pytest.approx(trained.validated[name], rel=1e-5), name


def test_other_data_do_not_change_what_resumed_weights_mean(scores: Path, tmp_path: Path) -> None:
    first = training.fit(run_of(config_of(scores, tmp_path / "run", recipe="pointwise")))
    rows = [json.loads(line) for line in (scores / "train.jsonl").read_text().splitlines()]
    high = "".join(json.dumps(row) + "\n" for row in rows if row["score"] > 2)
    (tmp_path / "train.jsonl").write_text(high, encoding="utf-8")
    (tmp_path / "test.jsonl").write_bytes((scores / "test.jsonl").read_bytes())
    more = config_of(tmp_path, tmp_path / "run", "trainer.total_training_steps=8", recipe="pointwise")
    again = run_of(more)
    assert again.progress.step == 6 and again.model.head == first.model.head
    assert again.model.hf.config.score_head["mean"] == first.model.head.mean
    with pytest.raises(
        CookbookError, match="the checkpoint has the head regression with outputs score, the recipe wants"
    ):
        run_of(config_of(scores, tmp_path / "run", "pointwise.attributes=[tone]", recipe="pointwise"))


def test_a_reward_model_is_gone_on_from(pairs: Path, tmp_path: Path, trained: training.Run) -> None:
    run = run_of(config_of(pairs, tmp_path, f"model.partial_pretrain={final(trained)}"))
    assert training.validate(run)["val/loss"] == pytest.approx(trained.validated["val/loss"], rel=1e-5)
    before = weights(run)["score.weight"]
    assert torch.equal(before, weights(trained)["score.weight"]) and before.any()


def test_a_reward_model_of_another_kind_is_refused(
    pairs: Path, scores: Path, tmp_path: Path, trained: training.Run
) -> None:
    base = f"model.partial_pretrain={final(trained)}"
    with pytest.raises(
        CookbookError, match="has the head scalar with outputs score, the recipe wants the head regression"
    ):
        run_of(config_of(scores, tmp_path, base, recipe="pointwise"))
    config = config_of(pairs, tmp_path, base)
    mesh = training.open_mesh(config)
    with pytest.raises(
        CookbookError, match=r"is a reward model \(Qwen3ForSequenceClassification\), not a language model"
    ):
        training.open_model(config, training.open_base(config, mesh), mesh)


# --------------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["pointwise.highest=3"], r"'score' is outside 0 to 3 in \d+ of 97 rows, 4 for one: set pointwise.lowest"),
        (["pointwise.attributes=[score,half]"], r"no row has a value of 'half': name other pointwise.attributes"),
        (
            ["pointwise.loss=ordinal"],
            r"'score' is no whole number in 1 of 97 rows, 1.5 for one, and pointwise.loss=ordinal",
        ),
        (
            ["pointwise.attributes=[scores]"],
            r"scores is missing, but it was named as an attribute \(columns here: .*score",
        ),
    ],
)
def test_scores_that_the_loss_cannot_take(scores: Path, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    lines = (scores / "train.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "half": None} for line in lines] + [
        {"prompt": "a", "response": "b", "score": 1.5, "half": None}
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [*overrides, f"data.train_files={file}", f"data.val_files={file}"]
    with pytest.raises(CookbookError, match=sentence):
        run_of(config_of(scores, tmp_path, *overrides, recipe="pointwise"))


def test_ties_alone_have_no_accuracy_to_decide_by(pairs: Path, tmp_path: Path) -> None:
    ties = [
        json.loads(line) | {"tie": True, "margin": None} for line in (pairs / "test.jsonl").read_text().splitlines()
    ]
    (tmp_path / "ties.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ties), encoding="utf-8")
    config = config_of(pairs, tmp_path / "run", f"data.val_files={tmp_path}/ties.jsonl")
    with pytest.raises(CookbookError, match=r"ties.jsonl: all pairs are ties, so they have no accuracy"):
        run_of(config)
