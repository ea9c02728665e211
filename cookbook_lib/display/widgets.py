"""Things to click, each with a static twin for runs that nobody watches.

    stop_button(request)      a button that calls `request` once; pressed or not, ask `.pressed`
    browse(items, render)     a slider over items; headless: the first few, one under the other

ipywidgets are used when there is a kernel and the package; otherwise, or with headless=True, the twin. A kernel with
subshells handles a click while a cell runs, others between two cells; so a callback only sets a flag, which the running
step looks at. On a multi-rank kernel (which answers between cells) widgets are made on every rank alike, and
to stop a running `fit` there is JupyterLab's own stop button: the same request, by a signal.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cookbook_lib.display.screens import in_notebook
from cookbook_lib.display.views import Html, View


class Pressable(Protocol):
    """A request that can be made once."""

    pressed: bool

    def press(self) -> None: ...


def stop_button(
    request: Callable[[], object] = lambda: None, label: str = "Stop after this step", *, headless: bool | None = None
) -> Pressable:
    """Show a button that asks a run to stop: `stop_button(run.stop.request)`. headless None: when nobody can click."""
    return StaticButton(request, label) if _is_headless(headless) else StopButton(request, label)


def browse(
    items: Sequence[Any],
    render: Callable[[Any], View],
    *,
    headless: bool | None = None,
    first: int = 3,
) -> None:
    """Look through `items`, one at a time: `browse(rows, lambda row: conversation(row["messages"]))`.

    render: an item as something that can be shown. first: how many the headless twin shows.
    """
    if _is_headless(headless) or not items:
        _show_first(items, render, first)
    else:
        _show_slider(items, render)


class StaticButton:
    """The same two names without a button: pressed by code alone."""

    def __init__(self, request: Callable[[], object], label: str) -> None:
        self.label, self.pressed, self._request = label, False, request

    def press(self) -> None:
        """Make the request; a second press does nothing."""
        if not self.pressed:
            self.pressed = True
            self._request()


class StopButton(StaticButton):
    """The same with a button in the page, which says that it was heard."""

    def __init__(self, request: Callable[[], object], label: str) -> None:
        from IPython.display import display
        from ipywidgets import Button, Layout

        super().__init__(request, label)
        self.button = Button(description=label, icon="stop", layout=Layout(width="auto"))
        self.button.on_click(lambda _: self.press())
        display(self.button)

    def press(self) -> None:
        super().press()
        self.button.disabled, self.button.description = True, "Stopping after this step"


def _is_headless(headless: bool | None) -> bool:
    if headless is not None:
        return headless
    return not in_notebook() or importlib.util.find_spec("ipywidgets") is None


def _show_first(items: Sequence[Any], render: Callable[[Any], View], first: int) -> None:
    for item in items[:first]:
        _show(render(item))
    if len(items) > first:
        note = f"… {len(items) - first:,} more"
        _show(Html(f'<div style="opacity:.6">{note}</div>', note))


def _show(view: View) -> None:
    if not in_notebook():
        print(view)
        return
    from IPython.display import display

    display(view)


def _show_slider(items: Sequence[Any], render: Callable[[Any], View]) -> None:
    from IPython.display import display
    from ipywidgets import HTML, IntSlider, Layout, VBox

    slider = IntSlider(0, 0, len(items) - 1, description="item", layout=Layout(width="420px"))
    page = HTML()

    def turn(_: object = None) -> None:
        data, _metadata = render(items[slider.value])._repr_mimebundle_()
        page.value = data["text/html"]

    slider.observe(turn, "value")
    turn()
    display(VBox([slider, page]))
