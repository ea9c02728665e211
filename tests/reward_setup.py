"""The first cells of the notebooks of reward models on one process, and files and folders to give them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cookbook_lib import training
from cookbook_lib.config import Config, load_config
from cookbook_lib.models.score_head import ScoreHead
from cookbook_lib.parallel.mesh import Mesh, leave_world, make_mesh
from cookbook_lib.training.builders import Base, Data
from tests.evaluation.reward_folders import reward_model

PAIR = {"prompt": "hi", "chosen": "yes", "rejected": "no"}
SCORED = {"prompt": "hi", "response": "yes", "score": 3}
ASKED, ANSWERED = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
World = tuple[Mesh, Base, Path]


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """A world of one process, the embedded model, and a reward model on it."""
    mesh = make_mesh(1, -1, "cpu")
    base = training.open_base(load_config("bradley_terry", ["smoke"], environ={}), mesh)
    yield mesh, base, reward_model(base.folder, folder / "bt-final", ScoreHead())
    leave_world()


@dataclass
class Setup:
    """What a test has at hand."""

    mesh: Mesh
    base: Base
    rewarding: Path  # a reward model's folder
    folder: Path
    files: list[Path] = field(default_factory=list)

    def file(self, *rows: Any) -> Path:
        path = self.folder / f"rows-{len(self.files)}.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        self.files.append(path)
        return path

    def table(self) -> Path:
        pd.DataFrame({"text": ["a"]}).to_parquet(self.folder / "text.parquet")
        return self.folder / "text.parquet"

    def copy(self, *gone: str, **changed: Any) -> Path:
        """The reward model without some files, under another config.json."""
        folder = self.folder / "copy"
        shutil.copytree(self.rewarding, folder)
        for pattern in gone:
            for path in folder.glob(pattern):
                path.unlink()
        config = json.loads((folder / "config.json").read_text()) | changed
        (folder / "config.json").write_text(json.dumps({name: v for name, v in config.items() if v is not None}))
        return folder

    def broken(self, text: str) -> Path:
        """The reward model with this for a config.json."""
        folder = self.copy()
        (folder / "config.json").write_text(text)
        return folder

    def config(self, recipe: str, *overrides: str) -> Config:
        always = [
            f"data.cache_dir={self.folder}/tokens",
            f"trainer.default_local_dir={self.folder}/run",
            "data.val_files=null",
        ]
        metric = ["trainer.best_metric=val/loss"] if recipe == "bradley_terry" else []
        return load_config(recipe, ["smoke"], [*always, *metric, *overrides], {})

    def pairs(self, file: Path, *overrides: str) -> Data:
        config = self.config("bradley_terry", f"data.train_files={file}", *overrides)
        return training.open_pairs(config, self.base, self.mesh)

    def scores(self, file: Path, *overrides: str) -> Data:
        config = self.config("pointwise", f"data.train_files={file}", *overrides)
        return training.open_scores(config, self.base, self.mesh)

    def model(self, recipe: str, folder: Path) -> Any:
        """The model cell, starting from `folder`."""
        row = SCORED if recipe == "pointwise" else PAIR
        config = self.config(recipe, f"data.train_files={self.file(row)}", f"model.partial_pretrain={folder}")
        base = training.open_base(config, self.mesh)
        if recipe == "sft":
            return training.open_model(config, base, self.mesh)
        data = (training.open_scores if recipe == "pointwise" else training.open_pairs)(config, base, self.mesh)
        return training.open_score_model(config, base, self.mesh, data)

    def run(self, *overrides: str) -> Any:
        file = self.file(*({**PAIR, "prompt": f"question {n}"} for n in range(20)))
        return training.open_recipe(self.config("bradley_terry", f"data.train_files={file}", *overrides), self.mesh)
