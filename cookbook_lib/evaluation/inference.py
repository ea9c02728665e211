"""A model folder as plain transformers reads it, for answering and scoring: whole, in evaluation mode, on one device."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from cookbook_lib.config import CookbookError
from cookbook_lib.models.tiny import quiet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_model(folder: Path, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False) -> Any:
    """The causal language model in `folder`.

    device: auto takes the GPU if there is one. dtype: fp32, bf16, or auto, which is bf16 on a GPU and fp32 elsewhere.
    Raises CookbookError for weights that are missing, broken or of another shape: nothing is left random.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    kind = ("bf16" if place.type == "cuda" else "fp32") if dtype == "auto" else dtype
    options: Any = {"dtype": DTYPES[kind], "trust_remote_code": trust_remote_code, "output_loading_info": True}
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise CookbookError(f"the model in {folder} does not load ({first}): copy or save it again.") from error
    model, info = loaded
    if info["missing_keys"]:
        absent = sorted(info["missing_keys"])
        raise CookbookError(f"{folder} lacks {len(absent)} weights ({absent[0]} ...): give the whole model.")
    return model.to(place).eval()
