"""A tiny model on disk, built once a session."""

from pathlib import Path

import pytest
import torch

from cookbook_lib.data.templates import resolve_template
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_tokenizer, load_weights
from cookbook_lib.models.tiny import build_tiny

TEXTS = [
    "What is the colour of the box?",
    "The box is teal.",
    "user assistant system",
    "Hello, how are you? Fine, thank you.",
] * 5


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four Qwen3 layers, 4 query heads on 2 key-value heads, a vocabulary of a few hundred."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "model", TEXTS, resolve_template("qwen3", None), vocab_size=400)


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path):
    return load_tokenizer(tiny_folder)


@pytest.fixture
def packed_model(tiny_folder: Path) -> PackedModel:
    model = build_model(tiny_folder, varlen_attention)
    load_weights(model, tiny_folder, torch.device("cpu"))
    return model
