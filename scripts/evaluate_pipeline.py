"""Measure what a pipeline made: the SFT model against its base, reward models and judges that write on held-out pairs, on prompts
with known verdicts, and on public benchmarks."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.files import read_tasks
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.display import judge_pictures, save_pictures
from cookbook_lib.display.progress import ProgressBars
from cookbook_lib.display.tables import table
from cookbook_lib.evaluation import report as sft_report
from cookbook_lib.evaluation.as_trained import as_trained, left_out
from cookbook_lib.evaluation.benchmarks import BENCHMARKS, BenchmarkResult, table_rows
from cookbook_lib.evaluation.checkpoints import find_base, held_out_files, open_checkpoint
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.generators import ServerGenerator
from cookbook_lib.evaluation.judge_report import JudgeReport, write_report
from cookbook_lib.evaluation.judges import LengthJudge
from cookbook_lib.evaluation.open_judge import NEW_TOKENS, distinct_names, judge_over, open_generative
from cookbook_lib.evaluation.openai_chat import OpenAIChatModel
from cookbook_lib.evaluation.panel import (
    drift_rows,
    marks,
    reports_on_pairs,
    reports_on_scores,
    reports_on_tasks,
    reports_on_writing,
    together,
    write_transcripts,
)
from cookbook_lib.evaluation.pipeline import on_benchmarks
from cookbook_lib.evaluation.probes import best_of_rows
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.run_rows import conversations, pair_columns, pair_files, reading, settings, task_files
from cookbook_lib.evaluation.sft import compare

LEARNED = 20_000  # pairs that a bag of words learns from
Judges = Sequence[RewardJudge | GenerativeJudge]
ROWS = 1000  # of conversations and of pairs; part of a benchmark is another benchmark
EXAMPLES = """
examples
  both models of a pipeline, on the validation data of their own runs
    python scripts/evaluate_pipeline.py --sft-model ../sft/checkpoints/sft-final --reward-model ./checkpoints/bt-final
  a reward model of anybody's on public benchmarks, from local files or (NAME alone) from the hub
    python scripts/evaluate_pipeline.py --reward-model ./bt-final --benchmark rewardbench2=data/rb2.parquet --benchmark judgebench
  held-out pairs of your own, everything written down with its pictures
    python scripts/evaluate_pipeline.py --reward-model ./bt-final --pairs reward_data/test.parquet --output evaluation
  judges that write their verdicts beside it, in one table; every text is kept in --output
    python scripts/evaluate_pipeline.py --reward-model ./bt-final --judge-model ./judge-final --judge-model ../sft/sft-final \\
        --pairs reward_data/test.parquet --benchmark judgebench=judgebench.jsonl --output evaluation
  a judge on the prompts that its own run validated on: agreement with the known verdicts; five votes a prompt
    python scripts/evaluate_pipeline.py --judge-model ./judge-final --votes 5
  a judge behind an OpenAI-compatible server, and a rubric of your own
    python scripts/evaluate_pipeline.py --judge-url http://localhost:8000 --judge-model qwen --rubric support.yaml --pairs test.parquet

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
    add(
        "--judge-model",
        action="append",
        default=[],
        metavar="DIR",
        help="a causal model that writes verdicts; may be given again",
    )
    add(
        "--judge-url",
        metavar="URL",
        help="the judge models are names at this OpenAI-compatible server (key: OPENAI_API_KEY)",
    )
    add(
        "--judge-by", choices=("comparisons", "scores"), help="how judge models compare (default: as they were trained)"
    )
    add("--rubric", metavar="FILE", help="what judge models judge by (default: their run's, or the project's own)")
    add("--votes", type=int, metavar="N", help="texts of judge models for each prompt (default: 1)")
    add("--max-new-tokens", type=int, metavar="N", help="longest text of judge models (default: their run's, or 512)")
    add(
        "--tasks",
        action="append",
        metavar="FILE",
        help="prompts with known verdicts (default: those of a judge model's run)",
    )
    add("--sft-data", action="append", metavar="FILE", help="held-out conversations (default: the SFT run's)")
    add("--pairs", action="append", metavar="FILE", help="held-out pairs (default: the reward model's run's)")
    add("--scores", action="append", metavar="FILE", help="held-out responses with a score, for all judges")
    add("--train-pairs", action="append", metavar="FILE", help="what a bag of words learns from, to compare with")
    add("--benchmark", action="append", default=[], metavar="NAME[=FILE]", help="a public benchmark; others may follow")
    add("--limit", type=int, metavar="N", help=f"rows of each at most, -1: all (default: {ROWS:,}, of benchmarks all)")
    add("--output", type=Path, metavar="DIR", help="write report.json and the pictures there")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--seed", type=int, default=0, help="of samples, intervals, and the order in which answers are shown")
    add("--trust-remote-code", action="store_true", help="run code that comes with a model")
    return made


