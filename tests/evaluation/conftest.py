"""A tiny base model and a checkpoint of it that has learned a handful of answers by heart, built once a session."""

import json
from pathlib import Path

import pytest
import torch

from cookbook_lib.data.masking import encode
from cookbook_lib.data.packing import pack
from cookbook_lib.data.records import Conversation, chat
from cookbook_lib.data.templates import resolve_template
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import build_model, load_tokenizer, load_weights
from cookbook_lib.models.score_head import ScoreHead
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.objectives.sft import SFT
from tests.evaluation.reward_folders import reward_model

COLOURS = {"box": "teal", "door": "red", "lamp": "blue", "chair": "black", "cup": "green", "hat": "white"}
STEPS = 120


def conversations() -> list[Conversation]:
    return [
        chat(f"What is the colour of the {thing}?", f"The {thing} is {colour}.", answer=colour)
        for thing, colour in COLOURS.items()
    ]


@pytest.fixture(scope="session")
def rows() -> list[Conversation]:
    return conversations()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [message["content"] for row in conversations() for message in row.messages] * 5
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16, "vocab_size": 400}
    return build_tiny(tmp_path_factory.mktemp("base") / "base", texts, resolve_template("qwen3", None), **shape)


@pytest.fixture(scope="session")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training leaves it: a run folder with a config, and in it `best`, which names its base."""
    folder = tmp_path_factory.mktemp("run") / "best"
    tokenizer = load_tokenizer(base)
    model = build_model(base, varlen_attention)
    load_weights(model, base, torch.device("cpu"))
    batch = pack([encode(row, tokenizer, max_length=128) for row in conversations()], range(len(COLOURS)))
    optimizer, objective = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95)), SFT()
    for _ in range(STEPS):
        loss = objective(model, batch)
        (loss.total / objective.count(batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "cookbook.json").write_text(json.dumps({"base": str(base), "recipe": "sft", "step": STEPS}))
    return folder


@pytest.fixture(scope="session")
def reward_folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with one score."""
    return reward_model(base, tmp_path_factory.mktemp("reward") / "best", ScoreHead())
