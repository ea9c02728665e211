#!/usr/bin/env python3
"""Print by how much the loss and the gradients of one step differ between layouts, measured on CPU ranks of this machine.

    python scripts/parity_table.py                     the embedded model, SFT
    python scripts/parity_table.py --recipe pointwise  scored answers; bradley_terry: pairs
    python scripts/parity_table.py --model PATH        any small model whose query heads 4 divides
    python scripts/parity_table.py --wrong             averages of averages instead, which must fail

Exits 1 when a difference is above the limit.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.display.tables import parity
from cookbook_lib.training.embedded import resolve_model
from cookbook_lib.training.parity import by_the_micro_batch, by_the_step, parity_table
from cookbook_lib.training.parity_reward import BRADLEY_TERRY_STEP, POINTWISE_STEP
from cookbook_lib.training.parity_step import SFT_STEP

STEPS = {step.name: step for step in (SFT_STEP, BRADLEY_TERRY_STEP, POINTWISE_STEP)}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 when all is within the limit."""
    given = parser().parse_args(arguments)
    try:
        folder = resolve_model(given.model)
        divide = by_the_micro_batch if given.wrong else by_the_step
        rows = parity_table(folder, divide=divide, step=STEPS[given.recipe])
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        parity(
            [row.row() for row in rows], given.limit, f"one step of {given.recipe} against plain transformers in fp64"
        )
    )
    return 0 if all(row.loss <= given.limit and row.gradient <= given.limit for row in rows) else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="tiny", help="a folder or hub name; tiny, the embedded model, by default")
    made.add_argument("--recipe", choices=STEPS, default="sft", help="whose step; sft by default")
    made.add_argument("--limit", type=float, default=1e-5, help="relative difference that is allowed (1e-5)")
    made.add_argument("--wrong", action="store_true", help="divide each micro-batch by its own units")
    return made


if __name__ == "__main__":
    raise SystemExit(main())
