"""One run of scripts/measure_sft_first.py: SFT or a reward model, trained and measured.

    {"what": "sft", "arm": "chat", ...}                                          the checkpoint, and what it knows
    {"what": "reward", "arm": "chat", "pairs": 800, "seed": 1, "lr": 1e-3, ...}  accuracy by class of pair

Both go the recipe's own road: config, open_recipe, fit. A reward model is tested at its best validation accuracy, as
`best_metric` of the recipe says; data, order and (arm `random`) the weights come from the seed.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from sft_first_world import CLASSES, Judged, conversations, drawn_pairs, halved, prompts, training_pairs

from cookbook_lib import training
from cookbook_lib.config import CookbookError, load_config
from cookbook_lib.data.parquet import ConversationWriter
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.reward.candidates import CandidateSet, tokenize_pairs
from cookbook_lib.data.reward.storage import pair_writer
from cookbook_lib.data.synthetic import embedded_texts
from cookbook_lib.data.templates import preset
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.evaluation.likelihood import row_losses
from cookbook_lib.evaluation.sft import Settings, compare, tokenised
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.objectives.scoring import raw_scores
from cookbook_lib.training.run import Run

BATCH, MAX_LENGTH = 32, 512  # pairs and conversations of a step; tokens
VALIDATIONS = 4  # of a run, evenly spread
QUIET = ["trainer.logger=[]", "trainer.save_freq=-1", "trainer.async_save=false",
         "trainer.max_ckpt_to_keep=1", "data.num_workers=1", f"data.train_batch_size={BATCH}",
         f"data.micro_batch_size={BATCH // 2}", f"data.max_length={MAX_LENGTH}",
         "model.fsdp_config.model_dtype=bf16"]  # fmt: skip


def held_out(seeds: Sequence[int], sizes: dict[str, int]) -> dict[str, dict[int, list[Judged]]]:
    """Validation and test pairs of every seed, as they come. Their prompts appear in no training data of any run."""
    return {
        "val": {seed: drawn_pairs(sizes["val"], 800 + seed) for seed in seeds},
        "test": {seed: drawn_pairs(sizes["test"], 900 + seed) for seed in seeds},
    }


def prompts_of(parts: dict[str, dict[int, list[Judged]]]) -> set[str]:
    return {judged.prompt for part in parts.values() for pairs in part.values() for judged in pairs}


def run(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do a task, with everything that it writes in `folder`; what was found, as JSON can hold it."""
    return (run_sft if task["what"] == "sft" else run_reward)(task, folder)


# --------------------------------------------------------------------------------------------------------------- SFT


def run_sft(task: dict[str, Any], home: Path) -> dict[str, Any]:
    """Train one SFT arm; what the checkpoint answers and which answers it finds likely."""
    folder = home / "sft" / task["arm"]
    parts = held_out(task["seeds"], task["held_out"])
    avoid = prompts_of(parts)
    chats, judgements = conversations(task["prompts"], 5, avoid)
    verdicts = [judgement for judgement in judgements if "Score" in (judgement.answer or "")]
    verdicts = verdicts[: task["judgements"]] if task["arm"] == "judged" else []
    seen = {rows[0]["prompt"] for rows in islice(prompts(5, avoid), task["prompts"])}
    questions = conversations(task["questions"], 77, seen)
    _write_conversations(folder / "train.parquet", chats + verdicts)
    config = load_config("sft", ["smoke"], [
        *QUIET, *_places(folder), "data.val_files=null", f"trainer.total_epochs={task['epochs']}", f"optim.lr={task['lr']}",
        f"trainer.total_training_steps={task['steps'] or 'null'}",
    ])  # fmt: skip
    trained = training.fit(training.open_recipe(config, training.open_mesh(config)))
    found = {"steps": trained.plan.total_steps, "chats": len(chats), "judgements": len(verdicts)}
    return found | knowledge(
        folder / "run" / "sft-final", questions, [p for pairs in parts["test"].values() for p in halved(pairs)]
    )


def knowledge(
    model: Path, questions: tuple[list[Conversation], list[Conversation]], pairs: list[Judged]
) -> dict[str, Any]:
    """Right answers, right verdicts, and how often the likelier of two answers is the better one, by class of pair."""
    settings = Settings(max_length=MAX_LENGTH, questions=len(questions[0]), max_new_tokens=40, device="cpu")
    asked = compare(model, None, questions[0], settings).checkpoint.answers
    settings = Settings(max_length=MAX_LENGTH, questions=200, max_new_tokens=12, device="cpu")
    verdicts = [verdict for verdict in questions[1] if "Score" in (verdict.answer or "")]
    judged = compare(model, None, verdicts, settings).checkpoint.answers
    return {
        "answers_right": float(np.mean([answer.right for answer in asked])),
        "verdicts_right": float(np.mean([answer.right for answer in judged])),
        "likelihood": by_class(pairs, likelier(model, pairs)),
    }


