"""`model.partial_pretrain: tiny` is the embedded model: built on first use from the embedded texts, then a folder like any other.

`tiny-judge` is that model after a short SFT on embedded judgements (embedded_judge.py), made on first use as well.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.registry import Options
from cookbook_lib.data.synthetic import embedded_texts
from cookbook_lib.data.templates import preset
from cookbook_lib.models.loading import find_model
from cookbook_lib.models.tiny import build_tiny

TINY = "tiny"
VERSION = "1"  # a new one when tokenizer or shape change

TINY_JUDGE = "tiny-judge"
JUDGE_VERSION = "2"  # a new one when its data or training change; the wording of judgements is in the tokenizer's texts
JUDGE_DATA: dict[str, Any] = {"limit": 6000, "seed": 7, "options": Options(orders="both")}
JUDGE_STEPS = ["data.train_batch_size=16", "trainer.total_training_steps=500"]
WORLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def cache_folder() -> Path:
    """Where what is built on first use lives: $COOKBOOK_CACHE, else the user's cache folder."""
    base = os.environ.get("COOKBOOK_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "reward-model-cookbook"
    )
    return Path(base).expanduser()


def resolve_model(name: str) -> Path:
    """The folder of a model: `tiny`, `tiny-judge`, a folder, or a hub name."""
    if name == TINY_JUDGE:
        return judge_folder()
    return tiny_folder() if name == TINY else find_model(name)


def tiny_folder() -> Path:
    texts = list(embedded_texts())
    template = preset("chatml")
    return build_tiny(cache_folder() / f"tiny-{_digest(VERSION, template, *texts)}", texts, template)


def judge_folder() -> Path:
    """Where the embedded judge lies; trained first, in a process of its own, where it is not there.

    Its own, because whoever asks may be one of many ranks, and the others do not take part.
    """
    base = tiny_folder()
    folder = base.with_name(f"tiny-judge-{_digest(base.name, JUDGE_VERSION, repr((JUDGE_DATA, JUDGE_STEPS)))}")
    if not (folder / "config.json").is_file():
        print("tiny-judge: the embedded model learns to judge first, once, in some minutes", flush=True)
        alone = {name: value for name, value in os.environ.items() if name not in WORLD}
        command = [sys.executable, "-m", "cookbook_lib.training.embedded_judge", str(folder)]
        done = subprocess.run(command, env=alone, capture_output=True, text=True)
        if done.returncode:
            raise CookbookError(f"the embedded judge could not be made: {done.stderr.strip()[-2000:]}")
    return folder


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
