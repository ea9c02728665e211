"""A config for people: a table with the origin of each value, the resolved YAML beside a run, the reference page."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cookbook_lib.config.keys import ALIASES, ALL_RECIPES, SYNONYMS, Key, catalogue, describe
from cookbook_lib.config.layers import LAUNCHER
from cookbook_lib.config.rules import value_of
from cookbook_lib.config.schema import Config
from cookbook_lib.config.verl_names import COMPUTED, FIXED, NAMES, SEVERAL


def config_table(config: Config) -> list[dict[str, Any]]:
    """One row per key that the recipe reads: key, value, and the layer it came from.

    `pd.DataFrame(config_table(config))` reads well.
    """
    return [
        {"key": key, "value": value_of(config, key), "came from": config.origins.get(key, "default")}
        for key in _read(config)
    ]


def config_dict(config: Config) -> dict[str, Any]:
    """The keys that the recipe reads as nested dictionaries of plain values, the form of a trainer.yaml."""
    tree: dict[str, Any] = {}
    for key in _read(config):
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        value = value_of(config, key)
        node[name] = list(value) if isinstance(value, tuple) else value
    return tree


def _read(config: Config) -> Iterator[str]:
    return (key.name for key in catalogue().values() if config.recipe in key.recipes)


def save_resolved(config: Config, path: str | Path) -> None:
    """Write the config as a YAML file that `load_config(path)` reads back to the same values. Atomic."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(yaml.safe_dump(config_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
    draft.replace(path)


def reference_page() -> str:
    """docs/reference/config.md, from the schema alone."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield "# Configuration keys\n"
    yield "<!-- Generated from cookbook_lib/config/schema.py by scripts/render_config_docs.py; do not edit. -->\n"
    yield "Later layers win: library defaults, the recipe's `trainer.yaml`, overlays (`cookbook/smoke.yaml`), the"
    yield "launcher's environment and the notebook's parameters, dotted overrides (`bash sft_rm.sh optim.lr=1e-5`)."
    yield "A relative path in a YAML file starts at the recipe's folder, one that you type at your current folder.\n"
    yield "`config_table(config)` shows where each value of a run came from. An unknown key, a key without effect (one"
    yield "that only another recipe reads, too) and keys that contradict each other are errors, all in one message.\n"
    for section, keys in _by_section().items():
        yield f"\n## {section or 'at the top level'}\n"
        yield "| key | default | value | meaning |"
        yield "| --- | --- | --- | --- |"
        yield from map(_row, keys)
    yield "\n## Launcher environment and notebook parameters\n"
    yield "| environment | notebook parameter | key |"
    yield "| --- | --- | --- |"
    yield from (f"| `{name}` | `{name.lower()}` | `{key}` |" for name, key in LAUNCHER.items())
    yield "\n## verl's names that are accepted\n"
    yield "| verl | here |"
    yield "| --- | --- |"
    yield from (f"| `{alias}` | `{key}` |" for alias, key in ALIASES.items())
    yield "\nIn the recipes of reinforcement learning, too:\n"
    yield "| verl | here |"
    yield "| --- | --- |"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in _verl())
    yield "\nOther names of verl's are refused; where something can be set in their place, the sentence says what. Two names of"
    yield "one key with different values, in one file or on one command line, are refused, too."
    yield "\n## verl's values that are accepted\n"
    yield "| key | verl | here |"
    yield "| --- | --- | --- |"
    yield from (f"| `{key}` | `{value}` | `{_literal(here)}` |" for (key, value), (here, _) in SYNONYMS.items())
    yield ""


def _verl() -> Iterator[tuple[str, str]]:
    """Names of reinforcement learning, and what each of them means here."""
    yield from ((name, f"`{key}`") for name, key in NAMES.items())
    for name, keys in SEVERAL.items():
        yield name, " and ".join(f"`{key}`" for key in keys) + ", each where it has no value of its own beside this one"
    yield from ((name, f"`{found.key}`, computed from it and from `{found.other}`") for name, found in COMPUTED.items())
    yield from ((name, f"only `{_literal(value)}`: {why}") for name, (value, why) in FIXED.items())


def _by_section() -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in catalogue().values():
        found.setdefault(key.name.rpartition(".")[0], []).append(key)
    return found


def _row(key: Key) -> str:
    """One key as a line of its section's table."""
    default = "; ".join(
        [f"`{_literal(key.default)}`", *(f"{name}: `{_literal(v)}`" for name, v in key.defaults.items())]
    )
    only = "" if key.recipes == ALL_RECIPES else f"*{', '.join(key.recipes)} only.* "
    values = describe(key.type).replace("|", " or ")
    return f"| `{key.name.rpartition('.')[2]}` | {default} | {values} | {only}{key.doc} |"


def _literal(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