def evaluate(given: argparse.Namespace) -> None:
    """Measure, print, write."""
    if not (given.sft_model or given.reward_model or given.judge_model):
        raise CookbookError("nothing to evaluate; give --sft-model, --reward-model, --judge-model, or several")
    check_judge_options(given)
    if given.limit == 0:
        raise CookbookError("--limit is 0, which leaves nothing to judge; give a number of rows, or -1 for all")
    named_benchmarks(given)
    if given.output:
        write_report({}, given.output)  # fail before the work and not after it
    document: dict[str, Any] = {}
    if given.sft_model:
        document["sft"] = compare_sft(given)
    if given.reward_model or given.judge_model:
        document |= evaluate_judges(given)
    if given.output:
        print(f"\nwritten: {write_report(document, given.output)}")


def compare_sft(given: argparse.Namespace) -> dict[str, Any]:
    """The SFT model and its base on held-out conversations, read as its run read them, shown; what is written of it."""
    checkpoint = open_checkpoint(given.sft_model)
    base, told = find_base(checkpoint, None)
    files, limit, counts = given.sft_data or held_out_files(checkpoint), limit_of(given, ROWS), Report()
    rows = conversations(checkpoint, files, limit=limit, report=counts)
    options: Any = {name: getattr(given, name) for name in ("seed", "device", "trust_remote_code")}
    how = settings(checkpoint, max_new_tokens=128, **options)
    found = compare(checkpoint.folder, base, rows, how, ProgressBars())
    notes = [told, *sft_report.notes(found), *told_of(counts, limit)]
    print(table(sft_report.table_rows(found), f"{checkpoint.folder}: held-out conversations"))
    print(*(f"  {note}" for note in notes), sep="\n")
    return sft_report.as_json(found, told, files) | {"notes": notes}


def check_judge_options(given: argparse.Namespace) -> None:
    """Raise CookbookError for options of judge models where there is none."""
    names = ("judge_url", "judge_by", "rubric", "votes", "max_new_tokens", "tasks")
    idle = [f"--{name.replace('_', '-')}" for name in names if getattr(given, name) is not None]
    if idle and not given.judge_model:
        raise CookbookError(f"{', '.join(idle)} has no effect without --judge-model; give one, or leave it out")


def evaluate_judges(given: argparse.Namespace) -> dict[str, Any]:
    """The reward model and the judge models on pairs, scores, tasks and benchmarks; what is written of it."""
    judges, bars = open_judges(given), ProgressBars()
    reports = on_pairs(given, judges, bars)
    asked = {"scores": on_scores(given, judges, bars), "tasks": on_tasks(given, judges, bars)}
    bars.finish()
    if not (reports or any(asked.values()) or given.benchmark):
        models = ", ".join(filter(None, [given.reward_model, *given.judge_model]))
        raise CookbookError(f"{models} names no validation pairs; give --pairs FILE or --benchmark NAME=FILE")
    results = benchmark_results(given, judges)
    if drift := drift_rows(judges, seed=given.seed):
        print(f"\n{table(drift, 'Length of what judges write')}")
    return written_of(given, judges, reports, asked, results)


def open_judges(given: argparse.Namespace) -> Judges:
    """The reward model first. Each has a name of its own, under which its figures stand."""
    options: Any = {"device": given.device, "trust_remote_code": given.trust_remote_code}
    scalar = [given.reward_model] if given.reward_model else []
    called = given.judge_model if given.judge_url else [Path(path).name for path in given.judge_model]
    names = distinct_names([*(Path(path).name for path in scalar), *called], [*scalar, *given.judge_model])
    found: list[Any] = [RewardJudge(path, name=names[0], **options) for path in scalar]
    own: Any = {
        "votes": 1 if given.votes is None else given.votes,
        "keep": given.output is not None,
        "rubric": given.rubric,
        "seed": given.seed,
    }
    for path, name in zip(given.judge_model, names[len(found) :], strict=True):
        if given.judge_url:
            key, tokens = os.environ.get("OPENAI_API_KEY"), given.max_new_tokens or NEW_TOKENS
            model = OpenAIChatModel(given.judge_url, path, api_key=key, max_new_tokens=tokens)
            found.append(judge_over(ServerGenerator(model), given.judge_by or "comparisons", name=name, **own))
        else:
            extra: Any = {"by": given.judge_by, "max_new_tokens": given.max_new_tokens, "name": name}
            found.append(open_generative(path, **options, **extra, **own))
    return found


def on_pairs(given: argparse.Namespace, judges: Judges, bars: ProgressBars) -> list[JudgeReport]:
    """All judges on held-out pairs, shown; [] where there are none. A run's own pairs are read as it read them."""
    files = given.pairs or (pair_files(given.reward_model, "val_files") if given.reward_model else [])
    if not files:
        return []
    limit, columns = limit_of(given, ROWS), pair_columns(given.reward_model) if given.reward_model else {}
    counts, learned, first = Report(unit="pairs"), Report(unit="pairs"), judges[0]
    pairs = list(read_pairs(files, limit=limit, report=counts, **({} if given.pairs else columns)))
    if not given.pairs and isinstance(first, RewardJudge):
        pairs = as_trained(pairs, first.model.tokenizer, report=counts, **reading(given.reward_model))
    training = training_pairs(given, columns, learned)
    found = reports_on_pairs(judges, pairs, training=training, seed=given.seed, watch=bars)
    words = [f"bag of words: {note}" for note in told_of(learned, LEARNED)]
    return shown(found, "held-out pairs", [*told_of(counts, limit), *words])


