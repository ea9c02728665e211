"""What the rest of the display room returns: a value that a notebook shows richly and a terminal prints as text.

    Html(html, text)              tables, sources, bars
    Picture(draw, size, text)     figures; drawn when somebody looks, saved as png, svg or pdf by the file's suffix

Both are plain values with the same two faces, `_repr_mimebundle_` (Jupyter) and `str` (a terminal), so everything
that can be shown can also be printed, logged, tested and updated in place (screens.py).
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cookbook_lib.display.style import FIGURE_SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MimeBundle = tuple[dict[str, str], dict[str, Any]]  # data and metadata, each by MIME type
DPI = 144  # half as dense again as the page it is shown on (96), so that type is sharp


class View(Protocol):
    """Anything that can be shown: rich in a notebook, text elsewhere."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle: ...


@dataclass(frozen=True)
class Html:
    """A piece of HTML and the text that says the same."""

    html: str
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        return {"text/html": self.html, "text/plain": self.text}, {}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Picture:
    """A figure as a recipe: `draw` fills an empty matplotlib Figure of `size` (inches); `text` says it in words."""

    draw: "Callable[[Figure], None]"
    size: tuple[float, float]
    text: str

    def render(self, kind: str = "png") -> bytes:
        """The picture as the bytes of a png, svg or pdf file."""
        import matplotlib  # here alone: tables and bars must not wait for it
        from matplotlib.figure import Figure  # not pyplot: no global state, no window, no backend to choose

        buffer = io.BytesIO()
        with matplotlib.rc_context(FIGURE_SETTINGS):  # type: ignore[arg-type]  # its keys are a closed Literal
            figure = Figure(figsize=self.size, dpi=DPI, layout="constrained")
            self.draw(figure)
            figure.savefig(buffer, format=kind)
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix (.png, .svg, .pdf) names the format. The folder is made when missing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.render(path.suffix.lstrip(".") or "png"))
        return path

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        width, height = (round(inches * 96) for inches in self.size)
        png = base64.b64encode(self.render()).decode()
        return {"image/png": png, "text/plain": self.text}, {"image/png": {"width": width, "height": height}}

    def __str__(self) -> str:
        return self.text
