"""Every widget has a static twin with the same behaviour; the live one is tried in a kernel."""

import nbformat
from nbclient import NotebookClient

from cookbook_lib.display import Html, browse, stop_button

LIVE = """
from cookbook_lib.display import Html, browse, stop_button
asked = []
button = stop_button(lambda: asked.append(1))
button.button.click()
button.button.click()
browse(["a", "b"], lambda item: Html(f"<b>{item}</b>", item))
print(asked, button.pressed, button.button.disabled)
"""


def test_a_static_button_asks_once():
    asked = []
    button = stop_button(lambda: asked.append(1), headless=True)
    assert not button.pressed
    button.press()
    button.press()
    assert asked == [1]
    assert button.pressed


def test_headless_browsing_prints_the_first_few(capsys):
    browse(range(10), lambda item: Html("", f"item {item}"), headless=True, first=2)
    assert capsys.readouterr().out == "item 0\nitem 1\n… 8 more\n"


def test_browsing_nothing_shows_nothing(capsys):
    browse([], lambda item: Html("", str(item)))
    assert capsys.readouterr().out == ""


def test_the_live_widgets_behave_alike():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LIVE)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert [o["text"] for o in outputs if o["output_type"] == "stream"] == ["[1] True True\n"]
    widgets = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert len(widgets) == 2
