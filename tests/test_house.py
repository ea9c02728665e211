"""Habits of the house that a test can hold: notebooks that read as stories, shell that parses, one error for everybody."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from cookbook_lib.config.places import HOME
from scripts.clean_notebooks import cleaned

NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))
MOST_LINES, MOST_CELLS = 8, 15

each_notebook = pytest.mark.parametrize(
    "path",
    NOTEBOOKS or [pytest.param(None, marks=pytest.mark.skip("notebooks/ has none"))],
    ids=lambda path: path.stem if path else "none",
)


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tree(cell: dict) -> ast.Module:
    return ast.parse(TransformerManager().transform_cell(source(cell)))


def is_parameters(cell: dict) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


@each_notebook
def test_notebook_is_clean(path):
    assert path.read_text() == cleaned(path.read_text()), "run scripts/clean_notebooks.py"


@each_notebook
def test_notebook_opens_with_a_title(path):
    first = json.loads(path.read_text())["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")


@each_notebook
def test_notebook_has_one_parameters_cell_and_it_comes_first(path):
    assert [cell["id"] for cell in cells(path) if is_parameters(cell)] == [cells(path)[0]["id"]]


@each_notebook
def test_parameters_are_literals_with_a_type_and_help(path):
    cell = cells(path)[0]
    helped = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source(cell)).readline)
        if token.type == tokenize.COMMENT and len(token.string) > 3
    }
    for node in tree(cell).body:
        assert isinstance(node, ast.AnnAssign), f"{ast.unparse(node)}: write it as name: type = value  # help"
        assert node.value is not None
        ast.literal_eval(node.value)
        assert node.end_lineno in helped, f"{ast.unparse(node)}: its help comment is missing"


@each_notebook
def test_defaults_name_no_place_by_where_a_run_starts(path):
    """JupyterLab starts in notebooks/, `cookbook run` where it was called: None, against HOME, is the same place in both."""
    values = [ast.literal_eval(node.value) for node in tree(cells(path)[0]).body]
    assert [value for value in values if isinstance(value, str) and value.startswith(".")] == []


@each_notebook
def test_notebook_cells_are_thin(path):
    code = [cell for cell in cells(path) if not is_parameters(cell)]
    lines = {cell["id"]: len([line for line in source(cell).splitlines() if line.strip()]) for cell in code}
    assert {name: count for name, count in lines.items() if not 1 <= count <= MOST_LINES} == {}
    assert len(code) <= MOST_CELLS


@each_notebook
def test_notebook_has_nothing_answered_before_its_run_is_open(path):
    """open_run refuses another start; its answers would have replaced those of the run whose folder it is."""
    code = "\n".join(map(source, cells(path)))
    if "open_rollouts(" in code:
        assert not re.search(r"\.(step|epoch|next_forward)\(", code[: code.index("open_run(")])


@each_notebook
def test_notebook_defines_nothing(path):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [cell["id"] for cell in cells(path) for node in ast.walk(tree(cell)) if isinstance(node, definitions)]
    assert found == []


@each_notebook
def test_notebook_says_nothing_of_ranks(path):
    assert [cell["id"] for cell in cells(path) if re.search(r"\b(local_|world_)?rank\b", source(cell))] == []


@each_notebook
def test_notebook_has_no_paths_of_one_machine(path):
    absolute = re.compile(r"""['"(](/(?!/)[\w.-]+/|~/|[A-Za-z]:\\)""")
    both = cells(path) + cells(path, "markdown")
    assert [cell["id"] for cell in both if absolute.search(source(cell))] == []


def shell_files() -> list[Path]:
    known = [HOME / "scripts" / name for name in ("setup", "test", "check")]
    return sorted(
        [*(HOME / "cookbook").rglob("*.sh"), *(HOME / "cookbook").rglob("*.sbatch"), HOME / ".ci/run", *known]
    )


@pytest.mark.parametrize("path", shell_files(), ids=lambda path: path.name)
def test_shell_parses_and_lints(path):
    subprocess.run(["bash", "-n", path], check=True)
    found = subprocess.run([Path(sys.executable).with_name("shellcheck"), "-x", path], capture_output=True, text=True)
    assert found.stdout == ""
    assert found.returncode == 0


def test_every_script_says_what_it_is_for():
    scripts = sorted((HOME / "scripts").glob("*.py"))
    assert [path.name for path in scripts if not ast.get_docstring(ast.parse(path.read_text()))] == []
