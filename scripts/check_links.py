#!/usr/bin/env python3
"""Every relative link of the Markdown files and notebooks leads to a file, and every #fragment to a heading.

Links to the web are not followed. Prints FILE:LINE: LINK for each that leads nowhere; exit 1 when there is one.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")


def main() -> int:
    """Check all files that git knows, or will know."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.ipynb"]
    names = subprocess.run(listed, cwd=HOME, check=True, capture_output=True, text=True).stdout.splitlines()
    lost = [
        f"{name}:{line}: {link}" for name in names if (HOME / name).exists() for line, link in lost_links(HOME / name)
    ]
    print("\n".join(lost) or f"{len(names)} files, every link leads somewhere")
    return 1 if lost else 0


def lost_links(path: Path) -> Iterator[tuple[int, str]]:
    """Line (from 1) and target of each link that leads nowhere."""
    for number, line in enumerate(_prose(path).splitlines(), start=1):
        for target in (first or second for first, second in LINK.findall(line)):
            if not re.match(r"[a-z]+:", target) and not _leads_somewhere(path, target):
                yield number, target


def _leads_somewhere(path: Path, target: str) -> bool:
    file, _, fragment = target.partition("#")
    goal = (path.parent / file).resolve() if file else path
    if not goal.exists():
        return False
    return not fragment or goal.suffix != ".md" or fragment in _anchors(goal)


def _anchors(path: Path) -> set[str]:
    """Headings, as GitHub turns them into fragments."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", _prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _prose(path: Path) -> str:
    """The text, with code blocks blanked so that lines keep their numbers; of a notebook, its Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
