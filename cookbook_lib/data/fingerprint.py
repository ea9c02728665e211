"""What tokens depend on, as a short name: another file, tokenizer, template, option or line of this room is another name."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.sources import files_of


def fingerprint(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], rows: bytes) -> str:
    """24 hex digits: equal for an equal tokenizer, template, options and rows, under equal code."""
    digest = hashlib.blake2b(digest_size=12)
    settings = {"special": tokenizer.special_tokens_map, "template": tokenizer.chat_template, **options}
    versions = [transformers.__version__, tokenizers.__version__]
    for part in (_code(), _backend(tokenizer), json.dumps([settings, versions], sort_keys=True, default=str)):
        digest.update(part.encode() + b"\0")
    digest.update(rows)
    return digest.hexdigest()


def _backend(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer itself, without the padding and truncation that an earlier caller may have left in it."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps(state | {"padding": None, "truncation": None})


def _code() -> str:
    """The text of this room: an edit makes new caches rather than wrong ones."""
    return "\0".join(file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.rglob("*.py")))


def digest_of_files(names: list[str], options: dict[str, Any]) -> bytes:
    """Of the bytes of files (and of the files in folders), their names, and how they are read."""
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode())
    for path in (path for name in names for path in files_of(Path(name))):
        with path.open("rb") as file:
            digest.update(f"{path}\0".encode() + hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()


def digest_of_rows(rows: Iterable[Any]) -> bytes:
    """Of records in memory (dataclasses), places included: they are named in the report."""
    digest = hashlib.blake2b()
    for row in rows:
        digest.update(json.dumps(vars(row), default=str).encode() + b"\0")
    return digest.digest()
