"""The documentation names code that exists: every path, and every function and test that a page says is in it."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PAGES = sorted((HOME / "docs").rglob("*.md"))
CONCEPTS = sorted((HOME / "docs/concepts").glob("*.md"))
DRAWINGS = sorted((HOME / "docs/concepts").glob("*.svg"))
CODE = re.compile(r"`((?:cookbook_lib|tests|scripts|training|data|models|parallel)/[\w./]+\.py)`")
NAMED = re.compile(r"`([\w./]+\.py)` \(((?:`\w+`(?:,\s+)?)+)\)|`([\w./]+\.py)`: ((?:`test_\w+`(?:,\s+)?)+)")
SECTIONS = ("Constraints", "What goes wrong elsewhere", "Where", "Proof")


def find(name: str) -> Path:
    return next((path for path in (HOME / name, HOME / "cookbook_lib" / name) if path.is_file()), HOME / name)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_paths_exist(page):
    lost = [name for name in CODE.findall(page.read_text()) if not find(name).is_file()]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_names_are_where_the_page_says(page):
    lost = []
    for code, names, test, cases in NAMED.findall(page.read_text()):
        source = find(code or test).read_text()
        wanted = re.findall(r"`(\w+)`", names or cases)
        lost += [f"{code or test}: {name}" for name in wanted if not _defines(source, name)]
    assert not lost


@pytest.mark.parametrize("page", CONCEPTS, ids=lambda path: path.stem)
def test_a_concept_has_its_drawing_its_constraints_and_its_proof(page):
    text = page.read_text()
    assert f"]({page.stem}.svg)" in text
    assert [section for section in SECTIONS if f"\n## {section}\n" not in text] == []
    assert re.search(r"`test_\w+`", text.split("## Proof")[1])
    assert f"({page.parent.name}/{page.name})" in (HOME / "docs/index.md").read_text()


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_whole_and_can_be_read_by_everyone(drawing):
    root = ElementTree.parse(drawing).getroot()
    assert root.findtext("{http://www.w3.org/2000/svg}title")
    assert "prefers-color-scheme: dark" in drawing.read_text()
    assert drawing.with_suffix(".md").is_file()


def _defines(source: str, name: str) -> bool:
    return re.search(rf"^\s*(?:async )?(?:def|class) {name}\b|^{name}\s*[:=]", source, flags=re.MULTILINE) is not None
