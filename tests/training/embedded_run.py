"""A whole run from a config, as notebook 20_sft sets it up, on the embedded model and a handful of embedded rows."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from cookbook_lib import training
from cookbook_lib.config import Config, load_config
from cookbook_lib.data.prepare import Job, prepare
from cookbook_lib.tracking.tracker import Tracker
from cookbook_lib.training.run import Run


@cache
def prepared(folder: Path, rows: int = 160) -> Path:
    """train.parquet and test.parquet of the embedded source."""
    prepare(Job("embedded", output=folder, limit=rows, test_ratio=0.2))
    return folder


def config_of(data: Path, save: Path, *overrides: str) -> Config:
    small = [
        "data.train_batch_size=8", "trainer.total_training_steps=6", "trainer.save_freq=2", "trainer.test_freq=3", "trainer.logger=[jsonl]",
        "trainer.async_save=false", f"data.cache_dir={data}/tokens",
    ]  # fmt: skip
    files = {"train_file": str(data / "train.parquet"), "val_file": str(data / "test.parquet"), "save_path": str(save)}
    return load_config("sft", ["smoke"], [*small, *overrides], environ={}, **files)


def run_of(config: Config, *, check: bool = False, by_hand: bool = False, watch: Sequence[Tracker] = ()) -> Run:
    """Ready for `fit`. check: self-test first; by_hand: look at one batch first, as the notebook does."""
    mesh = training.open_mesh(config)
    base = training.open_base(config, mesh)
    data = training.open_data(config, base, mesh)
    model = training.open_model(config, base, mesh)
    if check:
        training.self_test(model, mesh, config)
    objective, loader = training.SFT(), training.open_loader(config, data.train, base, mesh, model)
    if by_hand:
        objective(model, loader.step(0)[0])
    plan = training.open_plan(config, loader, data, mesh)
    return training.open_run(config, mesh, base, data, model, objective, loader, plan, watch)


def weights(run: Run) -> dict[str, torch.Tensor]:
    """Whole weights, by file name."""
    return {name: p.full_tensor().detach().clone() for name, p in run.model.hf.named_parameters()}
