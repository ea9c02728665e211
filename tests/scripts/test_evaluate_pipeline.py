"""scripts/evaluate_pipeline.py: which files a model is measured on when none are named."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

PATH = Path(__file__).resolve().parents[2] / "scripts" / "evaluate_pipeline.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evaluate_pipeline", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_folder(folder: Path, recipe: str) -> Path:
    """A final model beside its run's config."""
    data = folder / "held_out.jsonl"
    data.write_text("{}\n")
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"recipe": recipe, "data": {"val_files": str(data), "chosen_key": "best"}})
    )
    model = folder / "final"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({}))
    return model


def test_only_a_run_on_pairs_has_pairs(script, tmp_path):
    for recipe, count in (("bradley_terry", 1), ("pointwise", 0), ("sft", 0)):
        (tmp_path / recipe).mkdir()
        assert len(script.pair_files(str(run_folder(tmp_path / recipe, recipe)), "val_files")) == count


def test_the_runs_own_columns_are_read(script, tmp_path):
    assert script.pair_columns(str(run_folder(tmp_path, "bradley_terry"))) == {"chosen_key": "best"}


def test_benchmarks_are_whole_unless_a_limit_is_given(script):
    unset, given = script.parser().parse_args([]), Namespace(limit=5)
    assert (script.limit_of(unset, script.ROWS), script.limit_of(unset, -1)) == (1000, -1)
    assert script.limit_of(given, -1) == 5
