"""A reward model's run from a config, as its notebook sets it up, on the embedded model and rows that a few steps can learn."""

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cookbook_lib import training
from cookbook_lib.config import Config, load_config
from cookbook_lib.training.run import Run

FILLER = ["the", "of", "is", "what", "door", "box", "owl", "fox", "hen", "Ada"]


def rows(recipe: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """The better answer says teal; the score of an answer is how often it does. Some prompts have several turns."""
    draw = random.Random(seed)

    def words(most: int, also: str = "") -> str:
        chosen = draw.choices(FILLER, k=draw.randint(2, most)) + also.split()
        return " ".join(draw.sample(chosen, len(chosen)))

    for number in range(count):
        prompt: Any = words(30)
        if number % 3 == 0:
            turns = (("user", words(9)), ("assistant", words(9)), ("user", words(9)))
            prompt = [{"role": role, "content": content} for role, content in turns]
        if recipe == "bradley_terry":
            answers = {"chosen": words(12, "teal"), "rejected": words(12, "plum")}
            yield {"prompt": prompt, **answers, "margin": None if number % 2 else 2.0, "tie": number % 8 == 7}
        else:
            teal = number % 5
            known = {"score": float(teal), "tone": None if number % 4 else 4.0 - teal}
            yield {"prompt": prompt, "response": words(9, "teal " * teal), **known}


@cache
def prepared(folder: Path, recipe: str = "bradley_terry") -> Path:
    """train.jsonl and test.jsonl."""
    for name, count, seed in (("train", 96, 0), ("test", 40, 1)):
        text = "".join(json.dumps(row) + "\n" for row in rows(recipe, count, seed))
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def config_of(data: Path, save: Path, *overrides: str, recipe: str = "bradley_terry") -> Config:
    small = [
        "data.train_batch_size=16", "trainer.total_training_steps=6", "trainer.save_freq=2", "trainer.test_freq=3",
        "trainer.logger=[jsonl]", "optim.lr=1e-3", "trainer.async_save=false", f"data.cache_dir={data}/tokens",
    ]  # fmt: skip
    files = {"train_file": str(data / "train.jsonl"), "val_file": str(data / "test.jsonl"), "save_path": str(save)}
    return load_config(recipe, ["smoke"], [*small, *overrides], environ={}, **files)


def run_of(config: Config) -> Run:
    return training.open_recipe(config, training.open_mesh(config))


def plain_logits(folder: Path, run: Run, rows: list[int]) -> torch.Tensor:
    """(rows x answers, L): validation rows as padded batches through plain transformers, all that a user would write."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert run.val_loader is not None
    examples = run.val_loader.examples.shared(False)
    documents = [rest.tolist() for row in rows for rest in examples[row].rests]
    batch = tokenizer.pad({"input_ids": documents}, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits
