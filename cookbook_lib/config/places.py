"""Where recipes and overlays lie: a name is one of cookbook/, anything else is a path.

sft       cookbook/sft/trainer.yaml            smoke       cookbook/smoke.yaml
./mine    ./mine/trainer.yaml                  ./a.yaml    ./a.yaml
"""

from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
RECIPES = HOME / "cookbook"


def recipe_names() -> list[str]:
    """The folders of cookbook/ that hold a trainer.yaml."""
    return sorted(str(path.parent.relative_to(RECIPES)) for path in RECIPES.rglob("trainer.yaml"))


def overlay_names() -> list[str]:
    """The YAML files of cookbook/ that lie beside the recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(recipe: str | Path) -> Path | None:
    """The trainer.yaml of a recipe's name, of a folder, or a YAML file itself; None when there is none."""
    place = RECIPES / recipe if str(recipe) in recipe_names() else Path(recipe).expanduser()
    if place.is_dir():
        place = place / "trainer.yaml"
    return place.resolve() if place.is_file() else None


def find_overlay(overlay: str | Path) -> Path | None:
    """An overlay's file, by its name or its path; None when there is none."""
    place = RECIPES / f"{overlay}.yaml" if str(overlay) in overlay_names() else Path(overlay).expanduser()
    return place.resolve() if place.is_file() else None
