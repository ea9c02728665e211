"""The body of a verb, where a learner wants it: `display.source(fit)` shows the code itself, so no notebook copies it.

Colours are the ones of the reader's own editor theme (JupyterLab publishes them as CSS variables), with mid-tones that
stay readable on light and dark pages elsewhere. Without pygments the code is shown in one colour.
"""

import html
import importlib.util
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cookbook_lib.display.style import HAIRLINE, MONO, SANS
from cookbook_lib.display.views import Html

# pygments token -> (JupyterLab's variable, colour elsewhere); the first match up the token's ancestry counts
COLOURS = {
    "Token.Keyword": ("keyword", "#8250b8"),
    "Token.Operator.Word": ("keyword", "#8250b8"),
    "Token.Literal.String.Doc": ("comment", "#7a8794"),
    "Token.Literal.String": ("string", "#b0562f"),
    "Token.Literal.Number": ("number", "#2f8a5b"),
    "Token.Comment": ("comment", "#7a8794"),
    "Token.Name.Function": ("def", "#3a76c4"),
    "Token.Name.Class": ("def", "#3a76c4"),
    "Token.Name.Decorator": ("meta", "#8a7a3c"),
    "Token.Name.Builtin": ("builtin", "#2b8c96"),
}


def source(verb: Callable[..., Any] | type, *, docstring: bool = True) -> Html:
    """The source of a function, method or class, with its file and lines.

    docstring: False leaves the leading docstring out. Raises TypeError for things without Python source (built-ins).
    """
    verb = inspect.unwrap(getattr(verb, "__func__", verb))
    lines, first = inspect.getsourcelines(verb)
    code = textwrap.dedent("".join(lines)).rstrip()
    if not docstring:
        code = _without_docstring(code)
    path = Path(inspect.getsourcefile(verb) or "")
    place = f"{_from_package(path)}:{first}-{first + len(lines) - 1}"
    return Html(_html(code, place, path), f"# {place}\n{code}")


def _without_docstring(code: str) -> str:
    import ast

    body = ast.parse(code).body[0]
    assert isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if ast.get_docstring(body) is None or len(body.body) == 1:
        return code
    doc, lines = body.body[0], code.splitlines()
    assert doc.end_lineno is not None
    return "\n".join(lines[: doc.lineno - 1] + lines[doc.end_lineno :])


def _from_package(path: Path) -> str:
    """`cookbook_lib/training/loop.py`, wherever the checkout lies."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return path.relative_to(top).as_posix()


def _html(code: str, place: str, path: Path) -> str:
    try:
        link = os.path.relpath(path)  # opens in JupyterLab; an absolute path would say where this machine keeps things
    except ValueError:  # another drive
        link = path.name
    return (
        f'<div style="border:{HAIRLINE};border-radius:6px;margin:6px 0;overflow:hidden">'
        f'<div style="font:12px/1.4 {SANS};padding:5px 12px;border-bottom:{HAIRLINE};opacity:.75">'
        f'<a href="{html.escape(link)}" style="color:inherit;text-decoration:none">{html.escape(place)}</a></div>'
        f'<pre style="font:12.5px/1.5 {MONO};margin:0;padding:10px 12px;white-space:pre;overflow-x:auto;background:none;color:inherit">'
        f"{''.join(_coloured(code))}</pre></div>"
    )


def _coloured(code: str) -> Iterator[str]:
    if importlib.util.find_spec("pygments") is None:
        yield html.escape(code)
        return
    from pygments import lex  # type: ignore[import-untyped]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

    for token, text in lex(code, PythonLexer(stripnl=False)):
        colour = _colour(token)
        yield f'<span style="color:{colour}">{html.escape(text)}</span>' if colour else html.escape(text)


def _colour(token: Any) -> str | None:
    while token is not None:
        if str(token) in COLOURS:
            variable, elsewhere = COLOURS[str(token)]
            return f"var(--jp-mirror-editor-{variable}-color,{elsewhere})"
        token = token.parent
    return None
