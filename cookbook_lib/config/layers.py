"""Where values come from: each place is read into a list of `Given`, and the order of the lists is the precedence.

    defaults <- trainer.yaml <- overlays <- launcher environment, notebook parameters <- dotted overrides

A relative path in a YAML file starts at the recipe's folder; one that a person typed starts at the current folder.
"""

import difflib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cookbook_lib.config.keys import ALIASES, SYNONYMS, catalogue, explain_unknown, sections
from cookbook_lib.config.places import HOME
from cookbook_lib.config.verl_names import NAMES, is_verl

# What the launchers take from the environment; in lower case, the notebooks' parameters of the same meaning.
LAUNCHER = {
    "MODEL_PATH": "model.partial_pretrain",
    "TRAIN_FILE": "data.train_files",
    "VAL_FILE": "data.val_files",
    "TOTAL_BATCH_SIZE": "data.train_batch_size",
    "MICRO_BATCH_SIZE": "data.micro_batch_size",
    "SP_SIZE": "ulysses_sequence_parallel_size",
    "TOTAL_EPOCHS": "trainer.total_epochs",
    "MAX_LENGTH": "data.max_length",
    "SAVE_PATH": "trainer.default_local_dir",
    "PROJECT_NAME": "trainer.project_name",
    "EXPERIMENT_NAME": "trainer.experiment_name",
}


@dataclass(frozen=True)
class Given:
    """A value as one layer gives it: not checked against the key's type yet.

    `key` is one of the catalogue, or a name of verl's until `verl.translate` has replaced it; then `name` is verl's.
    """

    key: str
    value: Any
    origin: str
    base: Path
    name: str = ""


class Problems(list[str]):
    """What is wrong so far; everything is collected before anything is said."""

    def add(self, origin: str, sentence: str) -> None:
        self.append(f"{origin}: {sentence}")


def from_yaml(path: Path, base: Path, problems: Problems) -> Iterator[Given]:
    """The keys of a YAML file; `base` is where its relative paths start."""
    name = _short(path)
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        lines = _lines(yaml.compose(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        problems.add(name, f"is not readable as YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(values, dict):
        kind = type(values).__name__
        problems.add(name, f"holds a {kind} at its top, but must hold sections: model:, data:, optim:, trainer:")
        return
    for key, value in _leaves(values):
        origin = f"{name}:{lines[key]}" if key in lines else name
        yield from _known(key, value, origin, base, problems)


def from_environment(environ: Mapping[str, str], problems: Problems) -> Iterator[Given]:
    """The launcher's variables that are set and not empty."""
    for name, key in LAUNCHER.items():
        if environ.get(name):
            yield from _typed(key, environ[name], f"environment {name}", problems)


def from_parameters(parameters: Mapping[str, Any], problems: Problems) -> Iterator[Given]:
    """A notebook's parameters; None means "as the recipe says"."""
    names = {name.lower(): key for name, key in LAUNCHER.items()}
    for name, value in parameters.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [", ".join(names)]
            problems.add(f"parameter {name}", f"is not one; did you mean {close[0]}?")
        elif isinstance(value, str):
            yield from _typed(names[name], value, f"parameter {name}", problems)
        elif value is not None:
            yield Given(names[name], value, f"parameter {name}", Path.cwd())


def from_overrides(overrides: str | Iterable[str], problems: Problems) -> Iterator[Given]:
    """Dotted overrides (`optim.lr=2e-5`) as a list, or as one string that is split as a shell would."""
    for text in shlex.split(overrides) if isinstance(overrides, str) else overrides:
        key, equals, value = str(text).partition("=")
        if not equals or not key.strip():
            sentence = "is not of the form key=value, without spaces (lists: trainer.logger=[console,swanlab])"
            problems.add(f"override {text}", sentence)
        else:
            yield from _typed(key.strip(), value, "override", problems)


def _typed(key: str, text: str, origin: str, problems: Problems) -> Iterator[Given]:
    try:
        value = _parse(key, text)
    except yaml.YAMLError:
        problems.add(origin, f"{text!r} is not readable as a value; lists are [a,b], special characters need quotes")
        return
    yield from _known(key, value, origin, Path.cwd(), problems)


def _parse(key: str, text: str) -> Any:
    """A typed value from text. Where text is wanted, text stays as it is: an experiment named 0512 is not octal 330."""
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        bare = bare[1:-1]
    known = catalogue().get(ALIASES.get(key) or NAMES.get(key, key))
    if known is not None and known.wants_text and not bare.startswith("["):
        return None if bare == "null" else bare
    parsed = OmegaConf.from_dotlist([f"value={bare}"])
    return OmegaConf.to_container(parsed, resolve=False)["value"]  # type: ignore[index,call-overload]


def _known(key: str, value: Any, origin: str, base: Path, problems: Problems) -> Iterator[Given]:
    name = ALIASES.get(key, key)
    if name in sections() and value is None:
        return  # an empty section in a YAML file says nothing
    if name in catalogue():
        yield given(name, value, origin, base)
    elif is_verl(name):
        yield Given(name, value, origin, base)
    else:
        problems.add(origin, explain_unknown(key))


def given(key: str, value: Any, origin: str, base: Path) -> Given:
    """The value of a key of the catalogue, other spellings of it settled."""
    spelled = (key, value) if isinstance(value, str | int) else ("", "")
    value, note = SYNONYMS.get(spelled, (None if value == "null" else value, ""))
    return Given(key, value, f"{origin} ({note})" if note else origin, base)


def _leaves(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _lines(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    """Dotted key -> its line in the file, counted from 1."""
    found: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        found[prefix + str(key.value)] = key.start_mark.line + 1
        found |= _lines(value, f"{prefix}{key.value}.")
    return found


def _short(path: Path) -> str:
    return str(path.relative_to(HOME)) if path.is_relative_to(HOME) else str(path)
