"""Measure what a pipeline made: the SFT model against its base, the reward model on held-out pairs and on public benchmarks."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.data.hub import is_hub
from cookbook_lib.data.records import read_conversations
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.display import judge_pictures, save_pictures
from cookbook_lib.display.progress import ProgressBars
from cookbook_lib.display.tables import table
from cookbook_lib.evaluation import report as sft_report
from cookbook_lib.evaluation.as_trained import as_trained
from cookbook_lib.evaluation.benchmarks import BENCHMARKS, BenchmarkResult, table_rows
from cookbook_lib.evaluation.checkpoints import find_base, held_out_files, open_checkpoint
from cookbook_lib.evaluation.held_out_answers import baselines, missing, score_pairs
from cookbook_lib.evaluation.judge_report import JudgeReport, judge_report, write_report
from cookbook_lib.evaluation.judges import LengthJudge
from cookbook_lib.evaluation.pipeline import on_benchmarks
from cookbook_lib.evaluation.probes import best_of_rows, probes
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.sft import Comparison, Settings, compare

LEARNED = 20_000  # pairs that a bag of words learns from
ROWS = 1000  # of conversations and of pairs; part of a benchmark is another benchmark
EXAMPLES = """
examples
  both models of a pipeline, on the validation data of their own runs
    python scripts/evaluate_pipeline.py --sft-model ../sft/checkpoints/sft-final --reward-model ./checkpoints/bt-final
  a reward model of anybody's on public benchmarks, from local files or (NAME alone) from the hub
    python scripts/evaluate_pipeline.py --reward-model ./bt-final --benchmark rewardbench2=data/rb2.parquet --benchmark judgebench
  held-out pairs of your own, everything written down with its pictures
    python scripts/evaluate_pipeline.py --reward-model ./bt-final --pairs reward_data/test.parquet --output evaluation

exit status: 0 measured, 2 not (one sentence says why)
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parser().parse_args(arguments)
    try:
        evaluate(given)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    known = "\n".join(f"  {name:<13} {benchmark.about}" for name, benchmark in sorted(BENCHMARKS.items()))
    made = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"benchmarks\n{known}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--sft-model", metavar="DIR", help="a tuned model: loss and exact answers against its base")
    add("--reward-model", metavar="DIR", help="a reward model, or any Hugging Face sequence classifier")
    add("--sft-data", action="append", metavar="FILE", help="held-out conversations (default: the SFT run's)")
    add("--pairs", action="append", metavar="FILE", help="held-out pairs (default: the reward model's run's)")
    add("--train-pairs", action="append", metavar="FILE", help="what a bag of words learns from, to compare with")
    add(
        "--benchmark", action="append", default=[], metavar="NAME[=FILE]", help="a public benchmark; may be given again"
    )
    add("--limit", type=int, metavar="N", help=f"rows of each at most, -1: all (default: {ROWS:,}, of benchmarks all)")
    add("--output", type=Path, metavar="DIR", help="write report.json and the pictures there")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--seed", type=int, default=0, help="of the sample of questions and of the intervals")
    add("--trust-remote-code", action="store_true", help="run code that comes with a model")
    return made


def evaluate(given: argparse.Namespace) -> None:
    """Measure, print, write."""
    if not (given.sft_model or given.reward_model):
        raise CookbookError("nothing to evaluate; give --sft-model, --reward-model, or both")
    if given.limit == 0:
        raise CookbookError("--limit is 0, which leaves nothing to judge; give a number of rows, or -1 for all")
    if given.output:
        write_report({}, given.output)  # fail before the work and not after it
    document: dict[str, Any] = {}
    if given.sft_model:
        document["sft"] = show_sft(compare_sft(given))
    if given.reward_model:
        document |= evaluate_reward(given)
    if given.output:
        print(f"\nwritten: {write_report(document, given.output)}")


def compare_sft(given: argparse.Namespace) -> tuple[Comparison, str]:
    """The SFT model and its base on held-out conversations."""
    checkpoint = open_checkpoint(given.sft_model)
    base, told = find_base(checkpoint, None)
    data = checkpoint.run.get("data", {})
    files = given.sft_data or held_out_files(checkpoint)
    rows = list(read_conversations(files, limit=limit_of(given, ROWS), report=Report()))
    settings = Settings(
        max_length=data.get("max_length", Settings.max_length),
        train_on=data.get("train_on", Settings.train_on),
        max_new_tokens=128,
        seed=given.seed,
        device=given.device,
        trust_remote_code=given.trust_remote_code,
    )
    return compare(checkpoint.folder, base, rows, settings, ProgressBars()), told


