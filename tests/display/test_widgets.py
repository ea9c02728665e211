"""Every widget has a static twin with the same behaviour; the live one is tried in a kernel."""

import sys
from types import SimpleNamespace

import nbformat
from nbclient import NotebookClient

from cookbook_lib.display import Html, browse, length_histogram, stop_button
from cookbook_lib.display.widgets import _first_few

LIVE = """
from cookbook_lib.display import Html, browse, stop_button
browse(["a", "b"], lambda item: Html(f"<b>{item}</b>", item))
stop_button()
"""


def test_headless_browsing_prints_the_first_few(capsys):
    browse(range(10), lambda item: Html("", f"item {item}"), headless=True, first=2)
    assert capsys.readouterr().out == "item 0\nitem 1\n… 8 more\n"


def test_pictures_can_be_browsed(capsys):
    browse([[3, 4], [5]], length_histogram, headless=True)
    assert capsys.readouterr().out.count("Tokens per conversation") == 2
    page = _first_few([[3, 4]], length_histogram, 1).html
    assert page.startswith('<img src="data:image/png;base64,')


def test_browsing_nothing_shows_nothing(capsys):
    browse([], lambda item: Html("", str(item)))
    assert capsys.readouterr().out == ""


def test_the_slider_has_a_still_twin_and_nobody_can_press_without_a_server():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LIVE)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    [slider] = notebook.cells[0].outputs  # and no button
    assert "application/vnd.jupyter.widget-view+json" in slider["data"]
    assert slider["data"]["text/plain"] == "a\nb"  # what a viewer without widgets shows
    assert slider["data"]["text/html"] == "<b>a</b><b>b</b>"


def test_the_button_asks_for_this_kernel_alone(monkeypatch):
    kernel = SimpleNamespace(parent=SimpleNamespace(connection_file="/run/kernel-1b2c.json"))
    shell = SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    page = stop_button("Stop & save").html
    assert "&quot;1b2c&quot; + &#x27;/interrupt&#x27;" in page
    assert "Stop &amp; save" in page
    kernel.parent = None  # another rank of a world
    assert stop_button() is None