def on_scores(given: argparse.Namespace, judges: Judges, bars: ProgressBars) -> list[JudgeReport]:
    """All judges on held-out responses with a score, shown."""
    if not given.scores:
        return []
    limit, counts = limit_of(given, ROWS), Report(unit="responses")
    responses = list(read_scores(given.scores, limit=limit, report=counts))
    found = reports_on_scores(judges, responses, seed=given.seed, watch=bars)
    return shown(found, "held-out scores", told_of(counts, limit))


def on_tasks(given: argparse.Namespace, judges: Judges, bars: ProgressBars) -> list[JudgeReport]:
    """Judges that write on prompts with known verdicts, shown: those given, or what the first one's run validated on."""
    own = bool(given.judge_model) and not given.judge_url
    files = given.tasks or (task_files(given.judge_model[0], "val_files") if own else [])
    if not files:
        return []
    limit, counts = limit_of(given, ROWS), Report(unit="prompts")
    tasks = list(read_tasks(files, limit=limit, report=counts))
    if tasks and not given.tasks and all(task.kind == "answer" for task in tasks):
        print(f"{given.judge_model[0]} learned to answer: its own prompts ask for no verdict; --tasks gives others")
        return []
    found = reports_on_tasks(judges, tasks, seed=given.seed, watch=bars)
    return shown(found, "prompts with known verdicts", told_of(counts, limit))


def told_of(counts: Report, limit: int) -> list[str]:
    """What a reader must know of rows that were read: that they are the first alone, what was left out, and why."""
    first = [f"of the first {limit:,} {counts.unit}"] if 0 < limit <= counts.kept else []
    return first + list(left_out(counts))


def shown(reports: Sequence[JudgeReport], on: str, told: Sequence[str] = ()) -> list[JudgeReport]:
    """The reports, with what is told of their rows, printed as one table with all notes."""
    reports = [replace(report, notes=(*report.notes, *told)) for report in reports]
    names = ", ".join(report.name for report in reports)
    print(f"\n{table(together(reports), f'{names}: {on}')}")
    for note in dict.fromkeys(note for report in reports for note in report.notes):
        print(f"  {note}")
    return reports


def written_of(
    given: argparse.Namespace,
    judges: Judges,
    reports: Sequence[JudgeReport],
    asked: Mapping[str, Sequence[JudgeReport]],
    results: Sequence[BenchmarkResult],
) -> dict[str, Any]:
    """What is written: the first judge's report, those of the others, agreement, benchmarks; pictures and texts go beside it."""
    first, *others = [report.as_json() for report in reports] or [{}]
    if given.output:
        save_pictures(judge_pictures(first), given.output)
        write_transcripts(judges, given.output)
    more = {"others": others} if others else {}
    more |= {on: [report.as_json() for report in found] for on, found in asked.items() if found}
    return first | more | {"results": [result.as_json() for result in results]}


def training_pairs(given: argparse.Namespace, columns: dict[str, str], counts: Report) -> list[PreferencePair]:
    """What a bag of words learns from: the pairs that were given, or the run's own."""
    files = given.train_pairs or (pair_files(given.reward_model, "train_files") if given.reward_model else [])
    options = {} if given.train_pairs else columns
    return list(read_pairs(files, limit=LEARNED, report=counts, **options)) if files else []


def named_benchmarks(given: argparse.Namespace) -> dict[str, str | None]:
    """The file of each benchmark, None: as it is published. Raises CookbookError where one is named twice."""
    named = [(name, file or None) for name, _, file in (text.partition("=") for text in given.benchmark)]
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            raise CookbookError(
                f"--benchmark names {name} {count} times, but it is evaluated once; "
                "name a folder that holds all its files, or evaluate them one after the other"
            )
    return dict(named)


def benchmark_results(given: argparse.Namespace, judges: Judges) -> list[BenchmarkResult]:
    """Every benchmark named, by the judges and by the longer answer, printed."""
    before, others = marks(judges), [*judges[1:], LengthJudge()]
    options: Any = {"limit": limit_of(given, -1), "seed": given.seed}
    results = on_benchmarks(judges[0], named_benchmarks(given), judges=others, **options)
    if results:
        print(f"\n{table(table_rows(results), 'Public benchmarks')}")
        for note in dict.fromkeys(f"{result.name}: {note}" for result in results for note in result.notes):
            print(f"  {note}")
        if picked := best_of_rows(results, seed=given.seed):
            print(f"\n{table(picked, 'Best of n')}")
    if wrote := reports_on_writing(judges, before, seed=given.seed):
        shown(wrote, "what was written for the benchmarks")
    return results


def limit_of(given: argparse.Namespace, otherwise: int) -> int:
    """Rows to read at most."""
    return otherwise if given.limit is None else int(given.limit)


if __name__ == "__main__":
    sys.exit(main())