def likelier(model: Path, pairs: list[Judged]) -> np.ndarray:
    """(n,) log P(chosen | prompt) - log P(rejected | prompt)."""
    tokenizer, sides = load_tokenizer(model), []
    for answer in ("chosen", "rejected"):
        said = [{"role": "assistant", "content": getattr(judged.pair, answer)} for judged in pairs]
        whole = [Conversation((*judged.pair.prompt, turn)) for judged, turn in zip(pairs, said, strict=True)]
        rows = tokenised(whole, tokenizer, Settings(max_length=MAX_LENGTH, questions=0, train_on="last_assistant"))
        sides.append(row_losses(open_model(model, device="cpu"), rows).nll)
    return sides[1] - sides[0]


# ------------------------------------------------------------------------------------------------------ reward models


def run_reward(task: dict[str, Any], home: Path) -> dict[str, Any]:
    """Train one reward model; its accuracy on validation and test pairs, by class."""
    seed = task["seed"]
    folder = home / "reward" / "-".join(str(task[k]) for k in ("arm", "pairs", "seed", "lr"))
    parts = held_out(task["seeds"], task["held_out"])
    _write_pairs(folder / "train.parquet", training_pairs(task["pairs"], 1000 + seed, prompts_of(parts)))
    _write_pairs(folder / "val.parquet", halved(parts["val"][seed]))
    config = load_config("bradley_terry", ["smoke"], [
        *QUIET, *_places(folder), f"model.partial_pretrain={start_of(task, home)}", f"data.val_files={folder / 'val.parquet'}",
        f"trainer.total_training_steps={task['steps']}", f"trainer.test_freq={max(1, task['steps'] // VALIDATIONS)}",
        f"trainer.seed={seed}", f"optim.lr={task['lr']}", "optim.warmup_steps=10", "optim.weight_decay=0.1",
        "trainer.val_at_start=false",
    ])  # fmt: skip
    begin = time.monotonic()
    trained = training.fit(training.open_recipe(config, training.open_mesh(config)))
    trained.checkpoints.load(trained.model, None, trained.checkpoints.folder / "best")
    found: dict[str, Any] = {
        "val": trained.progress.best,
        "best_step": trained.progress.best_step,
        "train_loss": trained.last["train/loss"],
    }
    test = halved(parts["test"][seed])
    found |= {"test": by_class(test, differences(trained, test, folder)), "seconds": round(time.monotonic() - begin)}
    shutil.rmtree(folder)
    return found


def start_of(task: dict[str, Any], home: Path) -> Path:
    """The folder that an arm starts from; random weights are drawn anew for each seed."""
    if task["arm"] != "random":
        return home / "sft" / task["arm"] / "run" / "sft-final"
    place = home / "random" / str(task["seed"])
    return build_tiny(place, list(embedded_texts()), preset("chatml"), seed=task["seed"])


@torch.no_grad()
def differences(run: Run, pairs: list[Judged], folder: Path) -> np.ndarray:
    """(n,) score of chosen less that of rejected."""
    base = training.open_base(run.config, run.mesh)
    _write_pairs(folder / "test.parquet", pairs)
    rows: CandidateSet = tokenize_pairs(
        folder / "test.parquet", base.tokenizer, max_length=MAX_LENGTH, cache_dir=folder / "tokens", workers=1
    )
    assert len(rows) == len(pairs), "every test pair fits"
    run.model.eval()
    found = np.zeros(len(pairs))
    for batch in training.open_loader(run.config, rows, base, run.mesh, run.model, training=False).epoch():
        scores = raw_scores(run.model, batch, run.mesh, answers=2)[..., 0]  # type: ignore[arg-type]
        found[list(batch.rows)] = (scores[:, 0] - scores[:, 1]).numpy()
    return found


def by_class(pairs: list[Judged], difference: np.ndarray) -> dict[str, float]:
    """Accuracy over all pairs and over those of each class; equal scores count one half."""
    right = (difference > 0) + 0.5 * (difference == 0)
    found = {"all": float(right.mean())}
    for name in CLASSES:
        members = np.array([judged.of_class == name for judged in pairs])
        if not members.any():
            raise CookbookError(
                f"among {len(pairs)} test pairs none is of the class {name}: draw more with --held-out."
            )
        found[name] = float(right[members].mean())
    return found


# ----------------------------------------------------------------------------------------------------------- plumbing


def _places(folder: Path) -> list[str]:
    return [
        f"trainer.default_local_dir={folder / 'run'}",
        f"data.train_files={folder / 'train.parquet'}",
        f"data.cache_dir={folder / 'tokens'}",
    ]


def _write_conversations(path: Path, rows: list[Conversation]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ConversationWriter(path) as writer:
        for row in rows:
            writer.write(row)


def _write_pairs(path: Path, pairs: list[Judged]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pair_writer(path) as writer:
        for judged in pairs:
            writer.write(judged.pair)
