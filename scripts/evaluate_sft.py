"""Compare a checkpoint with the model that it was trained from: loss, exact answers, and answers side by side."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.report import Report
from cookbook_lib.display.progress import ProgressBars
from cookbook_lib.display.tables import table
from cookbook_lib.evaluation import report, run_rows
from cookbook_lib.evaluation.checkpoints import Checkpoint, find_base, held_out_files, open_checkpoint
from cookbook_lib.evaluation.sft import Comparison, Settings, compare

EXAMPLES = """
examples
  the best checkpoint of a run, on the run's own validation data, against the model it was trained from
    python scripts/evaluate_sft.py --checkpoint-path checkpoints/best
  other data, another base, everything written down
    python scripts/evaluate_sft.py --checkpoint-path checkpoints/sft-final --base-path ../models/qwen \\
        --data sft_data/test.parquet --limit 200 --output report.json

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
    made = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--checkpoint-path", required=True, metavar="DIR", help="the model folder to evaluate")
    add("--base-path", metavar="DIR", help="compare with this model (default: the one recorded in the checkpoint)")
    add(
        "--data",
        action="append",
        metavar="FILE",
        help="held-out conversations; may be given again (default: the run's)",
    )
    add("--limit", type=int, default=-1, metavar="N", help="read at most N conversations (default: all)")
    add("--output", type=Path, metavar="FILE", help="write everything measured to this JSON file")
    add("--questions", type=int, default=64, metavar="N", help="conversations that are answered (default: 64)")
    add("--max-new-tokens", type=int, default=256, metavar="N", help="longest answer (default: 256)")
    add("--samples", type=int, default=3, metavar="N", help="answers printed side by side (default: 3)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default: 0)")
    add("--batch-size", type=int, default=16, metavar="N", help="questions answered together (default: 16)")
    add("--max-length", type=int, metavar="N", help="tokens of a conversation (default: the run's, else 8192)")
    add("--train-on", choices=("assistant", "last_assistant", "all"), help="what the loss is of (default: the run's)")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--dtype", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 on a GPU, fp32 elsewhere")
    add("--seed", type=int, default=0, help="of the sample of questions and of the intervals")
    add("--trust-remote-code", action="store_true", help="run code that comes with the model")
    return made


def evaluate(given: argparse.Namespace) -> None:
    """Measure, print, write."""
    if given.output is not None:
        require_writable(given.output)
    checkpoint = open_checkpoint(given.checkpoint_path)
    base, told = find_base(checkpoint, given.base_path)
    files = given.data or held_out_files(checkpoint)
    bars, rows = ProgressBars(), conversations(checkpoint, files, given.limit)
    found = compare(checkpoint.folder, base, rows, settings(checkpoint, given), bars)
    bars.finish()
    show(found, told, given.samples)
    if given.output is not None:
        text = json.dumps(report.as_json(found, told, files), indent=2, ensure_ascii=False)
        given.output.write_text(text + "\n", encoding="utf-8")
        print(f"\nwritten: {given.output}")


def conversations(checkpoint: Checkpoint, files: list[str], limit: int) -> list[Conversation]:
    """The held-out rows, read as the run reads its own; broken ones are said and left out."""
    account = Report()
    found = run_rows.conversations(checkpoint, files, limit=limit, report=account)
    for reason, count in account.reasons.items():
        print(f"left out: {count} rows: {reason}", file=sys.stderr)
    return found


def settings(checkpoint: Checkpoint, given: argparse.Namespace) -> Settings:
    """The run's way to cut and mask, and the command's everything else."""
    return run_rows.settings(
        checkpoint,
        max_length=given.max_length or None,
        train_on=given.train_on,
        questions=given.questions,
        max_new_tokens=given.max_new_tokens,
        temperature=given.temperature,
        batch_size=given.batch_size,
        seed=given.seed,
        device=given.device,
        dtype=given.dtype,
        trust_remote_code=given.trust_remote_code,
    )


def show(found: Comparison, told: str, samples: int) -> None:
    """The table, what must be known beside it, and some answers."""
    print(table(report.table_rows(found), f"{found.checkpoint.folder} · {len(found.rows):,} held-out conversations"))
    for note in [told, *report.notes(found)]:
        print(f"  {note}")
    for row in report.sample_rows(found, samples):
        print("\n" + "─" * 80)
        for name, text in shown(row):
            print(f"{name:>11} │ " + text.replace("\n", "\n" + " " * 11 + " │ "))


def shown(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(who, what) of one sample."""
    lines = [(message["role"], message["content"] or "") for message in row["prompt"]] + [("data", row["reference"])]
    marks = {True: "  [right]", False: "  [wrong]", None: ""}
    return lines + [
        (side, row[side] + marks[row[f"{side} right"]] + ("" if row[f"{side} ended"] else "  [cut]"))
        for side in ("base", "checkpoint")
        if side in row
    ]


def require_writable(output: Path) -> None:
    """Fail before the work and not after it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CookbookError(
            f"--output {output}: its folder cannot be made ({error.strerror}); give another path."
        ) from error
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise CookbookError(f"--output {output} cannot be written; give the path of a file in a folder of yours.")


if __name__ == "__main__":
    sys.exit(main())
