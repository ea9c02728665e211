"""`model.partial_pretrain: tiny-judge` is the embedded model after a short SFT on embedded judgements.

    tiny ─▶ SFT on verdicts with critiques, of scores and of preferences ─▶ a judge that is often wrong, in the right form

Reinforcement learning needs somebody who sometimes succeeds, and a fault that its reward can see: the judge's teachers were in a
hurry, and mostly overlooked what is wrong in form alone (data/synthetic.py). A rehearsal of it begins here. Made once, by one process,
then a folder like any other. `embedded.resolve_model` runs this module where the folder is missing:

    python -m cookbook_lib.training.embedded_judge FOLDER
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cookbook_lib.config import load_config
from cookbook_lib.data.prepare import Job, prepare
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.embedded import JUDGE_DATA, JUDGE_STEPS
from cookbook_lib.training.loop import fit
from cookbook_lib.training.recipes import open_recipe

QUIETLY = ["trainer.logger=[jsonl]", "trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.val_at_start=false"]
QUIETLY += ["data.val_max_samples=64", "data.num_workers=1"]  # to start more processes takes longer than the work


def make_judge(folder: Path, data: Mapping[str, Any] = JUDGE_DATA, steps: Sequence[str] = tuple(JUDGE_STEPS)) -> None:
    """Write the judge to `folder`, all or nothing. data: options of the preparation; steps: overrides of the SFT recipe."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".judge-") as scratch:
        final = _trained(Path(scratch), data, steps)
        try:
            final.replace(folder)
        except OSError:
            if not (folder / "config.json").is_file():
                raise  # else somebody else made it first: theirs is the same


def _trained(scratch: Path, data: Mapping[str, Any], steps: Sequence[str]) -> Path:
    prepare(Job("embedded-hasty", output=scratch / "data", converter="judge", **data))
    files = {"train_file": str(scratch / "data/train.parquet"), "val_file": str(scratch / "data/test.parquet")}
    quiet = [*steps, *QUIETLY, f"data.cache_dir={scratch}/tokens"]
    config = load_config("sft", ["smoke"], quiet, environ={}, **files, save_path=str(scratch / "run"))
    fit(open_recipe(config, make_mesh(device="cpu")))
    return scratch / "run" / config.trainer.final_name


if __name__ == "__main__":
    make_judge(Path(sys.argv[1]))
