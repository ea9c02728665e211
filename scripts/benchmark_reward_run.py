"""One run of scripts/benchmark_reward.py, in a process of its own: train a few steps on one side, print the figures as JSON.

python scripts/benchmark_reward_run.py "ours, bf16" FOLDER 4         FOLDER: model/ and train.jsonl, the same for all
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_sft_run import Steps, Watch, peak_memory, reset_peak_memory

BATCH, MICRO_BATCH, MAX_LENGTH = 16, 8, 2048  # pairs of a step, of a padded forward; tokens of a prompt with an answer
PACKED_TOKENS = 8192  # of a packed forward, at most

# TRL's own defaults stand where nothing is given; gradient checkpointing is one of them.
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "TRL, its defaults": ("trl", {}),
    "TRL, bf16, no checkpointing": ("trl", {"gradient_checkpointing": False}),
    "TRL, fp32, no checkpointing": ("trl", {"bf16": False, "gradient_checkpointing": False}),
    "ours, unshared, bf16": ("ours", {"model_dtype": "bf16", "share_prompts": False}),
    "ours, bf16": ("ours", {"model_dtype": "bf16", "share_prompts": True}),
    "ours, unshared, fp32": ("ours", {"model_dtype": "fp32", "share_prompts": False}),
    "ours, fp32": ("ours", {"model_dtype": "fp32", "share_prompts": True}),
}

# What RewardConfig and the Trainer below it do by default: the losses are then the same on both sides, up to rounding.
AS_TRL = (
    "optim.lr=1e-4",
    "optim.betas=[0.9,0.999]",
    "optim.weight_decay=0",
    "optim.lr_scheduler=linear",
    "optim.warmup_steps=0",
)


def run_one(name: str, folder: Path, steps: int) -> dict[str, float]:
    """In a fresh process: train warm-up and timed steps, measure."""
    side, options = CONTESTANTS[name]
    return (run_trl if side == "trl" else run_ours)(folder, steps, options)


def result(found: Steps, baseline: int, parameters: int, loss: float) -> dict[str, float]:
    seconds, busy = found.seconds()
    timed = len(found.ends) - found.warm_up
    return {
        "pairs_per_second": BATCH * timed / seconds,
        "pairs_per_cpu_second": BATCH * timed / busy,
        "step_seconds": seconds / timed,
        "peak_mib": peak_memory() / 2**20,
        "above_baseline_mib": (peak_memory() - baseline) / 2**20,
        "parameters": parameters,
        "loss": loss,
    }


def run_ours(folder: Path, steps: int, options: Mapping[str, Any]) -> dict[str, float]:
    """The recipe's own road: config, mesh, data, model, FSDP2, loop."""
    from cookbook_lib import training
    from cookbook_lib.config import load_config

    found = Steps()
    config = load_config(
        "bradley_terry",
        overrides=[
            f"model.partial_pretrain={folder / 'model'}",
            "model.enable_gradient_checkpointing=false",
            f"model.fsdp_config.model_dtype={options['model_dtype']}",
            f"data.train_files={folder / 'train.jsonl'}",
            "data.val_files=null",
            f"data.train_batch_size={BATCH}",
            f"data.micro_batch_size={PACKED_TOKENS // MAX_LENGTH}",
            f"data.max_length={MAX_LENGTH}",
            f"data.share_prompts={str(options['share_prompts']).lower()}",
            "data.shuffle=false",
            f"data.cache_dir={folder / 'tokens'}",
            f"trainer.default_local_dir={folder / 'run'}",
            f"trainer.total_training_steps={found.warm_up + steps}",
            *AS_TRL,
            "trainer.resume_mode=disable",
            "trainer.best_metric=val/loss",
            "trainer.logger=[]",
            "trainer.save_freq=-1",
            "trainer.test_freq=-1",
            "trainer.device=cpu",
        ],
    )
    watch = Watch(found)
    run = training.open_recipe(config, training.open_mesh(config), watch=[watch])
    baseline = reset_peak_memory()
    training.fit(run)
    return result(found, baseline, sum(p.numel() for p in run.model.parameters()), watch.loss)


def run_trl(folder: Path, steps: int, options: dict[str, Any]) -> dict[str, float]:
    """RewardTrainer as its documentation uses it, on the same pairs in the same order."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    disable_progress_bars()
    found = Steps()
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", dtype=torch.float32)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=str(folder / "trl"),
            max_steps=found.warm_up + steps,
            max_length=MAX_LENGTH,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=BATCH // MICRO_BATCH,
            train_sampling_strategy="sequential",
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            **options,
        ),
        train_dataset=Dataset.from_list(conversations(folder / "train.jsonl")),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            found.tick()

    trainer.add_callback(Clock())
    baseline = reset_peak_memory()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return result(found, baseline, model.num_parameters(), losses[-1])


def conversations(file: Path) -> list[dict[str, Any]]:
    """Pairs as TRL wants conversations: answers are lists of messages, too."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    names = ("chosen", "rejected")
    return [row | {name: [{"role": "assistant", "content": row[name]}] for name in names} for row in rows]


if __name__ == "__main__":
    print(json.dumps(run_one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
