"""The same pairs through TRL's RewardTrainer: the same tokens, loss, gradients and accuracy, for every term that it has."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cookbook_lib import training
from cookbook_lib.models.score_head import ScoreHead
from cookbook_lib.training.embedded import tiny_folder
from cookbook_lib.training.parity import by_the_step, sharded_step
from cookbook_lib.training.parity_reward import random_head
from tests.training.reward_run import config_of, rows, run_of

LIMIT = 1e-4
PAIRS = 24

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what TRL and its friends warn of is theirs


@pytest.fixture(scope="module")
def trl() -> Any:
    return pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[bench]'")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model whose head says something, so that every weight has a gradient."""
    return random_head(ScoreHead(), tiny_folder(), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.jsonl, single turns and several; every pair has a margin, as TRL wants, and none is a tie, which it has not."""
    folder = tmp_path_factory.mktemp("pairs")
    found = [row | {"margin": row["margin"] or 0.0, "tie": False} for row in rows("bradley_terry", PAIRS, 0)]
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return folder


def theirs(trl: Any, base: Path, file: Path, scratch: Path, *, margin: bool, center: float) -> dict[str, Any]:
    """Loss, gradients, accuracy and tokens of one batch of RewardTrainer, used as its documentation says."""
    from datasets import Dataset

    found = [json.loads(line) for line in file.read_text().splitlines()]
    for row in found:
        if isinstance(row["prompt"], str):
            row["prompt"] = [{"role": "user", "content": row["prompt"]}]
        row |= {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
        for name in ("tie",) if margin else ("tie", "margin"):
            del row[name]
    trainer = trl.RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.float32),
        args=trl.RewardConfig(
            output_dir=str(scratch), per_device_train_batch_size=PAIRS, center_rewards_coefficient=center or None, use_cpu=True,
            bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(found),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    (batch,) = trainer.get_train_dataloader()
    tokens = sorted(
        tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    )
    assert ("margin" in batch) == margin
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    grads = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    (accuracy,), (distance,) = trainer._metrics["train"]["accuracy"], trainer._metrics["train"]["margin"]
    return {"loss": loss.item(), "grads": grads, "accuracy": accuracy, "margin": distance, "tokens": tokens}


@pytest.mark.parametrize("share", [True, False], ids=["shared prompts", "unshared"])
@pytest.mark.parametrize(("margin", "center"), [(False, 0.0), (True, 0.0), (False, 0.01), (True, 0.01)])
def test_one_step(trl: Any, base: Path, pairs: Path, tmp_path: Path, margin: bool, center: float, share: bool) -> None:
    other = theirs(trl, base, pairs / "train.jsonl", tmp_path / "trl", margin=margin, center=center)
    terms = [f"bradley_terry.use_margin={str(margin).lower()}", f"bradley_terry.center_coefficient={center}"]
    how = [
        f"model.partial_pretrain={base}",
        f"data.train_batch_size={PAIRS}",
        f"data.share_prompts={str(share).lower()}",
    ]
    run = run_of(config_of(pairs, tmp_path / "ours", *terms, *how, "data.micro_batch_size=2"))
    batches = run.loader.step(0)
    assert len(batches) > 1
    documents = (rest.tolist() for row in range(PAIRS) for rest in run.loader.examples.shared(False)[row].rests)
    assert sorted(map(tuple, documents)) == other["tokens"]
    loss, grads = sharded_step(run.model, run.mesh, run.objective, batches, by_the_step)
    assert loss == pytest.approx(other["loss"], rel=LIMIT)
    assert grads.keys() == other["grads"].keys()
    for name, grad in other["grads"].items():
        assert (grads[name] - grad).norm() <= LIMIT * grad.norm(), name
    found = training.validate(run)  # the same pairs
    assert found["val/accuracy"] == pytest.approx(other["accuracy"], abs=1e-6)
    assert found["val/margin"] == pytest.approx(other["margin"], rel=LIMIT)
    assert 0 < found["val/accuracy"] < 1
