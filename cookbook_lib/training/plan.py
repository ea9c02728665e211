"""The arithmetic of a run: what follows from the config, the data and the mesh. Shown as a table, never written back.

dp = world / sp                       ranks that see different conversations
steps = ceil(epochs x rows / train_batch_size)      every step full, across the seams between epochs
token budget of a forward = micro_batch_size x max_length
forwards per step = the fewest in which every rank's share fits the budget (measured on the first epoch)
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cookbook_lib.config import CookbookError
from cookbook_lib.data.loader import Batches, Examples
from cookbook_lib.parallel.mesh import Mesh

LOOK_AT = 50  # steps whose layout is worked out for the table


@dataclass(frozen=True)
class Plan:
    rows: int
    val_rows: int
    tokens: int  # of one epoch
    train_batch_size: int  # rows per optimizer step
    steps_per_epoch: float
    total_steps: int
    warmup_steps: int
    world_size: int
    dp: int
    sp: int
    token_budget: int  # tokens of one forward of one data-parallel group, at most
    forwards_per_step: float  # mean over the first steps
    tokens_per_forward: float  # mean
    filled: float  # share of computed positions that are real tokens
    imbalance: float  # slowest rank's cost over the mean, 1 = none
    notes: tuple[str, ...] = ()
    row: str = "conversation"  # what a row is: conversation, pair, response

    def rows_of_table(self) -> list[tuple[str, str]]:
        """(what, how much) for display."""
        tokens = "tokens with their completions, at most" if self.row == "prompt" else "tokens"
        shown = [
            (f"{self.row}s", f"{self.rows:,} to train on ({self.tokens:,} {tokens}), {self.val_rows:,} to validate on"),
            ("processes", f"{self.world_size}: {self.dp} read different {self.row}s, {self.sp} share each sequence"),
            (f"{self.row}s per step", f"{self.train_batch_size:,}"),
            (
                "steps",
                f"{self.total_steps:,} ({self.steps_per_epoch:,.1f} per epoch), the first {self.warmup_steps:,} warming up",
            ),
            ("forwards per step", f"{self.forwards_per_step:.3g} on each process"),
            ("tokens per forward", f"{self.tokens_per_forward:,.0f} on average, {self.token_budget:,} at most"),
            ("filled", f"{self.filled:.1%} of the computed positions are real tokens"),
            ("balance", f"the slowest process has {self.imbalance:.1%} of the mean work"),
        ]
        return shown + [("note", note) for note in self.notes]


def make_plan(
    *, batch_size: int, micro_batch_size: int, total_epochs: float, total_training_steps: int | None,
    warmup_steps: int | None, warmup_ratio: float, mesh: Mesh, loader: Batches, val: Examples | None,
    row: str = "conversation", notes: Iterable[str] = (),
) -> Plan:  # fmt: skip
    """Work the numbers out, or say what does not fit, everything at once. notes: further ones, of the config."""
    rows = len(loader.examples)
    problems = [
        p
        for p in (
            _too_few(rows, batch_size, mesh.dp, row, loader),
            _bad_split(batch_size, micro_batch_size, mesh.dp, loader),
        )
        if p
    ]
    if problems:
        raise CookbookError("\n".join(problems))
    steps = total_training_steps or loader.steps(total_epochs)
    looked = [_look(loader, step) for step in range(min(LOOK_AT, steps))]
    forwards = sum(look["forwards"] for look in looked)
    return Plan(
        rows=rows,
        val_rows=len(val) if val is not None else 0,
        tokens=int(loader.examples.lengths.sum()),
        train_batch_size=loader.batch_size,
        steps_per_epoch=rows / loader.batch_size,
        total_steps=steps,
        warmup_steps=warmup_steps if warmup_steps is not None else round(warmup_ratio * steps),
        world_size=mesh.world_size,
        dp=mesh.dp,
        sp=mesh.sp,
        token_budget=loader.max_tokens,
        forwards_per_step=forwards / len(looked),
        tokens_per_forward=sum(look["tokens"] for look in looked) / (forwards * mesh.dp),
        filled=sum(look["tokens"] for look in looked) / sum(look["computed"] for look in looked),
        imbalance=sum(look["slowest"] for look in looked) / sum(look["mean"] for look in looked),
        notes=(*_notes(rows, batch_size, mesh.dp, row, loader), *notes),
        row=row,
    )


def _too_few(rows: int, batch_size: int, dp: int, row: str, loader: Batches) -> str | None:
    if loader.pieces >= dp:
        return None
    if row == "prompt":
        return (
            f"a step has {loader.pieces} completions (data.train_batch_size / rollout.updates prompts, rollout.n of each), which "
            f"gives some of the {dp} data-parallel ranks nothing to do: raise train_batch_size or n, lower updates, or use fewer "
            "processes."
        )
    if batch_size < dp:
        return (
            f"data.train_batch_size={batch_size} gives some of the {dp} data-parallel ranks nothing to do: use at least {dp}, "
            "fewer processes, or a larger ulysses_sequence_parallel_size."
        )
    return f"data.train_files hold {rows} usable {row}s for {dp} data-parallel ranks: give more data or use fewer processes."


def _bad_split(batch_size: int, micro: int, dp: int, loader: Batches) -> str | None:
    """The padded form cuts a step into equal rows; packed, the token budget decides and any number works."""
    unit = micro * dp
    if loader.max_rows is None or batch_size % unit == 0:
        return None
    near = sorted({max(1, batch_size // unit) * unit, -(-batch_size // unit) * unit})
    return (
        f"data.train_batch_size={batch_size} is not a multiple of data.micro_batch_size={micro} x {dp} data-parallel ranks = {unit}, "
        f"which the padded form (use_remove_padding=false) needs: the nearest that are: {', '.join(map(str, near))}."
    )


def _notes(rows: int, batch_size: int, dp: int, row: str, loader: Batches) -> list[str]:
    notes, step = [], loader.batch_size if row == "prompt" else batch_size
    if step < dp:
        notes.append(
            f"a step's {step} {row}s over {dp} ranks: groups of completions are cut, and each part computes its prompt again"
        )
    elif step % dp:
        near = f"{step // dp * dp} or {-(-step // dp) * dp}"
        notes.append(
            f"a step's {step} {row}s over {dp} ranks: {step / dp:.1f} each on average ({near} would divide evenly)"
        )
    if rows < batch_size:
        notes.append(f"there are only {rows} {row}s: a step holds all of them, not {batch_size}")
    return notes


def _look(loader: Batches, step: int) -> dict[str, float]:
    ranks = loader.loads(step)
    work = [sum(load.cost for load in rank) for rank in ranks]
    return {
        "forwards": len(ranks[0]),
        "tokens": sum(load.tokens for rank in ranks for load in rank),
        "computed": sum(load.positions for rank in ranks for load in rank),
        "slowest": max(work),
        "mean": sum(work) / len(work),
    }
