"""Our generation against transformers' own: the same model, prompts, sampling and rows at a time; tokens per second.

    model      Qwen3 shape, 12.6 M parameters (width 256, 4 layers, vocabulary 32,768), random, the same file for both
    prompts    random tokens of lognormal lengths, median 200, 16 to 1,500; --n completions of each
    ends       one token in a hundred ends a completion, --max-new-tokens does else: rows end at different times
    a run      a fresh process, a warm-up on one prompt, then every prompt; runs of all kinds take turns
    tokens     of completions, the stop token counted; per second of the clock, and of processor time

What differs is what is compared: `generate` with num_return_sequences computes a prompt for each of its completions, pads all
rows to the longest and keeps them until the last has ended; ours computes a prompt once, batches prompts of like length, lets rows
go that have ended, and writes into its cache in place. Ours gives log-probabilities too; transformers is not asked for them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_generation_run import CONTESTANTS, OURS, PLAIN
from benchmark_sft import SHAPE, in_fresh_process

VOCABULARY, WINDOW = 32_768, 4096
LENGTHS = (5.3, 0.8)  # mean and deviation of the logarithm of a prompt's tokens
SHORTEST, LONGEST = 16, 1500
GOAL = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--prompts", dest="steps", type=int, default=48, help="prompts (default: 48)")
    made.add_argument("--n", type=int, default=8, help="completions of each (default: 8)")
    made.add_argument("--max-new-tokens", type=int, default=150, help="longest completion (default: 150)")
    made.add_argument("--repeats", type=int, default=3, help="runs of each contestant (default: 3)")
    made.add_argument("--only", help="contestants whose name contains this")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="of arithmetic (default: all cores)")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the table, as for docs/benchmarks/")
    made.add_argument("--hardware", default="", help="how the table calls this machine")
    given = made.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        return benchmark(given)
    return 130


def benchmark(given: argparse.Namespace) -> int:
    names = [name for name in CONTESTANTS if not given.only or given.only in name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = prepare(folder, given.steps, given.n, given.max_new_tokens)
        print(data)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(given.repeats):
            for name in names:
                runs[name].append(in_fresh_process(name, folder, given, "benchmark_generation_run.py"))
                last = runs[name][-1]
                print(
                    f"  {name:36} {last['tokens_per_second']:8,.0f} tokens/s {last['peak_mib']:8,.0f} MiB", flush=True
                )
    text = report(runs, given, data)
    print(text)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text, encoding="utf-8")
    return 0


def prepare(folder: Path, prompts: int, n: int, max_new_tokens: int) -> str:
    """Model and prompts, the same for all runs; a sentence that says what they are."""
    import numpy as np
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from cookbook_lib.models.tiny import quiet

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        max_position_embeddings=WINDOW,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
        **SHAPE,
    )
    with quiet():
        Qwen3ForCausalLM(config).save_pretrained(folder / "model")
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(*LENGTHS, prompts), SHORTEST, LONGEST).astype(int)
    asked = {
        "prompts": [draw.integers(VOCABULARY, size=length).tolist() for length in lengths],
        "stops": list(range(0, VOCABULARY, 100)),
        "n": n,
        "max_new_tokens": max_new_tokens,
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    return (
        f"{prompts} prompts of median {statistics.median(lengths.tolist()):.0f} tokens, longest {lengths.max()}; {n} completions of each, "
        f"at most {max_new_tokens} tokens."
    )


def report(runs: dict[str, list[dict[str, float]]], given: argparse.Namespace, about: str) -> str:
    """A table of medians, and the ratio."""
    import torch
    import transformers

    medians = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}
    lines = [
        "| generator | tokens/s | spread | per CPU second | tokens a completion | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, m in medians.items():
        rates = [run["tokens_per_second"] for run in runs[name]]
        lines.append(
            f"| {name} | {m['tokens_per_second']:,.0f} | {min(rates):,.0f}–{max(rates):,.0f} | {m['tokens_per_cpu_second']:,.0f} | "
            f"{m['completion_tokens']:.0f} | {m['peak_mib']:,.0f} |"
        )
    hardware = given.hardware or f"{platform.machine()}, {given.threads} threads"
    return "\n".join(
        [
            "# Generation: ours against transformers' generate",
            "",
            f"{hardware}. Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.",
            f"{about} Medians of {given.repeats} fresh processes.",
            "",
            *lines,
            "",
            *ratios(medians),
            f"`python scripts/benchmark_generation.py --prompts {given.steps} --n {given.n} --max-new-tokens {given.max_new_tokens} "
            f"--repeats {given.repeats}`",
            "",
            "How it is measured, and what is the same for all:",
            "",
            *(f"    {line}".rstrip() for line in (__doc__ or "").strip().splitlines()[2:]),
            "",
        ]
    )


def ratios(medians: dict[str, dict[str, float]]) -> list[str]:
    """Ours over transformers', beside the goal."""
    if OURS not in medians:
        return []
    lines = []
    for name in (name for name in PLAIN if name in medians):
        a, b = medians[OURS], medians[name]
        lines += [
            f"Against {name}: {a['tokens_per_second'] / b['tokens_per_second']:.2f} x tokens/s, "
            f"{a['tokens_per_cpu_second'] / b['tokens_per_cpu_second']:.2f} x per CPU second (goal {GOAL:g} x).",
            "",
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
