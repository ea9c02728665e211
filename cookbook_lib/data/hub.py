"""Data sets of the Hugging Face hub, by name, and one sentence for whatever goes wrong on the way.

    hub:openai/gsm8k#main:test                                       name[#config][:split], streamed by `datasets`
    hub:anon8231489123/ShareGPT_Vicuna_unfiltered/ShareGPT_V3.json   a file of it: fetched once, then read like any file

Name the file where a repository holds several that do not belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError

HUB_PREFIX = "hub:"
TIMEOUT_SECONDS = 10.0


def is_hub(name: Any) -> bool:
    """Whether an input names the hub."""
    return str(name).startswith(HUB_PREFIX)


def names_a_file(name: str) -> bool:
    """Whether a hub name goes on, after owner/name, with a file."""
    return name.count("/") > 1


def hub_file(name: str) -> Path:
    """The local copy of hub:owner/name/file, fetched if need be; raises CookbookError where it cannot be."""
    from huggingface_hub import HfApi, hf_hub_download

    owner, repository, file = name.removeprefix(HUB_PREFIX).split("/", 2)
    try:
        HfApi().dataset_info(f"{owner}/{repository}", timeout=TIMEOUT_SECONDS)
        return Path(hf_hub_download(f"{owner}/{repository}", file, repo_type="dataset"))
    except Exception as error:
        raise _unreachable(name, error) from error


def hub_rows(name: str) -> Iterator[dict[str, Any]]:
    """The rows of hub:name[#config][:split], streamed; raises CookbookError where there are none to be had."""
    try:
        from datasets import load_dataset
        from huggingface_hub import HfApi
    except ImportError:
        raise CookbookError(f"{name} needs the `datasets` package; pip install datasets, or give --input") from None
    address, _, split = name.removeprefix(HUB_PREFIX).partition(":")
    repository, _, config = address.partition("#")
    try:
        HfApi().dataset_info(repository, timeout=TIMEOUT_SECONDS)  # fails at once where load_dataset would retry
        yield from load_dataset(repository, config or None, split=split or "train", streaming=True)
    except Exception as error:
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> CookbookError:
    """The hub's client raises dozens of types; each means that there are no rows from there."""
    reason = str(error).strip().partition("\n")[0][:120]
    sentence = f"{name} cannot be read from the hub ({type(error).__name__}: {reason})"
    return CookbookError(f"{sentence}; give --input, or --source embedded")
