"""Our Bradley-Terry against TRL's RewardTrainer: same model, pairs and effective batch; pairs per second and peak memory.

    model     Qwen3 shape, 12.6 M parameters (width 256, 4 layers, vocabulary 32,768), random, the same file for all
    pairs     UltraFeedback and hh-rlhf where COOKBOOK_REAL_DATA names them; else random words of like lengths
    a run     a fresh process, one warm-up step, then --steps timed ones of 16 pairs; runs of all kinds take turns
    tokenizer BPE of 4,096 words made from the pairs: more would know them by heart and make them shorter than life
    a pair    fits when its prompt with either answer has at most 2,048 tokens; all sides see the same ones in the same order
    speed     pairs per second of the clock, and of processor time, which others on the machine disturb less. Memory is the
              highest resident set once the data is ready

What differs is what is compared: TRL pads the 16 answers of 8 pairs to the longest, twice a step, and recomputes layers by
default; ours packs up to 8,192 tokens without padding, and computes the prompt of a pair once. `unshared` computes it twice, as everybody
does: the difference between the two is what sharing alone brings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_reward_run import BATCH, CONTESTANTS, MAX_LENGTH
from benchmark_sft import SHAPE, TEMPLATE, VOCABULARY, WORDS, in_fresh_process, pad_vocabulary

from cookbook_lib.data.reward.records import PreferencePair

POOL = 1200  # procedural pairs to draw from
DEFAULT, GOAL = "TRL, its defaults", 5.0


@dataclass(frozen=True)
class Set:
    """A data set to be timed on: where it is, and lengths that are like its own (mean, deviation of log words)."""

    name: str
    source: str
    file: str
    prompt: tuple[float, float]
    answer: tuple[float, float]


SETS = (
    Set("UltraFeedback", "ultrafeedback", "ultrafeedback/train_clean.jsonl.gz", (4.2, 1.0), (4.9, 0.8)),
    Set("hh-rlhf", "hh", "hh_rlhf_harmless/first1200.jsonl.gz", (4.3, 0.8), (3.2, 0.9)),
)


# ------------------------------------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--steps", type=int, default=4, help="timed steps of a run (default: 4)")
    made.add_argument("--repeats", type=int, default=3, help="runs of each contestant (default: 3)")
    made.add_argument("--only", help="contestants whose name contains this")
    made.add_argument("--data", help="data sets whose name contains this")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="of arithmetic (default: all cores)")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables, as for docs/benchmarks/")
    made.add_argument("--hardware", default="", help="how the tables call this machine")
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
    parts, parameters = [], 0.0
    for data in SETS:
        if given.data and given.data not in data.name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            about = prepare(data, Path(scratch), rows=BATCH * (given.steps + 1))
            print(about, flush=True)
            medians, spreads = measured(Path(scratch), given)
        parameters = next(iter(medians.values()))["parameters"]
        parts += [f"## {data.name}", "", about, "", *table(medians, spreads), "", *ratios(medians), ""]
    text = "\n".join([*heading(given, trl_version, parameters), *parts, *closing(given)])
    print(text)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text, encoding="utf-8")
    return 0


Medians = dict[str, dict[str, float]]
Spreads = dict[str, tuple[float, float]]


def measured(folder: Path, given: argparse.Namespace) -> tuple[Medians, Spreads]:
    """Every contestant in turn, `repeats` times: medians, and the slowest and fastest pairs per second."""
    runs: dict[str, list[dict[str, float]]] = {n: [] for n in CONTESTANTS if not given.only or given.only in n}
    for _ in range(given.repeats):
        for name, found in runs.items():
            found.append(in_fresh_process(name, folder, given, "benchmark_reward_run.py"))
            last = found[-1]
            print(f"  {name:30} {last['pairs_per_second']:7.2f} pairs/s {last['peak_mib']:7,.0f} MiB", flush=True)
    medians = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}
    rates = {name: [run["pairs_per_second"] for run in of] for name, of in runs.items()}
    return medians, {name: (min(of), max(of)) for name, of in rates.items()}


# ---------------------------------------------------------------------------------------------------------- the data


def prepare(data: Set, folder: Path, rows: int) -> str:
    """Model, tokenizer and pairs, the same for all runs; a sentence that says what they are."""
    from cookbook_lib.models.score_head import ScoreHead
    from cookbook_lib.models.tiny import build_tiny
    from cookbook_lib.training.parity_reward import random_head

    real = os.environ.get("COOKBOOK_REAL_DATA")
    pool = real_pairs(data, Path(real), folder) if real else list(islice(procedural_pairs(data), POOL))
    texts = [text for pair in pool for text in (*(m["content"] for m in pair.prompt), pair.chosen, pair.rejected)]
    build_tiny(folder / "decoder", texts, TEMPLATE, vocab_size=WORDS, **SHAPE)
    pad_vocabulary(folder / "decoder")
    random_head(ScoreHead(), folder / "decoder", folder)  # folder/model
    tokens, beginnings = write_rows(folder, pool, rows)
    kind = data.name if real else f"procedural pairs as long as {data.name}'s"
    return (
        f"{rows} pairs of {kind}: median {statistics.median(tokens):.0f} tokens a pair, longest {max(tokens):,}; "
        f"{beginnings / sum(tokens):.0%} of all tokens repeat the beginning of the other answer."
    )


def write_rows(folder: Path, pool: list[PreferencePair], rows: int) -> tuple[list[int], int]:
    """A seeded sample of the pairs that fit: tokens of each, both answers with their prompt; tokens that are there twice."""
    from cookbook_lib.data.refusals import RowRefused
    from cookbook_lib.data.reward.candidates import EncodeCandidates
    from cookbook_lib.models.loading import load_tokenizer

    encode = EncodeCandidates(load_tokenizer(folder / "model"), MAX_LENGTH, "drop").encode
    tokens: list[int] = []
    repeated = 0
    random.Random(0).shuffle(pool)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for pair in pool:
            if len(tokens) == rows:
                return tokens, repeated
            with suppress(RowRefused):
                made = encode(pair)
                tokens.append(2 * len(made.shared) + sum(map(len, made.rests)))
                repeated += len(made.shared)
                row = {"prompt": list(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}
                file.write(json.dumps(row) + "\n")
    raise SystemExit(f"error: {len(tokens)} pairs fit into {MAX_LENGTH} tokens, {rows} are needed: lower --steps")


def real_pairs(data: Set, folder: Path, scratch: Path) -> list[PreferencePair]:
    from cookbook_lib.data.reward.files import read_pairs
    from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward

    prepare_reward(
        RewardJob(data.source, scratch / "data", inputs=(str(folder / data.file),), test_ratio=0, kind="pairs")
    )
    return list(read_pairs(scratch / "data" / "train.parquet"))


def procedural_pairs(data: Set) -> Iterator[PreferencePair]:
    """Questions and answers of random words."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]

    def text(length: tuple[float, float]) -> str:
        return " ".join(draw.choices(words, k=max(4, int(draw.lognormvariate(*length)))))

    while True:
        yield PreferencePair(({"role": "user", "content": text(data.prompt)},), text(data.answer), text(data.answer))


