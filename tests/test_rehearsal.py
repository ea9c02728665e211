"""The printed commands one after another, as a reader without a GPU types them: SFT, what begins with it, evaluation.

In a copy of the project, so that nothing of a person's own is touched; two steps each, everything else as it stands.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from cookbook_lib.config.places import HOME
from cookbook_lib.tracking.jsonl import read_metrics

SHORT = "trainer.total_training_steps=2 data.train_max_samples=64 data.val_max_samples=16"
FROM_SFT = "MODEL_PATH=../sft/checkpoints/sft-final"
GENERATED = shutil.ignore_patterns("checkpoints", "data", "__pycache__")


class Reader:
    """Somebody at a shell in the copy."""

    def __init__(self, folder: Path) -> None:
        self.cookbook = folder / "project/cookbook"
        shutil.copytree(HOME / "cookbook", self.cookbook, ignore=GENERATED)
        shutil.copytree(
            HOME / "cookbook_lib", folder / "project/cookbook_lib", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("scripts", "notebooks", "docs"):
            shutil.copytree(HOME / name, folder / "project" / name, ignore=GENERATED)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COOKBOOK_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder / "project"), "CUDA_VISIBLE_DEVICES": ""}
        self.environ = kept | own

    def types(self, recipe: str, line: str) -> str:
        """What is printed by a line that is typed in a recipe's folder."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.cookbook / recipe,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout

    def left(self, recipe: str, final: str) -> tuple[Path, dict]:
        """The final model's folder, and what it says of its origin; the run's two steps are in its metrics."""
        folder = self.cookbook / recipe / "checkpoints"
        assert {row["step"] for row in read_metrics(folder / "metrics.jsonl") if "train/loss" in row} == {1, 2}
        return folder / final, json.loads((folder / final / "cookbook.json").read_text())


@pytest.mark.slow
def test_the_printed_commands_one_after_another(tmp_path):
    reader = Reader(tmp_path)

    said = reader.types("sft", f"bash sft_rm.sh {SHORT}")
    assert "a rehearsal with the embedded tiny model" in said
    tuned, origin = reader.left("sft", "sft-final")
    assert origin["recipe"] == "sft"
    assert AutoModelForCausalLM.from_pretrained(tuned).config.num_hidden_layers

    for recipe, line, final in (
        ("bradley_terry", "bash run_bt.sh", "bt-final"),
        ("pointwise", "bash run_pointwise.sh", "pointwise-final"),
    ):
        said = reader.types(recipe, f"{FROM_SFT} {line} {SHORT}")
        assert "MODEL_PATH is a rehearsal's outcome: the rehearsal goes on" in said
        folder, origin = reader.left(recipe, final)
        assert (origin["recipe"], origin["base"]) == (recipe, str(tuned))
        assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 1
        assert (folder.parent / "run.ipynb").is_file()

    for recipe, line, final in (
        ("dpo", f"{FROM_SFT} bash run_dpo.sh", "dpo-final"),
        ("generative/pointwise", f"{FROM_SFT.replace('../', '../../')} bash run_pointwise.sh", "judge-final"),
    ):
        said = reader.types(recipe, f"{line} {SHORT} data.train_batch_size=8")
        assert "MODEL_PATH is a rehearsal's outcome: the rehearsal goes on" in said
        folder, origin = reader.left(recipe, final)
        assert (origin["recipe"], origin["base"]) == (recipe.replace("/", "_"), str(tuned))
        assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers
        assert (folder.parent / "run.ipynb").is_file()

    models = "--sft-model ../sft/checkpoints/sft-final --reward-model ./checkpoints/bt-final"
    said = reader.types("bradley_terry", f"python ../../scripts/evaluate_pipeline.py {models} --limit 12")
    assert "../sft/checkpoints/sft-final: held-out conversations" in said
    assert "bt-final: held-out pairs" in said
    assert "bag of words" in said