def show_sft(found: tuple[Comparison, str]) -> dict[str, Any]:
    """Print the comparison; what is written of it."""
    comparison, told = found
    print(table(sft_report.table_rows(comparison), f"{comparison.checkpoint.folder}: held-out conversations"))
    for note in [told, *sft_report.notes(comparison)]:
        print(f"  {note}")
    return sft_report.as_json(comparison, told, [])


def evaluate_reward(given: argparse.Namespace) -> dict[str, Any]:
    """The reward model on pairs and on benchmarks; what is written of it."""
    document: dict[str, Any] = {}
    files = given.pairs or pair_files(given.reward_model, "val_files")
    if files:
        found = judge(given, files)
        document |= found.as_json()
        print(f"\n{table(found.rows(), f'{found.name}: held-out pairs')}")
        for note in found.notes:
            print(f"  {note}")
        if given.output:
            save_pictures(judge_pictures(document), given.output)
    elif not given.benchmark:
        raise CookbookError(
            f"{given.reward_model} names no validation pairs; give --pairs FILE or --benchmark NAME=FILE"
        )
    results = benchmark_results(given)
    if results:
        print(f"\n{table(table_rows(results), 'Public benchmarks')}")
        for note in dict.fromkeys(f"{result.name}: {note}" for result in results for note in result.notes):
            print(f"  {note}")
        if picked := best_of_rows(results):
            print(f"\n{table(picked, 'Best of n')}")
    return document | {"results": [result.as_json() for result in results]}


def judge(given: argparse.Namespace, files: list[str]) -> JudgeReport:
    """Pairs scored, and the judges beside it that understand nothing. The run's own pairs are read as it read them."""
    counts, columns = Report(unit="pairs"), pair_columns(given.reward_model)
    pairs = list(read_pairs(files, limit=limit_of(given, ROWS), report=counts, **({} if given.pairs else columns)))
    learned = training_pairs(given, columns)
    bars = ProgressBars()
    reward = RewardJudge(
        given.reward_model,
        device=given.device,
        trust_remote_code=given.trust_remote_code,
        progress=lambda done: bars("pairs", done, 2 * len(pairs)),
    )
    if not given.pairs:
        pairs = as_trained(pairs, reward.model.tokenizer, report=counts, **reading(given.reward_model))
    scored = score_pairs(reward.score, pairs)
    bars.finish()
    reward.progress = None
    asked = probes(reward, pairs, seed=given.seed)
    found = judge_report(reward.name, scored, baselines=baselines(pairs, learned), more=asked, seed=given.seed)
    return replace(found, notes=(*found.notes, *reward.notes, *missing(counts, reward)))


def training_pairs(given: argparse.Namespace, columns: dict[str, str]) -> list[PreferencePair]:
    """What a bag of words learns from: the pairs that were given, or the run's own."""
    files = given.train_pairs or pair_files(given.reward_model, "train_files")
    options = {} if given.train_pairs else columns
    return list(read_pairs(files, limit=LEARNED, report=Report(), **options)) if files else []


def benchmark_results(given: argparse.Namespace) -> list[BenchmarkResult]:
    """Every benchmark named, by the model and by the longer answer."""
    named = {name: file or None for name, _, file in (text.partition("=") for text in given.benchmark)}
    options: dict[str, Any] = {"device": given.device, "limit": limit_of(given, -1), "judges": [LengthJudge()]}
    return on_benchmarks(given.reward_model, named, trust_remote_code=given.trust_remote_code, **options)


def limit_of(given: argparse.Namespace, otherwise: int) -> int:
    """Rows to read at most."""
    return otherwise if given.limit is None else int(given.limit)


def pair_files(model: str, key: str) -> list[str]:
    """Files of pairs of the run that a model belongs to, if it is known, learned from pairs, and they are there."""
    run = open_checkpoint(model).run
    named = run.get("data", {}).get(key) or [] if run.get("recipe") == "bradley_terry" else []
    files = [named] if isinstance(named, str) else list(named)
    return files if all(is_hub(file) or Path(file).exists() for file in files) else []


def reading(model: str) -> dict[str, Any]:
    """How that run read its pairs."""
    return {key: open_checkpoint(model).run["data"][key] for key in ("max_length", "truncation")}


def pair_columns(model: str) -> dict[str, str]:
    """What the columns of that run's pairs are called."""
    data = open_checkpoint(model).run.get("data", {})
    return {key: data[key] for key in ("prompt_key", "chosen_key", "rejected_key") if key in data}


if __name__ == "__main__":
    sys.exit(main())