# -------------------------------------------------------------------------------------------------------- the report


def heading(given: argparse.Namespace, trl_version: str, parameters: float) -> list[str]:
    import torch
    import transformers

    hardware = given.hardware or f"{platform.machine()}, {given.threads} threads"
    return [
        "# Bradley-Terry: ours against TRL's RewardTrainer",
        "",
        f"{hardware}. Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"TRL {trl_version}.",
        f"Qwen3 shape, {parameters / 1e6:.1f} M parameters, vocabulary {VOCABULARY:,}. {BATCH} pairs a step, {given.steps} timed "
        f"steps after one of warm-up, medians of {given.repeats} fresh processes.",
        "",
    ]


def table(medians: Medians, spreads: Spreads) -> list[str]:
    lines = [
        "| trainer | pairs/s | spread | per CPU second | s/step | peak MiB | of which training | last loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, m in medians.items():
        slowest, fastest = spreads[name]
        lines.append(
            f"| {name} | {m['pairs_per_second']:.1f} | {slowest:.1f}–{fastest:.1f} | {m['pairs_per_cpu_second']:.1f} | "
            f"{m['step_seconds']:.2f} | {m['peak_mib']:,.0f} | {m['above_baseline_mib']:,.0f} | {m['loss']:.4f} |"
        )
    return lines


def ratios(medians: Medians) -> list[str]:
    """Ours over TRL's beside the goal; shared over unshared."""
    lines = [
        "| ours | against | pairs/s | per CPU second | goal | peak memory | training memory |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = [name for name in medians if name.startswith("ours")]
    theirs = [name for name in medians if name.startswith("TRL")]
    best = [n for n in theirs if n != DEFAULT]
    for mine in ours:
        twin = mine.replace("ours,", "ours, unshared,")
        against = [(DEFAULT, f"{GOAL:g} x"), *((name, "") for name in best), (twin, "")]
        for other, goal in against:
            if other in medians and other != mine:
                lines.append(_ratio(medians, mine, other, goal))
    return lines if len(lines) > 2 else []


def _ratio(medians: Medians, mine: str, other: str, goal: str) -> str:
    a, b = medians[mine], medians[other]
    keys = ("pairs_per_second", "pairs_per_cpu_second", "peak_mib", "above_baseline_mib")
    rate, busy, peak, own = (a[key] / b[key] for key in keys)
    return f"| {mine} | {other} | {rate:.1f} x | {busy:.1f} x | {goal} | {peak:.2f} x | {own:.2f} x |"


def closing(given: argparse.Namespace) -> list[str]:
    return [
        f"`python scripts/benchmark_reward.py --steps {given.steps} --repeats {given.repeats}`",
        "",
        "How it is measured, and what is the same for all:",
        "",
        *(f"    {line}".rstrip() for line in (__doc__ or "").strip().splitlines()[2:]),
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
