"""`source` shows the code that runs, with where it stands."""

import builtins
import importlib.util
import linecache
from pathlib import Path

import pytest

from cookbook_lib.display import LiveProgress, source
from cookbook_lib.display.progress import clock_time


def test_it_shows_the_body_and_the_place():
    view = source(clock_time)
    place, code = view.text.split("\n", 1)
    file, lines = place.removeprefix("# ").split(":")
    first, last = map(int, lines.split("-"))
    assert file == "cookbook_lib/display/progress.py"
    path = Path(__file__).parents[2] / file
    assert code == "\n".join(path.read_text().splitlines()[first - 1 : last])
    assert "clock_time" in view.html


def test_a_method_loses_its_indent_and_its_docstring_on_request():
    text = source(LiveProgress.advance, docstring=False).text
    assert text.splitlines()[1].startswith("def advance(")
    assert '"""' not in text
    assert '"""' in source(LiveProgress.advance).text
    linecache.checkcache()


def test_a_class_is_shown_whole():
    assert "def __exit__" in source(LiveProgress).text


def test_no_path_of_this_machine_in_the_page():
    assert str(Path.home()) + "/" not in source(clock_time).html
    assert 'href="/' not in source(clock_time).html


def test_the_same_text_without_pygments(monkeypatch):
    coloured = source(clock_time)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    plain = source(clock_time)
    assert plain.text == coloured.text
    assert "<span" in coloured.html
    assert "<span" not in plain.html


def test_a_builtin_has_no_source():
    with pytest.raises(TypeError):
        source(builtins.len)
