#!/usr/bin/env python3
"""Render docs/reference/config.md from the schema; with --check, only say whether it is fresh."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config.places import HOME
from cookbook_lib.config.show import reference_page

PAGE = HOME / "docs" / "reference" / "config.md"


def main() -> int:
    """Write the page, or compare; 1 when it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    if parser.parse_args().check:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == reference_page()
        print(f"{PAGE.relative_to(HOME)} is " + ("fresh" if fresh else "stale; run scripts/render_config_docs.py"))
        return 0 if fresh else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
