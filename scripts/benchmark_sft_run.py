"""One run of scripts/benchmark_sft.py, in a process of its own: train a few steps on one side, print the figures as JSON.

python scripts/benchmark_sft_run.py "ours, bf16" FOLDER 4         FOLDER: model/ and train.jsonl, the same for all
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH, MICRO_BATCH, MAX_LENGTH = 16, 8, 1024

# TRL's own defaults stand where nothing is given; gradient checkpointing is one of them.
PADDED = {"per_device_train_batch_size": MICRO_BATCH, "gradient_accumulation_steps": BATCH // MICRO_BATCH}
PACKED = {"per_device_train_batch_size": 3, "packing": True}
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "TRL padded, its defaults": ("trl", PADDED),
    "TRL padded, fp32, no checkpointing": ("trl", {**PADDED, "bf16": False, "gradient_checkpointing": False}),
    "TRL packing, bf16": ("trl", {**PACKED, "bf16": True, "gradient_checkpointing": False}),
    "TRL packing, fp32": ("trl", {**PACKED, "bf16": False, "gradient_checkpointing": False}),
    "ours, bf16": ("ours", {"model_dtype": "bf16"}),
    "ours, fp32": ("ours", {"model_dtype": "fp32"}),
}


@dataclass
class Steps:
    """What the timed steps did, filled in while they run."""

    warm_up: int = 1
    ends: list[tuple[float, float]] = field(default_factory=list)  # of each step: wall clock, processor time
    tokens: list[int] = field(default_factory=list)  # of each step
    flops: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """A step has ended."""
        self.ends.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> tuple[float, float]:
        """Of the timed steps together: wall clock, processor time."""
        seconds, busy = (end - begin for end, begin in zip(self.ends[-1], self.ends[self.warm_up - 1], strict=True))
        return seconds, busy

    def result(self, rate: float, baseline: int, parameters: int, loss: float) -> dict[str, float]:
        seconds, busy = self.seconds()
        timed = slice(self.warm_up, len(self.ends))
        return {
            "tokens_per_second": sum(self.tokens[timed]) / seconds,
            "tokens_per_cpu_second": sum(self.tokens[timed]) / busy,
            "mfu": sum(self.flops[timed]) / seconds / rate,
            "matmul_gflops": rate / 1e9,
            "peak_mib": peak_memory() / 2**20,
            "above_baseline_mib": (peak_memory() - baseline) / 2**20,
            "step_seconds": seconds / (len(self.ends) - self.warm_up),
            "tokens": sum(self.tokens[timed]),
            "parameters": parameters,
            "loss": loss,
        }


# ---------------------------------------------------------------------------------------------- one run of either side


def run_one(name: str, folder: Path, steps: int) -> dict[str, float]:
    """In a fresh process: train warm-up and timed steps, measure."""
    side, options = CONTESTANTS[name]
    return (run_trl if side == "trl" else run_ours)(folder, steps, options)


def run_ours(folder: Path, steps: int, options: Mapping[str, Any]) -> dict[str, float]:
    """The recipe's own road: config, mesh, data, model, FSDP2, loop."""
    import torch

    from cookbook_lib import training
    from cookbook_lib.config import load_config
    from cookbook_lib.models.flops import Flops, matmul_rate

    found = Steps()
    config = load_config(
        "sft",
        overrides=[
            f"model.partial_pretrain={folder / 'model'}",
            "model.enable_gradient_checkpointing=false",
            f"model.fsdp_config.model_dtype={options['model_dtype']}",
            f"data.train_files={folder / 'train.jsonl'}",
            "data.val_files=null",
            f"data.train_batch_size={BATCH}",
            f"data.micro_batch_size={MICRO_BATCH}",
            f"data.max_length={MAX_LENGTH}",
            f"data.cache_dir={folder / 'tokens'}",
            f"trainer.default_local_dir={folder / 'run'}",
            f"trainer.total_training_steps={found.warm_up + steps}",
            "trainer.resume_mode=disable",
            "trainer.logger=[]",
            "trainer.val_at_start=false",
            "trainer.save_freq=-1",
            "trainer.test_freq=-1",
            "trainer.device=cpu",
        ],
    )
    mesh = training.open_mesh(config)
    base = training.open_base(config, mesh)
    data = training.open_data(config, base, mesh)
    model = training.open_model(config, base, mesh)
    loader = training.open_loader(config, data.train, base, mesh, model)
    flops = Flops.of(model)
    for step in range(found.warm_up + steps):
        batches = loader.step(step)
        lengths = [n for batch in batches for n in batch.lengths]
        found.tokens.append(sum(lengths))
        found.flops.append(flops.training(lengths, sum(int((batch.labels >= 0).sum()) for batch in batches)))
    plan = training.open_plan(config, loader, data, mesh)
    watch = Watch(found)
    run = training.open_run(config, mesh, base, data, model, training.SFT(), loader, plan, watch=[watch])
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[options["model_dtype"]]
    rate, baseline = matmul_rate(mesh.device, dtype), reset_peak_memory()
    training.fit(run)
    rate = max(rate, matmul_rate(mesh.device, dtype))
    return found.result(rate, baseline, sum(p.numel() for p in model.parameters()), watch.loss)


class Watch:
    """A tracker that only looks at the clock."""

    def __init__(self, found: Steps) -> None:
        self.found, self.loss = found, float("nan")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if "train/loss" in metrics:
            self.found.tick()
            self.loss = metrics["train/loss"]

    def finish(self) -> None:
        pass


def run_trl(folder: Path, steps: int, options: dict[str, Any]) -> dict[str, float]:
    """SFTTrainer as its documentation uses it, on the same rows, learning the assistant's tokens alone."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from cookbook_lib.models.attention import varlen_attention
    from cookbook_lib.models.flops import Flops, matmul_rate
    from cookbook_lib.models.heads import PackedModel

    disable_progress_bars()
    found = Steps()
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    flops = Flops.of(PackedModel(model, varlen_attention))
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        max_steps=found.warm_up + steps,
        max_length=MAX_LENGTH,
        assistant_only_loss=True,
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        report_to="none",
        **options,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            found.tick()

    counted = counting(trainer.data_collator, flops)
    trainer.data_collator = counted.collate
    trainer.add_callback(Clock())
    dtype = torch.bfloat16 if arguments.bf16 else torch.float32
    rate, baseline = matmul_rate(torch.device("cpu"), dtype), reset_peak_memory()
    trainer.train()
    each = arguments.gradient_accumulation_steps
    for first in range(0, each * (found.warm_up + steps), each):
        found.tokens.append(sum(counted.tokens[first : first + each]))
        found.flops.append(sum(counted.flops[first : first + each]))
    rate = max(rate, matmul_rate(torch.device("cpu"), dtype))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return found.result(rate, baseline, model.num_parameters(), losses[-1])


@dataclass
class counting:
    """A collator that counts what it collates: tokens of documents, and the arithmetic that they need."""

    collator: Callable[[list[dict[str, Any]]], dict[str, Any]]
    model_flops: Any
    tokens: list[int] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [n for f in features for n in f.get("seq_lengths", [len(f["input_ids"])])]
        batch = self.collator(features)
        self.tokens.append(sum(lengths))
        self.flops.append(self.model_flops.training(lengths, int((batch["labels"] >= 0).sum())))
        return batch


def reset_peak_memory() -> int:
    """Forget the highest resident set so far (Linux), so that making the data does not count; bytes resident now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Highest resident set, bytes."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(run_one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
