"""Our SFT against TRL's SFTTrainer: same model, rows, masks and effective batch; tokens per second, peak memory, MFU.

    model     Qwen3 shape, 12.6 M parameters (width 256, 4 layers, vocabulary 32,768), random, the same file for all
    rows      GSM8K and instruction rows, half and half, where COOKBOOK_REAL_DATA names them; else random words of like lengths
    a run     a fresh process, one warm-up step, then --steps timed ones of 16 conversations; runs of all kinds take turns
    tokenizer BPE of 4,096 words made from the rows: more would know them by heart and make them shorter than life
    tokens    of conversations, padding not counted; per second of the clock, and of processor time, which
              others on the machine disturb less. Memory is the highest resident set once the data is ready
    MFU       useful arithmetic (models/flops.py, the same for all) over a matrix product's rate in the same process

What differs is what is compared: TRL pads or packs (rows of 1,024 tokens, 3 a step: as many tokens), recomputes layers by
default, and scores every position; ours packs 16 conversations without padding and scores the supervised positions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_sft_run import BATCH, CONTESTANTS, MAX_LENGTH

VOCABULARY, WORDS = 32_768, 4096  # of the output layer; of the tokenizer, which few texts train
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
# ChatML with the marks that TRL wants in order to learn answers alone; ours reads them too.
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
POOL = 4000  # procedural conversations to draw from
LIKE_GSM8K = (4.6, 0.5)  # mean and deviation of the logarithm of the words of a conversation

DEFAULT = "TRL padded, its defaults"
GOALS = {"padded default": 8.0, "best packing": 3.5}


# ------------------------------------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--steps", type=int, default=4, help="timed steps of a run (default: 4)")
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
    try:
        from trl import __version__ as trl_version
    except ImportError:
        print("error: TRL is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    names = [name for name in CONTESTANTS if not given.only or given.only in name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = prepare(folder, rows=BATCH * (given.steps + 2))
        print(data)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(given.repeats):
            for name in names:
                runs[name].append(in_fresh_process(name, folder, given))
                last = runs[name][-1]
                print(
                    f"  {name:36} {last['tokens_per_second']:8,.0f} tokens/s {last['peak_mib']:8,.0f} MiB", flush=True
                )
    text = report(runs, given, f"{data} TRL {trl_version}.")
    print(text)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text, encoding="utf-8")
    return 0


def in_fresh_process(
    name: str, folder: Path, given: argparse.Namespace, script: str = "benchmark_sft_run.py"
) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name(script)), name, str(folder), str(given.steps)]
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: the run {name!r} failed\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# ---------------------------------------------------------------------------------------------------------- the data


def prepare(folder: Path, rows: int) -> str:
    """Model, tokenizer and rows, the same for all runs; a sentence that says what they are."""
    from cookbook_lib.models.tiny import build_tiny

    real = os.environ.get("COOKBOOK_REAL_DATA")
    pool = list(real_conversations(Path(real))) if real else list(islice(procedural_conversations(), POOL))
    texts = [message["content"] for messages in pool for message in messages]
    build_tiny(folder / "model", texts, TEMPLATE, vocab_size=WORDS, **SHAPE)
    pad_vocabulary(folder / "model")
    lengths = write_rows(folder, pool, rows)
    kind = "GSM8K and instruction rows" if real else "procedural rows"
    return f"{rows} {kind}: median {statistics.median(lengths):.0f} tokens, longest {max(lengths)}."


def pad_vocabulary(model: Path) -> None:
    """An output layer of 32,768 words, as models of this kind have."""
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(model)
    whole.resize_token_embeddings(VOCABULARY)
    whole.save_pretrained(model)


def write_rows(folder: Path, pool: list[list[dict[str, str]]], rows: int) -> list[int]:
    """A seeded sample of the conversations that fit; their lengths."""
    from cookbook_lib.data.masking import encode
    from cookbook_lib.data.records import Conversation
    from cookbook_lib.models.loading import load_tokenizer

    tokenizer = load_tokenizer(folder / "model")
    lengths: list[int] = []
    random.Random(0).shuffle(pool)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for messages in pool:
            length = len(encode(Conversation(tuple(messages)), tokenizer, max_length=1 << 20).input_ids)
            if length <= MAX_LENGTH and len(lengths) < rows:
                lengths.append(length)
                file.write(json.dumps({"messages": messages}) + "\n")
    return lengths


def real_conversations(folder: Path) -> Iterator[list[dict[str, str]]]:
    """As many instruction rows as there are, and as many of GSM8K."""
    import gzip

    with gzip.open(folder / "gpteacher" / "codegen-instruct.json.gz", "rt", encoding="utf-8") as file:
        instructions = [row for row in json.load(file) if row["instruction"].strip() and row["response"].strip()]
    with gzip.open(folder / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        problems = [json.loads(line) for line in islice(file, len(instructions))]
    yield from (
        turns(f"{row['instruction']}\n{row.get('input') or ''}".strip(), row["response"].strip())
        for row in instructions
    )
    yield from (turns(row["question"], row["answer"]) for row in problems)


def procedural_conversations() -> Iterator[list[dict[str, str]]]:
    """Questions and answers of random words, as long as GSM8K's."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]
    while True:
        length = int(draw.lognormvariate(*LIKE_GSM8K))
        asked = max(4, length // 3)
        yield turns(" ".join(draw.choices(words, k=asked)), " ".join(draw.choices(words, k=max(4, length - asked))))


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


# -------------------------------------------------------------------------------------------------------- the report


def report(runs: dict[str, list[dict[str, float]]], given: argparse.Namespace, about: str) -> str:
    """A table of medians, the ratios, and the goals."""
    import torch
    import transformers

    medians = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}
    lines = [
        "| trainer | tokens/s | spread | per CPU second | peak MiB | of which training | s/step | MFU | matmul Gflop/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, m in medians.items():
        rates = [run["tokens_per_second"] for run in runs[name]]
        lines.append(
            f"| {name} | {m['tokens_per_second']:,.0f} | {min(rates):,.0f}–{max(rates):,.0f} | "
            f"{m['tokens_per_cpu_second']:,.0f} | {m['peak_mib']:,.0f} | "
            f"{m['above_baseline_mib']:,.0f} | {m['step_seconds']:.2f} | {m['mfu']:.0%} | {m['matmul_gflops']:,.0f} |"
        )
    hardware = given.hardware or f"{platform.machine()}, {given.threads} threads"
    parameters = next(iter(medians.values()))["parameters"]
    return "\n".join(
        [
            "# SFT: ours against TRL's SFTTrainer",
            "",
            f"{hardware}. Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.",
            f"Qwen3 shape, {parameters / 1e6:.1f} M parameters, vocabulary {VOCABULARY:,}. {about}",
            f"{BATCH} conversations a step, {given.steps} timed steps after one of warm-up, medians of {given.repeats} fresh processes.",
            "",
            *lines,
            "",
            *ratios(medians),
            "",
            f"`python scripts/benchmark_sft.py --steps {given.steps} --repeats {given.repeats}`",
            "",
            "How it is measured, and what is the same for all:",
            "",
            *(f"    {line}".rstrip() for line in (__doc__ or "").strip().splitlines()[2:]),
            "",
        ]
    )


def ratios(medians: dict[str, dict[str, float]]) -> list[str]:
    """Ours over TRL's, beside the goals."""
    ours = [name for name in medians if name.startswith("ours")]
    packing = [name for name in medians if name.startswith("TRL packing")]
    if not ours or not packing or DEFAULT not in medians:
        return []
    best = max(packing, key=lambda name: medians[name]["tokens_per_second"])
    lines = [
        "| ours | against | tokens/s | per CPU second | goal | peak memory | training memory | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mine in ours:
        for theirs, goal in ((DEFAULT, GOALS["padded default"]), (best, GOALS["best packing"])):
            a, b = medians[mine], medians[theirs]
            lines.append(
                f"| {mine} | {theirs} | {a['tokens_per_second'] / b['tokens_per_second']:.1f} x | "
                f"{a['tokens_per_cpu_second'] / b['tokens_per_cpu_second']:.1f} x | {goal} x | "
                f"{a['peak_mib'] / b['peak_mib']:.2f} x | {a['above_baseline_mib'] / b['above_baseline_mib']:.2f} x | 0.5 x |"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
