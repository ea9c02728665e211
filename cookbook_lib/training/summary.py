"""What a run came to, in a dozen numbers: printed at the end of its notebook, and read by whoever started it."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.training.run import Run

NAME = "summary.json"


def write_summary(run: Run, compared: Any = None) -> dict[str, Any]:
    """Gather the run's summary, and write it to summary.json in its folder. `compared`: rows of a comparison with the base."""
    folder = run.checkpoints.folder
    rows = read_metrics(folder / "metrics.jsonl") if run.mesh.is_main else []
    validations = [row for row in rows if row.get("val/loss") is not None]
    val = [row["val/loss"] for row in validations]
    speed = [row["train/tokens_per_second"] for row in rows if row.get("train/tokens_per_second")]
    summary = {
        "steps": run.progress.step,
        "val_loss_before": val[0] if val else None,
        "val_loss_after": val[-1] if val else None,
        "validation_before": _validation(validations[0]) if validations else None,
        "validation_after": _validation(validations[-1]) if validations else None,
        "best_step": run.progress.best_step,
        "tokens_per_second": round(median(speed)) if speed else None,
        "skipped_steps": run.progress.skipped,
        "processes": run.mesh.world_size,
        "final_model": str(folder / run.config.trainer.final_name),
        "curve": str(folder / f"{run.config.recipe}_train.png"),
        "metrics": str(folder / "metrics.jsonl"),
        "compared": compared,
    }
    if run.mesh.is_main:
        _write(folder / NAME, summary)
    return summary


def _validation(row: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}


def _write(path: Path, summary: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
