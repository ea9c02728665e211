"""A model folder as plain transformers reads it, for answering and scoring: whole, in evaluation mode, on one device."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from cookbook_lib.config import CookbookError
from cookbook_lib.models.adapter_folder import merge
from cookbook_lib.models.loading import foundation
from cookbook_lib.models.score_head import is_score_model
from cookbook_lib.models.tiny import quiet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_place(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where to compute, and in what. device: auto takes the GPU if there is one, cuda:1 that one.

    dtype: fp32, bf16, or auto, which is bf16 on a GPU and fp32 elsewhere. Raises CookbookError for any other word.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise CookbookError(f"device is {device!r}; it must be auto, cpu, cuda or cuda:N.")
    if dtype not in ("auto", *DTYPES):
        raise CookbookError(f"dtype is {dtype!r}; it must be auto, {' or '.join(DTYPES)}.")
    place = torch.device(device)
    if place.type == "cuda" and (place.index or 0) >= (count := torch.cuda.device_count()):
        raise CookbookError(f"device is {device}, but torch sees {count or 'no'} CUDA devices; use cpu.")
    return place, DTYPES[("bf16" if place.type == "cuda" else "fp32") if dtype == "auto" else dtype]


def open_model(folder: Path, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False) -> Any:
    """The causal language model in `folder`.

    device, dtype: as in choose_place. Raises CookbookError for a reward model, and for weights that are missing, broken or of
    another shape: nothing is left random.
    """
    place, kind = choose_place(device, dtype)
    if is_score_model(folder):
        raise CookbookError(f"{folder} is a reward model, which writes no answers: give a language model.")
    options: Any = {"dtype": kind, "trust_remote_code": trust_remote_code, "output_loading_info": True}
    whole, adapters = foundation(folder)
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(whole, attn_implementation="sdpa", **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise CookbookError(f"the model in {folder} does not load ({first}): copy or save it again.") from error
    model, info = loaded
    if info["missing_keys"]:
        absent = sorted(info["missing_keys"])
        raise CookbookError(f"{folder} lacks {len(absent)} weights ({absent[0]} ...): give the whole model.")
    merge(model, adapters)
    return model.to(place).eval()
