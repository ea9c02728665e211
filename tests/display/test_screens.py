"""Live views in a saved notebook, in a terminal and on other ranks."""

import inspect
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from cookbook_lib.display import screens

CELL = """
from cookbook_lib.display import LiveCurves, LiveProgress
progress, curves = LiveProgress(30, "sft"), LiveCurves("sft")
other = LiveProgress(30, "other rank", is_main=False)
for step in range(1, 31):
    for tracker in (progress, curves, other):
        tracker.log(step, {"train/loss": 3 / step})
for tracker in (progress, curves, other):
    tracker.finish()
"""


@pytest.fixture(scope="module")
def outputs():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return notebook.cells[0].outputs


def test_a_headless_copy_ends_with_the_last_state(outputs):
    bar, figure = outputs
    assert "30/30 steps · loss 0.1" in bar["data"]["text/plain"]
    assert "width:100.0%" in bar["data"]["text/html"]
    assert figure["data"]["text/plain"] == "sft · step 30 · loss 0.1"
    assert "image/png" in figure["data"]


def test_one_output_per_view_and_none_for_other_ranks(outputs):
    assert [output["output_type"] for output in outputs] == ["display_data", "display_data"]
    assert not any("other rank" in str(output) for output in outputs)


def test_a_cell_that_is_run_again_shows_the_view_again():
    """JupyterLab clears a cell's output when it is run; an update of the cleared one would go nowhere."""
    first = "from cookbook_lib.display import LiveCurves\ncurves = LiveCurves('sft')\nwith curves:\n    curves.log(1, {'train/loss': 3.0})"
    again = "with curves:\n    curves.log(2, {'train/loss': 2.0})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (first, again)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = [[output["data"]["text/plain"] for output in cell.outputs] for cell in notebook.cells]
    assert shown == [["sft · step 1 · loss 3"], ["sft · step 2 · loss 2"]]


@pytest.mark.parametrize("twin", [screens.TerminalScreen, screens.NullScreen])
def test_every_screen_has_the_same_methods(twin):
    for name in ("show", "save"):
        assert inspect.signature(getattr(twin, name)) == inspect.signature(getattr(screens.NotebookScreen, name))


def test_outside_a_kernel_the_screen_is_the_terminal(monkeypatch):
    assert isinstance(screens.open_screen(), screens.TerminalScreen)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not screens.in_notebook()
    assert isinstance(screens.open_screen(is_main=False), screens.NullScreen)
