"""Turn NeMo Gym rollouts into JSON Lines for supervised fine-tuning, keeping those whose reward is high enough."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options
from cookbook_lib.data.report import table
from cookbook_lib.data.rollouts import FORMATS, transform_rollouts

EXAMPLES = """
examples
  messages and tools, for chat templates
    python scripts/transform_gym_to_sft.py --input rollouts.jsonl --output sft_data/train.jsonl \\
        --reward_threshold 0.95 --format openai
  input and output only
    python scripts/transform_gym_to_sft.py --input rollouts.jsonl --output sft_data/train.jsonl --format simple
  an environment whose rewards go up to 2
    python scripts/transform_gym_to_sft.py --input rollouts.jsonl --output sft_data/train.jsonl \\
        --reward_threshold 1.9 --max_reward 2

beside the output stands <output>.report.json: rows read, kept, and dropped by reason with file and row.
To get parquet with a test set instead: python scripts/prepare_sft_data.py --source gym --input rollouts.jsonl ...
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when something was written, 2 with one sentence when not."""
    given = parser().parse_args(arguments)
    options = Options(reward_threshold=given.reward_threshold, max_reward=given.max_reward)
    watch = partial(_bar, quiet=not (given.progress or sys.stderr.isatty()))
    try:
        summary = transform_rollouts(given.input, given.output, form=given.format, options=options, watch=watch)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(summary))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line; names have underscores, and hyphens are understood too."""
    made = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--input", action="append", required=True, metavar="PATH", help="file or folder of rollouts; may be given again"
    )
    add("--output", required=True, type=Path, metavar="FILE", help="JSON Lines to write")
    add(
        "--reward_threshold",
        "--reward-threshold",
        type=float,
        default=0.95,
        metavar="R",
        help="keep rewards >= R (default: 0.95)",
    )
    add(
        "--max_reward",
        "--max-reward",
        type=float,
        default=1.0,
        metavar="R",
        help="the environment's highest reward (default: 1)",
    )
    add("--format", choices=list(FORMATS), default="openai", help="messages and tools, or input and output")
    add("--progress", action="store_true", help="show progress even where stderr is no terminal")
    return made


def _bar(rows: Iterable, quiet: bool) -> Iterable:
    return tqdm(rows, unit=" rollouts", disable=quiet, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
