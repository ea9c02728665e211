#!/usr/bin/env python3
"""Print what a recipe with its overlays, environment and overrides comes to, and where each value is from.

python scripts/show_config.py sft --overlay smoke optim.lr=1e-4
python scripts/show_config.py sft --value trainer.default_local_dir      one value, for a shell
python scripts/show_config.py sft --parameters optim.lr=1e-4             the notebook's parameters, as JSON
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError, config_table, load_config
from cookbook_lib.config.layers import LAUNCHER


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or what was asked for; 2 with every problem when the values are refused."""
    given = parser().parse_intermixed_args(arguments)
    try:
        config = load_config(given.recipe, given.overlay, given.override)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = {row["key"]: row for row in config_table(config)}
    for key in given.value:
        print(rows[key]["value"])
    if given.parameters:
        print(json.dumps(parameters(given.recipe, given.overlay, given.override)))
    if not given.value and not given.parameters:
        show = [row for row in rows.values() if given.all or row["came from"] != "default"]
        print("\n".join(f"{row['key']:<38} {row['value']!s:<40} {row['came from']}" for row in show))
    return 0


def parameters(recipe: str, overlays: list[str], overrides: list[str]) -> dict[str, object]:
    """What a launcher hands to the notebook: its environment as parameters, so that every rank gets the same."""
    machine = {name.lower(): os.environ[name] for name in LAUNCHER if os.environ.get(name)}
    return {"recipe": recipe, "overlays": overlays, "overrides": overrides, **machine}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("recipe", help="a folder under cookbook/, or a path to such a folder or YAML file")
    made.add_argument("override", nargs="*", default=[], help="dotted, key=value")
    made.add_argument("--overlay", action="append", default=[], help="YAML laid over the recipe, by path or name")
    made.add_argument("--all", action="store_true", help="show values that nobody set, too")
    made.add_argument("--value", action="append", default=[], metavar="KEY", help="print this key's value alone")
    made.add_argument("--parameters", action="store_true", help="print the notebook's parameters as JSON")
    return made


if __name__ == "__main__":
    raise SystemExit(main())
