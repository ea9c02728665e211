"""`model.partial_pretrain: tiny` is the embedded model: built on first use from the embedded texts, then a folder like any other."""

import hashlib
import os
from pathlib import Path

from cookbook_lib.data.synthetic import embedded_texts
from cookbook_lib.data.templates import preset
from cookbook_lib.models.loading import find_model
from cookbook_lib.models.tiny import build_tiny

TINY = "tiny"
VERSION = "1"  # a new one when tokenizer or shape change


def cache_folder() -> Path:
    """Where what is built on first use lives: $COOKBOOK_CACHE, else the user's cache folder."""
    base = os.environ.get("COOKBOOK_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "reward-model-cookbook"
    )
    return Path(base).expanduser()


def resolve_model(name: str) -> Path:
    """The folder of a model: `tiny`, a folder, or a hub name."""
    return tiny_folder() if name == TINY else find_model(name)


def tiny_folder() -> Path:
    texts = list(embedded_texts())
    template = preset("chatml")
    digest = hashlib.sha256("\0".join([VERSION, template, *texts]).encode()).hexdigest()[:12]
    return build_tiny(cache_folder() / f"tiny-{digest}", texts, template)
