"""The embedded model: small enough for a laptop's CPU, otherwise a Hugging Face folder like any other.

    Qwen3 architecture (grouped-query attention, qk-norm, tied embeddings), random weights from a fixed seed
    byte-level BPE trained on the texts given, ChatML template with {% generation %} marks and tools

It is built on first use from the embedded texts, so nothing is downloaded and no weights live in the repository.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
SPECIAL = [END_OF_TEXT, "<|im_start|>", END_OF_TURN]


def build_tiny(folder: Path, texts: Iterable[str], chat_template: str, *, seed: int = 0, **shape: int) -> Path:
    """Write tokenizer, config and weights to `folder`, all or nothing, unless they are there already.

    `shape` overrides Qwen3Config's fields (hidden_size, num_hidden_layers, vocab_size ...), for tests of other layouts.
    """
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tiny-"))
    try:
        tokenizer = train_tokenizer(texts, chat_template, shape.pop("vocab_size", 2048))
        tokenizer.save_pretrained(scratch)
        with quiet():
            random_model(tokenizer, seed, **shape).save_pretrained(scratch)
        os.replace(scratch, folder)
    except OSError:
        if not (folder / "config.json").is_file():
            raise
        # somebody else built it first: theirs is the same
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar for five megabytes, and no table of missing weights: whoever loads looks at them and says so."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def train_tokenizer(texts: Iterable[str], chat_template: str, vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text encodes, and decodes to itself."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        chat_template=chat_template,
        model_max_length=32768,
    )


def random_model(tokenizer: PreTrainedTokenizerFast, seed: int, **shape: int) -> Qwen3ForCausalLM:
    """About 1.3 M parameters with the embedded texts; the vocabulary is rounded up to a multiple of 64."""
    fields = dict(
        hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=40,
        max_position_embeddings=32768,
    ) | shape  # fmt: skip
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **fields,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
