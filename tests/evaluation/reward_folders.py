"""Reward models on disk, with heads of random numbers, and conversations to score."""

import copy
import random
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import load_tokenizer, load_weights
from cookbook_lib.models.score_head import ScoreHead, build_score_model

WORDS = ["the", "box", "door", "lamp", "is", "teal", "red", "What", "colour", "of", "Hello,", "fine;", "12", "+", "7"]


def reward_model(base: Path, folder: Path, head: ScoreHead) -> Path:
    """As training leaves it, but for the head's weights."""
    tokenizer = load_tokenizer(base)
    model = build_score_model(base, varlen_attention, tokenizer, head)
    load_weights(model, base, torch.device("cpu"))
    torch.nn.init.normal_(model.hf.score.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    model.hf.save_pretrained(folder)
    own = copy.deepcopy(tokenizer)
    own.pad_token = own.convert_ids_to_tokens(model.hf.config.pad_token_id)
    own.save_pretrained(folder)
    return folder


def foreign_model(folder: Path, tokenizer, **fields) -> Path:
    """A sequence classifier of another family, random."""
    kind = fields.pop("kind")
    config = AutoConfig.for_model(kind, vocab_size=-(-len(tokenizer) // 64) * 64, **fields)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def mixed_conversations(count: int, seed: int = 0, longest: int = 120) -> list[list[dict]]:
    """One to three turns each, of very different lengths; about half share their prompt with others."""
    draw = random.Random(seed)

    def text() -> str:
        return " ".join(draw.choice(WORDS) for _ in range(int(longest ** draw.random())))

    prompts: list[list[dict]] = []
    for _ in range(max(count // 2, 1)):
        turns = [{"role": "system", "content": text()}] if draw.random() < 0.3 else []
        for _ in range(draw.randint(0, 2)):
            turns += [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}]
        prompts.append([*turns, {"role": "user", "content": text()}])
    made = [[*draw.choice(prompts), {"role": "assistant", "content": text()}] for _ in range(count)]
    draw.shuffle(made)
    return made
