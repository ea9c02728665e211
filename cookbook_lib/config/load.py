"""From a recipe's name to a frozen, typed Config, or to one message with everything that is wrong.

config = load_config("sft", overlays=["smoke"], overrides=["optim.lr=1e-4"], model_path="./my-model")
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cookbook_lib.config.errors import CookbookError
from cookbook_lib.config.follows import settle
from cookbook_lib.config.keys import ALL_RECIPES, catalogue, describe, sections
from cookbook_lib.config.layers import Given, Problems, from_environment, from_overrides, from_parameters, from_yaml
from cookbook_lib.config.places import find_overlays, find_recipe, overlay_names, recipe_names
from cookbook_lib.config.policy_rules import check_policy
from cookbook_lib.config.recipe_rules import check_recipe
from cookbook_lib.config.rules import check
from cookbook_lib.config.schema import Config
from cookbook_lib.config.verl import translate

PATHS = {
    "data.train_files",
    "data.val_files",
    "data.cache_dir",
    "trainer.default_local_dir",
    "trainer.resume_from_path",
    "reward.custom",
}
EMBEDDED = ("tiny", "tiny-judge")
WARMUPS = ("optim.warmup_steps", "optim.warmup_steps_ratio")


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
    main = find_recipe(recipe)
    if main is None:
        raise CookbookError(
            f"recipe {str(recipe)!r} is neither a folder with a trainer.yaml nor a YAML file; "
            f"the recipes in cookbook/ are: {', '.join(recipe_names())}"
        )
    layers = [
        list(from_yaml(main, main.parent, problems)),
        *_overlays(overlays or (), main.parent, problems),
        [*from_environment(environ, problems), *from_parameters(parameters, problems)],
        list(from_overrides(overrides or (), problems)),
    ]
    translate(layers, _one_recipe(layers, problems), problems)
    _one_warmup(layers, problems)
    tree, latest = _merge(layers, problems)
    config = settle(_freeze(tree, latest))
    for key, sentence in itertools.chain(check(config), check_recipe(config), check_policy(config)):
        problems.add(latest[key].origin if key in latest else "defaults", f"{key} {sentence}")
    if problems:
        raise CookbookError(_message(problems))
    return config


def _overlays(overlays: str | Path | Iterable[str | Path], base: Path, problems: Problems) -> Iterator[list[Given]]:
    for overlay in [overlays] if isinstance(overlays, str | Path) else overlays:
        paths = find_overlays(overlay, base)
        yield from (list(from_yaml(path, base, problems)) for path in paths)
        if not paths:
            names = ", ".join(overlay_names())
            problems.add(f"overlay {overlay}", f"there is no such YAML file; the overlays in cookbook/ are: {names}")


def _one_recipe(layers: list[list[Given]], problems: Problems) -> str:
    """Which recipe it is. The trainer.yaml alone says which recipe it is: all else in it was chosen for that one.

    Without a recipe that exists, nothing can be said about any other key: this raises at once.
    """
    stated = next((entry for entry in layers[0] if entry.key == "recipe"), None)
    if stated and stated.value not in ALL_RECIPES:
        problems.add(stated.origin, f"recipe is {stated.value!r}, but must be one of {', '.join(ALL_RECIPES)}")
        raise CookbookError(_message(problems))
    recipe = stated.value if stated else catalogue()["recipe"].default
    for layer in layers[1:]:
        for entry in layer:
            if entry.key == "recipe" and entry.value != recipe:
                fix = "remove it, and start the recipe that you want by its own name or launcher"
                problems.add(entry.origin, f"recipe is {entry.value!r}, but the recipe's own file says {recipe}; {fix}")
        layer[:] = [entry for entry in layer if entry.key != "recipe"]
    return str(recipe)


def _one_warmup(layers: list[list[Given]], problems: Problems) -> None:
    """Warmup is set in steps or as a ratio: a later layer's form replaces the other, both in one contradict."""
    for number, layer in enumerate(layers):
        forms = {entry.key: entry for entry in layer if entry.key in WARMUPS and entry.value is not None}
        if len(forms) == 2:
            problems.add(forms[WARMUPS[0]].origin, f"{' and '.join(WARMUPS)} are both set; keep one of the two")
        elif "optim.warmup_steps_ratio" in forms:
            for earlier in layers[:number]:
                earlier[:] = [entry for entry in earlier if entry.key != "optim.warmup_steps"]


def _merge(layers: list[list[Given]], problems: Problems) -> tuple[DictConfig, dict[str, Given]]:
    """All values in one typed tree, and for each key the one that stands."""
    tree = OmegaConf.structured(Config)
    for section in ("", *sorted(sections())):
        OmegaConf.set_readonly(OmegaConf.select(tree, section) if section else tree, False)
    latest: dict[str, Given] = {}
    for entry in itertools.chain(*layers):
        key = catalogue()[entry.key]
        try:
            OmegaConf.update(tree, key.name, entry.value)
            OmegaConf.select(tree, key.name)  # resolves ${...} now, while its origin is known
            latest[key.name] = entry
        except OmegaConfBaseException:
            OmegaConf.update(tree, key.name, key.default)
            problems.add(entry.origin, f"{key.name} is {entry.value!r}, but must be {describe(key.type)}")
    for key in catalogue().values():
        if key.name not in latest and tree.recipe in key.defaults:
            OmegaConf.update(tree, key.name, key.default_in(tree.recipe))
    return tree, latest


def _freeze(tree: DictConfig, latest: Mapping[str, Given]) -> Config:
    """The tree as frozen dataclasses, its paths absolute."""
    for entry in latest.values():
        OmegaConf.update(tree, entry.key, _absolute(entry.key, OmegaConf.select(tree, entry.key), entry.base))
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
    is_path = (
        key in PATHS
        or (key == "data.chat_template" and path.suffix == ".jinja")
        or (key == "judge.rubric" and path.suffix in (".yaml", ".yml"))
        or (
            key == "model.partial_pretrain"
            and (value.startswith((".", "/", "~")) or here.is_dir())
            and value not in EMBEDDED
        )
    )
    return os.path.normpath(here) if is_path else value


def _message(problems: Problems) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems in the configuration:\n" + "\n".join(f"  - {problem}" for problem in problems)
