#!/usr/bin/env python3
"""Strip notebooks to what a person wrote: no outputs, no counts, readable cell ids, whitelisted metadata.

python scripts/clean_notebooks.py                  every notebook of notebooks/, in place
python scripts/clean_notebooks.py --check          only name those that are not clean; exit 1
python scripts/clean_notebooks.py notebooks/20_sft.ipynb
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_OF_CELL = ("tags",)


def main(arguments: list[str] | None = None) -> int:
    """Clean, or check; 1 when --check finds one that is not clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=[], help="default: all of notebooks/")
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args(arguments)
    stale = 0
    for path in given.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = cleaned(before)
        if before != after:
            stale += 1
            print(f"{path}: " + ("not clean; run scripts/clean_notebooks.py" if given.check else "cleaned"))
            if not given.check:
                path.write_text(after, encoding="utf-8")
    return 1 if given.check and stale else 0


def cleaned(text: str) -> str:
    """The notebook's JSON, cleaned; cleaning twice changes nothing more."""
    notebook = json.loads(text)
    used: set[str] = set()
    cells = [_cell(cell, used) for cell in notebook["cells"] if "".join(cell["source"]).strip()]
    clean = {
        "cells": cells,
        "metadata": {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(clean, indent=1, ensure_ascii=False) + "\n"


def _cell(cell: dict[str, Any], used: set[str]) -> dict[str, Any]:
    source = "".join(cell["source"]).strip("\n")
    clean: dict[str, Any] = {
        "cell_type": cell["cell_type"],
        "id": _id(cell, source, used),
        "metadata": {name: cell["metadata"][name] for name in KEPT_OF_CELL if cell.get("metadata", {}).get(name)},
        "source": source.splitlines(keepends=True),
    }
    if cell["cell_type"] == "code":
        clean |= {"execution_count": None, "outputs": []}
    return dict(sorted(clean.items()))


def _id(cell: dict[str, Any], source: str, used: set[str]) -> str:
    """The cell's own id when a person chose it, else the first words of its text; never the same twice."""
    own = str(cell.get("id", ""))
    machine_made = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]{20,})?", own) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", own)
    words = re.findall(r"[a-z0-9]+", source.lower())
    base = "-".join(words[:4])[:48] or cell["cell_type"] if machine_made else own
    name, count = base, 2
    while name in used:
        name, count = f"{base}-{count}", count + 1
    used.add(name)
    return name


if __name__ == "__main__":
    sys.exit(main())
