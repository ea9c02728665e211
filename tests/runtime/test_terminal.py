"""What a headless run shows: cells, their output as it comes, and a live bar that ends right."""

import io

import pytest

from cookbook_lib.runtime.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self):
        return True


def message(kind, **content):
    return {"header": {"msg_type": kind}, "content": content}


def bar(text, kind="update_display_data"):
    return message(kind, data={"text/plain": text}, transient={"display_id": "bar"})


def test_output_passes_through_between_two_lines():
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.begin(2, 9, "train")
    terminal.show(message("stream", name="stdout", text="half a line"))
    terminal.show(message("stream", name="stderr", text="\x1b[31mwarning\x1b[0m\n"))
    terminal.show(message("execute_result", data={"text/plain": "42"}))
    terminal.end()
    assert out.getvalue().startswith("[2/9] train\nhalf a line")
    assert "\n42\n[2/9] train: 0.0 s\n" in out.getvalue()
    assert err.getvalue() == "warning\n", "no colours in a log file"


def test_a_live_bar_is_rewritten_on_a_terminal():
    out = Screen()
    terminal = Terminal(out, out)
    terminal.begin(1, 1, "train")
    for n in range(3):
        terminal.show(bar(f"{n}/2"))
    terminal.end()
    assert out.getvalue().count("\n") == 3
    assert "\r\x1b[2K2/2\n[1/1] train" in out.getvalue()


def test_a_live_bar_shows_its_last_state_in_a_log_file():
    out = io.StringIO()
    terminal = Terminal(out, out)
    terminal.begin(1, 1, "train")
    for n in range(100):
        terminal.show(bar(f"{n}/99", "update_display_data" if n else "display_data"))
    terminal.end()
    lines = out.getvalue().splitlines()
    assert lines[-2] == "99/99"
    assert len(lines) <= 4, "not a line per update"


@pytest.mark.parametrize("text", ["<Figure size 640x480 with 1 Axes>", "<IPython.core.display.HTML object>", ""])
def test_what_says_nothing_is_not_shown(text):
    out = io.StringIO()
    Terminal(out, out).show(message("display_data", data={"text/plain": text}))
    assert out.getvalue() == ""
