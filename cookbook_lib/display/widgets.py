"""Things to click, each with a static twin for runs that nobody watches.

    browse(items, render)     a slider over items; headless, and in viewers without widgets: the first few, one under the other
    stop_button()             interrupts the kernel from the page: `fit` ends after the step; headless: nothing to press

A widget's message waits for the end of the running cell (JupyterLab 4.6 with ipykernel 7.4, tried), so a widget cannot stop
a training cell. The button therefore asks the Jupyter server, as JupyterLab's own stop button does, and works during a cell
and on every kernel. On a multi-rank kernel widgets are made on every rank alike: nothing here asks for a rank.
"""

import html
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cookbook_lib.display.screens import in_notebook
from cookbook_lib.display.style import HAIRLINE, SANS
from cookbook_lib.display.views import Html, View

# The page knows where its server is and how to speak to it (token or cookie); the kernel knows only its own id.
INTERRUPT = """
const page = JSON.parse(document.getElementById('jupyter-config-data').textContent);
const xsrf = (document.cookie.match(/_xsrf=([^;]+)/) || [])[1] || '';
const headers = {'X-XSRFToken': xsrf, ...(page.token ? {Authorization: 'token ' + page.token} : {})};
const label = this.textContent;
const again = () => { this.disabled = false; this.textContent = label; };
fetch(page.baseUrl + 'api/kernels/' + KERNEL + '/interrupt', {method: 'POST', headers})
  .then(reply => { this.textContent = reply.ok ? 'Stopping' : 'Not running'; this.disabled = true; setTimeout(again, 4000); });
"""


def browse(
    items: Sequence[Any], render: Callable[[Any], View], *, headless: bool | None = None, first: int = 3
) -> None:
    """Look through `items`, one at a time: `browse(rows, lambda row: conversation(row["messages"]))`.

    render: an item as something that can be shown. first: how many the headless twin shows.
    """
    still = _first_few(items, render, first)
    if _is_headless(headless) or not items:
        _show(still)
    else:
        _show_slider(items, render, still)


def stop_button(label: str = "Stop after this step") -> Html | None:
    """A button that interrupts this kernel, even while a cell runs; `fit` then stops after the step, on every rank.

    None where no server could be asked: outside a notebook server (a terminal, papermill), and on other ranks.
    """
    kernel = _kernel_id()
    if not kernel:
        return None
    press = html.escape(INTERRUPT.replace("KERNEL", json.dumps(kernel)).strip(), quote=True)
    style = f"font:13px {SANS};padding:4px 12px;border:{HAIRLINE};border-radius:4px;background:none;color:inherit;cursor:pointer"
    return Html(f'<button style="{style}" onclick="{press}">■ {html.escape(label)}</button>', "")


def _kernel_id() -> str:
    """The server's name of this kernel, which is in the name of its connection file; "" where there is no server."""
    ipython = sys.modules.get("IPython")
    app = getattr(getattr(ipython and ipython.get_ipython(), "kernel", None), "parent", None)
    name = Path(getattr(app, "connection_file", "") or "").stem
    return name.removeprefix("kernel-") if name.startswith("kernel-") else ""


def _is_headless(headless: bool | None) -> bool:
    if headless is not None:
        return headless
    return not in_notebook() or importlib.util.find_spec("ipywidgets") is None


def _first_few(items: Sequence[Any], render: Callable[[Any], View], first: int) -> Html:
    views = [render(item) for item in items[:first]]
    if len(items) > first:
        note = f"… {len(items) - first:,} more"
        views.append(Html(f'<div style="opacity:.6">{note}</div>', note))
    return Html("".join(map(_page, views)), "\n".join(map(str, views)))


def _page(view: View) -> str:
    data, _ = view._repr_mimebundle_()
    if "text/html" in data:
        return data["text/html"]
    return f'<img src="data:image/png;base64,{data["image/png"]}" style="max-width:100%">'


def _show(view: Html) -> None:
    if not in_notebook():
        print(view, end="\n" if view.text else "")
        return
    from IPython.display import display

    display(view)


def _show_slider(items: Sequence[Any], render: Callable[[Any], View], still: Html) -> None:
    """The slider, and in the same output what viewers without widgets show instead."""
    from IPython.display import display
    from ipywidgets import HTML, IntSlider, Layout, VBox

    slider = IntSlider(0, 0, len(items) - 1, description="item", layout=Layout(width="420px"))
    page = HTML()

    def turn(_: object = None) -> None:
        page.value = _page(render(items[slider.value]))

    slider.observe(turn, "value")
    turn()
    live = VBox([slider, page])._repr_mimebundle_()
    display({**live, **still._repr_mimebundle_()[0]}, raw=True)
