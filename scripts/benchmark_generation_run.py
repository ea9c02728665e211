"""One run of scripts/benchmark_generation.py, in a process of its own: answer all prompts on one side, print the figures as JSON.

python scripts/benchmark_generation_run.py "ours" FOLDER 48         FOLDER: model/ and asked.json, the same for all
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_sft_run import peak_memory

BATCH = 64  # completions at a time
OURS = "ours"
PLAIN = ("transformers, prompts as they come", "transformers, prompts sorted")
CONTESTANTS = (*PLAIN, OURS)
Asked = dict[str, Any]


def run_one(name: str, folder: Path) -> dict[str, float]:
    """In a fresh process: load, warm up, answer, measure."""
    import torch
    from transformers import AutoModelForCausalLM

    from cookbook_lib.models.tiny import quiet

    asked = json.loads((folder / "asked.json").read_text())
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="sdpa")
    answer: Callable[[Any, Asked], int] = ours if name == OURS else plain
    if name == PLAIN[1]:
        asked["prompts"].sort(key=len)
    answer(model, asked | {"prompts": asked["prompts"][:1], "max_new_tokens": 8})
    begin, busy = time.perf_counter(), time.process_time()
    tokens = answer(model, asked)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    return {
        "tokens_per_second": tokens / seconds,
        "tokens_per_cpu_second": tokens / busy,
        "completion_tokens": tokens / len(asked["prompts"]) / asked["n"],
        "peak_mib": peak_memory() / 2**20,
    }


def ours(model: Any, asked: Asked) -> int:
    """Tokens of all completions."""
    from cookbook_lib.models.generate import generate

    prompts = [prompt for prompt in asked["prompts"] for _ in range(asked["n"])]
    made = generate(
        model,
        prompts,
        stop_ids=asked["stops"],
        max_new_tokens=asked["max_new_tokens"],
        temperature=1.0,
        batch_size=BATCH,
    )
    return sum(len(one.logps) for one in made)


def plain(model: Any, asked: Asked) -> int:
    """The same by transformers: batches of prompts padded on the left, n answers of each."""
    import torch

    at_once, tokens, stops = max(BATCH // asked["n"], 1), 0, torch.tensor(asked["stops"])
    for start in range(0, len(asked["prompts"]), at_once):
        prompts = asked["prompts"][start : start + at_once]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        out = model.generate(
            ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=asked["n"],
            max_new_tokens=asked["max_new_tokens"], eos_token_id=asked["stops"], pad_token_id=0,
        )  # fmt: skip
        ended = torch.isin(out[:, width:], stops).int().cumsum(1)
        tokens += int((ended - torch.isin(out[:, width:], stops).int() == 0).sum())  # up to the first stop, with it
    return tokens


if __name__ == "__main__":
    print(json.dumps(run_one(sys.argv[1], Path(sys.argv[2]))))
