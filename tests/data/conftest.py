"""A small byte-level BPE tokenizer that has the control tokens of every preset, and HelpSteer2's folder, built here: nothing
is downloaded."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cookbook_lib.data.templates import PRESETS, use_template

EOS = {"mistral": "</s>", "deepseek": "<｜end▁of▁sentence｜>", "gemma": "<eos>", "llama3": "<|end_of_text|>"}
SPECIAL = sorted({token for tokens in PRESETS.values() for token in tokens} | {"<s>", "<|endoftext|>", *EOS.values()})
PLAIN_ADDED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
TEXT = ["the cat sat on the mat, and user said: assistant answers in system terms\n\n", "what is 12 + 30? 42.\n"] * 8


def bpe_tokenizer(style: str, special: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer with a preset as its template; special=False: turn tokens are added tokens, but not special ones."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXT, trainer)
    if special:
        backend.add_special_tokens(SPECIAL)
    else:
        backend.add_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    backend.add_tokens(PLAIN_ADDED)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token=EOS.get(style, "<|im_end|>")
    )
    return use_template(tokenizer, style)


@pytest.fixture(params=sorted(PRESETS))
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tokenizer(style: str) -> PreTrainedTokenizerFast:
    return bpe_tokenizer(style)


@pytest.fixture
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """One of your own, to change as you like."""
    return bpe_tokenizer


@pytest.fixture(scope="session")
def shared_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """One for many examples, not to be changed."""
    return lru_cache(bpe_tokenizer)


@pytest.fixture
def helpsteer2_folder(tmp_path: Path) -> Path:
    """HelpSteer2 as it is published: scores of 40 responses and of 4 more, 10 comparisons, 10 rows of scores in lists."""
    folder, names = tmp_path / "HelpSteer2", ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    compared = [("response_1", "answer 0"), ("response_2", "answer 1"), ("preference_strength", -2)]
    scored = [
        {"prompt": f"question {n // 2}", "response": f"answer {n % 2}", **dict.fromkeys(names, n % 2 * 4)}
        for n in range(44)
    ]
    files = {
        "train.jsonl": scored[:40],
        "validation.jsonl": scored[40:],
        "preference/preference.jsonl": [{"prompt": f"question {n}", **dict(compared)} for n in range(10)],
        "disagreements/disagreements.jsonl": [row | {name: [0, 4] for name in names} for row in scored[:10]],
    }
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
