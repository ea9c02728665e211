"""From a recipe's name to a frozen, typed Config, or to one message with everything that is wrong.

config = load_config("sft", overlays=["smoke"], overrides=["optim.lr=1e-4"], model_path="./my-model")
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cookbook_lib.config.errors import CookbookError
from cookbook_lib.config.keys import catalogue, describe, sections
from cookbook_lib.config.layers import (
    RECIPES,
    Given,
    Problems,
    find_overlay,
    find_recipe,
    from_environment,
    from_overrides,
    from_parameters,
    from_yaml,
    recipe_names,
)
from cookbook_lib.config.rules import check
from cookbook_lib.config.schema import Config

FILES = (
    "data.train_files",
    "data.val_files",
    "data.cache_dir",
    "trainer.default_local_dir",
    "trainer.resume_from_path",
)


def load_config(
    recipe: str | Path,
    overlays: str | Path | Iterable[str | Path] | None = (),
    overrides: str | Iterable[str] | None = (),
    environ: Mapping[str, str] = os.environ,
    **parameters: Any,
) -> Config:
    """The recipe's values, later layers over earlier ones.

    recipe: a folder's name under cookbook/ ("sft"), a path to such a folder, or to a YAML file
    overlays: YAML files laid over it in order, by path or by name under cookbook/ ("smoke")
    overrides: dotted, as on a launcher's command line: ["optim.lr=2e-5", "trainer.logger=[console,swanlab]"]
    environ: where the launcher's variables (MODEL_PATH, TRAIN_FILE, ...) are looked up
    parameters: a notebook's parameters (model_path=..., train_file=...); None means "as the recipe says"

    Raises CookbookError with every problem of every layer, each with the place it came from.
    """
    problems = Problems()
    given = _gather(recipe, overlays or (), overrides or (), environ, parameters, problems)
    tree, latest = _merge(given, problems)
    config = _freeze(tree, latest, problems)
    for key, sentence in check(config):
        problems.add(latest[key].origin if key in latest else "defaults", f"{key} {sentence}")
    if problems:
        raise CookbookError(_message(problems))
    return config


def _gather(
    recipe: str | Path,
    overlays: str | Path | Iterable[str | Path],
    overrides: str | Iterable[str],
    environ: Mapping[str, str],
    parameters: Mapping[str, Any],
    problems: Problems,
) -> list[Given]:
    main = find_recipe(recipe)
    if main is None:
        raise CookbookError(
            f"recipe {str(recipe)!r} is neither a folder with a trainer.yaml nor a YAML file; "
            f"the recipes in cookbook/ are: {', '.join(recipe_names()) or 'none'}"
        )
    given = list(from_yaml(main, main.parent, 0, problems))
    for layer, overlay in enumerate([overlays] if isinstance(overlays, str | Path) else overlays, start=1):
        path = find_overlay(overlay)
        if path is None:
            names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
            problems.add(f"overlay {overlay}", f"there is no such YAML file; the overlays in cookbook/ are: {names}")
        else:
            given += from_yaml(path, main.parent, layer, problems)
    given += from_environment(environ, 1000, problems)
    given += from_parameters(parameters, 1000, problems)
    given += from_overrides(overrides, 2000, problems)
    return given


def _merge(given: list[Given], problems: Problems) -> tuple[DictConfig, dict[str, Given]]:
    """All values in one typed tree, and for each key the layer whose value stands."""
    tree = OmegaConf.structured(Config)
    for section in ("", *sorted(sections())):
        OmegaConf.set_readonly(OmegaConf.select(tree, section) if section else tree, False)
    latest: dict[str, Given] = {}
    for entry in _one_warmup(given, problems):
        try:
            OmegaConf.update(tree, entry.key, entry.value)
            OmegaConf.select(
                tree, entry.key, throw_on_missing=True
            )  # resolves ${...}, here so that its error has an origin
            latest[entry.key] = entry
        except OmegaConfBaseException:
            OmegaConf.update(tree, entry.key, catalogue()[entry.key].default)
            problems.add(
                entry.origin, f"{entry.key} is {entry.value!r}, but must be {describe(catalogue()[entry.key].type)}"
            )
    return tree, latest


def _one_warmup(given: list[Given], problems: Problems) -> list[Given]:
    """Warmup is set in steps or as a ratio: the later layer's form counts, both in one layer contradict each other."""
    latest = {entry.key: entry for entry in given if entry.value is not None}
    steps, ratio = latest.get("optim.warmup_steps"), latest.get("optim.warmup_steps_ratio")
    if steps is None or ratio is None:
        return given
    if steps.layer == ratio.layer:
        problems.add(steps.origin, "optim.warmup_steps and optim.warmup_steps_ratio are both set; keep one of the two")
    elif ratio.layer > steps.layer:
        return [entry for entry in given if entry.key != "optim.warmup_steps"]
    return given


def _freeze(tree: DictConfig, latest: Mapping[str, Given], problems: Problems) -> Config:
    """The tree as frozen dataclasses, its paths absolute."""
    for entry in latest.values():
        OmegaConf.update(tree, entry.key, _absolute(entry.key, OmegaConf.select(tree, entry.key), entry.base))
    if not latest:
        problems.add("recipe", "sets no key at all")
    origins = {key: latest[key].origin if key in latest else "default" for key in catalogue()}
    return replace(cast(Config, OmegaConf.to_object(tree)), origins=origins)


def _absolute(key: str, value: Any, base: Path) -> Any:
    """A relative path, made absolute from where it was written; hub names and URLs stay."""
    if OmegaConf.is_list(value):
        return [_absolute(key, item, base) for item in value]
    if not isinstance(value, str) or "://" in value:
        return value
    path = Path(value).expanduser()
    here = base / path
    looks_like_path = (
        key in FILES or value.startswith((".", "/", "~")) or (key == "data.chat_template" and path.suffix == ".jinja")
    )
    if looks_like_path or (key == "model.partial_pretrain" and value != "tiny" and here.is_dir()):
        return os.path.normpath(here)
    return value


def _message(problems: Problems) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems in the configuration:\n" + "\n".join(f"  - {problem}" for problem in problems)
