"""Turn published or local data into train.parquet, test.parquet and report.json for supervised fine-tuning."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.data import quality
from cookbook_lib.data.catalog import SOURCES
from cookbook_lib.data.converters import CONVERTERS, Options
from cookbook_lib.data.prepare import Job, prepare
from cookbook_lib.data.report import table
from cookbook_lib.data.sources import load_loader

EXAMPLES = """
examples
  no network, no files: the embedded world, whose answers are all known
    python scripts/prepare_sft_data.py --source embedded --output sft_data
  a local file or folder in the source's published format (.json .jsonl .parquet, .gz too)
    python scripts/prepare_sft_data.py --source sharegpt --input conversations.json --output sft_data
  from the Hugging Face hub (pip install datasets)
    python scripts/prepare_sft_data.py --source sharegpt --output ./sft_data
  evaluation-style conversations: verdicts with a critique, from scored responses
    python scripts/prepare_sft_data.py --source judge --input helpsteer2/ --output judge_data
  a domain: a system message for every conversation that has none
    python scripts/prepare_sft_data.py --source alpaca --input medical.jsonl --output sft_data \\
        --system "You are a medical response evaluator. Assess accuracy, clarity and safety."

  a source of your own: a function under @register_source or @register_converter in a file of yours
    python scripts/prepare_sft_data.py --loader my_tickets.py --source tickets --output sft_data

what is written into --output
  train.parquet, test.parquet  a `messages` column of {role, content}; no prompt is in both
  report.json                  rows read, kept, dropped by reason with file and row, lengths, duplicates
  dropped.jsonl                every row that was left out, and why
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when data was written, 2 with one sentence when it was not."""
    try:
        load_loaders(arguments)
        given = parser().parse_args(arguments)
        summary = prepare(job_from(given))
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(summary))
    return 0


def load_loaders(arguments: list[str] | None) -> None:
    """Run the --loader files before the choices of --source are known: they may add to them."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--loader", action="append", default=[])
    for path in early.parse_known_args(arguments)[0].loader:
        load_loader(Path(path))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    width = max(map(len, SOURCES))
    sources = "\n".join(f"  {name:<{width}} {source.about}" for name, source in SOURCES.items())
    epilog = f"sources\n{sources}\n{EXAMPLES}"
    made = argparse.ArgumentParser(description=__doc__, epilog=epilog, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("--source", required=True, choices=list(SOURCES), metavar="NAME", help="format of the data, see below")
    add("--output", required=True, type=Path, metavar="FOLDER", help="where the files go; made if need be")
    add("--input", action="append", default=[], metavar="PATH", help="file, folder or hub:name; may be given again")
    add("--loader", action="append", metavar="FILE.py", help="run a file that registers sources or converters of yours")
    add("--converter", choices=list(CONVERTERS), metavar="NAME", help="read the source's rows as another format")
    add("--limit", type=int, default=-1, metavar="N", help="read at most N rows (default: all)")
    add("--test-ratio", type=float, default=0.1, metavar="R", help="share of the prompts kept for test (default: 0.1)")
    add("--seed", type=int, default=0, help="of the split, and of the embedded world (default: 0)")
    add("--system", metavar="TEXT", help="system message for conversations that have none")
    add("--min-correctness", type=int, default=4, metavar="N", help="helpsteer2: keep correctness >= N (default: 4)")
    add("--reward-threshold", type=float, default=0.95, metavar="R", help="gym: keep rewards >= R (default: 0.95)")
    add("--max-reward", type=float, default=1.0, metavar="R", help="gym: the environment's highest reward (default: 1)")
    add("--aspect", default="helpfulness", help="judge: the score that is judged (default: helpfulness)")
    add(
        "--verdict",
        default="last",
        choices=("first", "last"),
        help="judge: after its critique, or before (default: last)",
    )
    kinds = ("both", "scores", "preferences")
    add(
        "--asks",
        default="both",
        choices=kinds,
        help="judge: scores of one response, preferences of two (default: both)",
    )
    add("--orders", default="one", choices=("one", "both"), help="judge: pairs in one order, or in both (default: one)")
    add(
        "--rubric", metavar="FILE.yaml", help="judge: what is judged by; or a name such as full (default: the aspect's)"
    )
    add("--min-characters", type=int, default=0, metavar="N", help="drop shorter conversations (default: 0)")
    add("--max-characters", type=int, metavar="N", help="drop longer conversations (default: no limit)")
    add("--min-turns", type=int, default=1, metavar="N", help="drop conversations of fewer user turns (default: 1)")
    add("--max-turns", type=int, metavar="N", help="drop conversations of more user turns (default: no limit)")
    add("--keep-duplicates", action="store_true", help="keep exact duplicates")
    add("--tokenizer", metavar="PATH", help="measure lengths in this tokenizer's tokens (default: in characters)")
    add("--progress", action="store_true", help="show progress even where stderr is no terminal")
    return made


def job_from(given: argparse.Namespace) -> Job:
    """The job that the arguments describe."""
    filters = (
        quality.not_empty,
        quality.length(given.max_characters, given.min_characters),
        quality.turns(given.max_turns, given.min_turns),
    )
    return Job(
        source=given.source,
        output=given.output,
        inputs=tuple(given.input),
        converter=given.converter,
        limit=given.limit,
        test_ratio=given.test_ratio,
        seed=given.seed,
        system=given.system,
        options=Options(**{field.name: getattr(given, field.name) for field in fields(Options)}),
        filters=filters,
        keep_duplicates=given.keep_duplicates,
        tokenizer=given.tokenizer,
        progress=given.progress or sys.stderr.isatty(),
    )


if __name__ == "__main__":
    sys.exit(main())
