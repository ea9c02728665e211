"""What a model is measured on where nobody names rows: those of the run that it belongs to, as the run read them."""

from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.hub import is_hub
from cookbook_lib.data.records import Conversation, read_conversations
from cookbook_lib.data.report import Report
from cookbook_lib.evaluation.checkpoints import Checkpoint, open_checkpoint
from cookbook_lib.evaluation.sft import Settings

PAIRED = ("bradley_terry",)  # recipes whose rows are pairs
PROMPTED = ("generative_pointwise", "generative_pairwise")  # recipes whose rows are prompts with known verdicts


def pair_files(model: str, key: str) -> list[str]:
    """data.val_files or data.train_files of the run of a model, if it is known, learned from pairs, and they are there."""
    return _files(model, key, PAIRED)


def task_files(model: str, key: str) -> list[str]:
    """The same of a run that learned from prompts with known verdicts."""
    return _files(model, key, PROMPTED)


def conversations(checkpoint: Checkpoint, files: list[str], *, limit: int, report: Report) -> list[Conversation]:
    """Held-out conversations, at most `limit` (-1: all), from the columns that the model's run read."""
    turns = checkpoint.section("data", "multiturn")
    columns = {"messages_key": turns.get("messages_key", "messages"), "tools_key": turns.get("tools_key")}
    return list(read_conversations(files, **columns, limit=limit, report=report))


def settings(checkpoint: Checkpoint, **given: Any) -> Settings:
    """How to measure a model that writes: its run's way to cut and to mask; `given` goes before it, where it is not None."""
    data = checkpoint.section("data")
    own = {key: data[key] for key in ("max_length", "truncation", "train_on") if key in data}
    return Settings(**own | {name: value for name, value in given.items() if value is not None})


def pair_columns(model: str) -> dict[str, str]:
    """What the columns of that run's pairs are called."""
    data = open_checkpoint(model).section("data")
    return {key: data[key] for key in ("prompt_key", "chosen_key", "rejected_key") if key in data}


def reading(model: str) -> dict[str, Any]:
    """How that run read its pairs: as_trained's options. Raises CookbookError where its config does not say."""
    checkpoint, keys = open_checkpoint(model), ("max_length", "truncation")
    data = checkpoint.section("data")
    if absent := [f"data.{key}" for key in keys if key not in data]:
        raise CookbookError(
            f"{checkpoint.run_file} has no {' and no '.join(absent)}; write it there, or give --pairs FILE"
        )
    return {key: data[key] for key in keys}


def _files(model: str, key: str, recipes: tuple[str, ...]) -> list[str]:
    checkpoint = open_checkpoint(model)
    files = checkpoint.files(key) if checkpoint.run.get("recipe") in recipes else []
    return files if all(is_hub(file) or Path(file).exists() for file in files) else []
