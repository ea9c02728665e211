"""Where recipes and overlays lie: a name is one of cookbook/, anything else is a path.

sft       cookbook/sft/trainer.yaml            smoke       cookbook/smoke.yaml, then smoke.yaml beside the trainer.yaml
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


def find_overlays(overlay: str | Path, beside: Path) -> list[Path]:
    """An overlay's files, by its name or its path, in the order in which they are laid over; none when there are none.

    A name stands for cookbook/NAME.yaml, for all recipes, and then for what a recipe's own folder (`beside`) adds to it.
    """
    named = str(overlay) in overlay_names()
    places = [RECIPES / f"{overlay}.yaml", beside / f"{overlay}.yaml"] if named else [Path(overlay).expanduser()]
    return [place.resolve() for place in places if place.is_file()]
