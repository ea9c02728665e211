"""The arrows of docs/architecture.md: who may import whom, read off the sources with ast.

config    -> nothing of ours          training   -> data, models, parallel, tracking, config
data      -> config                   evaluation -> data, models, parallel, config
models    -> config                   tracking   -> config
parallel  -> config                   display    -> nothing of ours
                                      runtime    -> nothing of ours
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cookbook_lib.config.places import HOME

LIBRARY = HOME / "cookbook_lib"
MAY_IMPORT = {
    "config": set(),
    "data": {"config"},
    "models": {"config"},
    "parallel": {"config"},
    "training": {"data", "models", "parallel", "tracking", "config"},
    "evaluation": {"data", "models", "parallel", "config"},
    "tracking": {"config"},
    "display": set(),
    "runtime": set(),
}
# data is read and tested without torch; packed batches and stored token sets are where tensors begin.
TORCH_IN_DATA = {"packing.py", "loader.py", "completions.py"}
# Loading a model's files straight into shards needs to know what a shard is (DTensor), and nothing of who holds it.
MESHLESS = {
    "data": ("torch.distributed",),
    "models": ("torch.distributed.fsdp", "torch.distributed.device_mesh", "torch.distributed.tensor.parallel"),
}
NO_NOUN = {"utils", "common", "helpers", "helper", "misc", "util"}
LONGEST_FILE = 350

FILES = sorted(path for path in LIBRARY.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in the file; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*_package(path, node.level), *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _package(path: Path, level: int) -> list[str]:
    parts = ["cookbook_lib", *path.relative_to(LIBRARY).parts]
    return parts[: len(parts) - level] if level else []


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0]


def named(path: Path) -> str:
    return str(path.relative_to(HOME))


ROOMED = [path for path in FILES if path.parent != LIBRARY]


@pytest.mark.parametrize("path", ROOMED, ids=named)
def test_arrows(path):
    allowed = MAY_IMPORT[room(path)] | {room(path)}
    ours = [(line, name) for line, name in imports(path) if name.split(".")[0] == "cookbook_lib"]
    wrong = [f"{named(path)}:{line}: {name}" for line, name in ours if name.split(".")[1] not in allowed]
    assert wrong == [], f"{room(path)} may import {sorted(allowed)} only"


@pytest.mark.parametrize("path", [path for path in ROOMED if room(path) in MESHLESS], ids=named)
def test_data_and_models_know_nothing_of_meshes(path):
    forbidden = MESHLESS[room(path)]
    assert [name for _, name in imports(path) if name.startswith(forbidden)] == []


@pytest.mark.parametrize("path", [path for path in ROOMED if room(path) in ("data", "config", "display")], ids=named)
def test_torch_begins_where_batches_do(path):
    if room(path) == "data" and path.name in TORCH_IN_DATA:
        return
    assert [name for _, name in imports(path) if name.split(".")[0] == "torch"] == []


def test_nothing_imports_notebooks_scripts_or_tests():
    outer = {"scripts", "notebooks", "tests", "cookbook"}
    assert [(named(path), name) for path in FILES for _, name in imports(path) if name.split(".")[0] in outer] == []


def test_every_folder_is_a_known_room():
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(MAY_IMPORT)


def test_every_module_has_a_noun():
    assert [named(path) for path in FILES if path.stem.strip("_") in NO_NOUN] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_module_opens_with_what_it_is_for(path):
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_the_recipes_hold_no_python():
    assert list((HOME / "cookbook").rglob("*.py")) == []
