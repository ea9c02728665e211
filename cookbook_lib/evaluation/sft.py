"""Did it learn? A checkpoint and the model that it was trained from, on the same held-out conversations.

    loss, perplexity     of the supervised tokens, every row
    exact answers        of a sample of rows, where the data says what a right answer states
    ended by itself      share of sampled answers that stopped before the limit: the end of turn is learned too

Both models read the same tokens (the checkpoint's tokenizer and template) and are loaded one after the other. Every figure
has a 95 % bootstrap interval, and so has every difference, on the same draws.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import Example, encode
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.evaluation.answers import Answer, Question, ask, question_of
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.evaluation.intervals import Interval, difference, ratio, share
from cookbook_lib.evaluation.likelihood import RowLosses, row_losses
from cookbook_lib.models.loading import load_tokenizer

Progress = Callable[[str, int, int], object]  # what is being done, how much of it just was, of how much


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    max_length: int = 8192  # longer conversations are shortened as `truncation` says, or left out
    truncation: str = "right"
    train_on: str = "assistant"
    questions: int = 64  # rows that are answered, 0 = none
    max_new_tokens: int = 256
    temperature: float = 0.0
    batch_size: int = 16  # questions answered together
    seed: int = 0  # of the sample of questions, the draws and the intervals
    device: str = "auto"
    dtype: str = "auto"  # bf16 on a GPU, fp32 elsewhere
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Rows:
    """Held-out conversations, tokenised and masked; what had to be left out, by reason."""

    examples: tuple[Example, ...]
    questions: tuple[Question, ...]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> Example:
        return self.examples[i]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(example.input_ids) for example in self.examples], np.int64)


@dataclass(frozen=True)
class Side:
    """One model's figures, row by row."""

    folder: Path
    losses: RowLosses
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Comparison:
    """All that was measured; `base` None when there is nothing to compare with."""

    checkpoint: Side
    base: Side | None
    rows: Rows
    settings: Settings


def compare(
    checkpoint: Path,
    base: Path | None,
    conversations: Sequence[Conversation],
    settings: Settings,
    progress: Progress = lambda what, done, total: None,
) -> Comparison:
    """Measure both models. Raises CookbookError when no row can be used, or the two do not share a vocabulary."""
    tokenizer = load_tokenizer(checkpoint, trust_remote_code=settings.trust_remote_code)
    rows = tokenised(conversations, tokenizer, settings)
    after = measure(checkpoint, tokenizer, rows, settings, lambda *done: progress("checkpoint: " + done[0], *done[1:]))
    if base is None:
        return Comparison(after, None, rows, settings)
    before = measure(base, tokenizer, rows, settings, lambda *done: progress("base: " + done[0], *done[1:]))
    return Comparison(after, before, rows, settings)


def tokenised(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Rows:
    """Rows as training would see them, and a seeded sample of questions: checkable ones, if there are any."""
    examples, kept, left_out = [], [], Counter[str]()
    options: Any = {name: getattr(settings, name) for name in ("max_length", "truncation", "train_on")}
    for conversation in conversations:
        try:
            examples.append(encode(conversation, tokenizer, **options))
            kept.append(conversation)
        except RowRefused as refusal:
            left_out[refusal.reason] += 1
    if not examples:
        why = "; ".join(f"{count} x {reason}" for reason, count in left_out.items()) or "it holds none"
        raise CookbookError(f"no conversation of the held-out data can be used ({why}); give other data.")
    return Rows(tuple(examples), _sample(kept, settings), dict(left_out))


def measure(
    folder: Path, tokenizer: PreTrainedTokenizerBase, rows: Rows, settings: Settings, progress: Progress
) -> Side:
    """One model's losses and answers."""
    model = open_model(
        folder, device=settings.device, dtype=settings.dtype, trust_remote_code=settings.trust_remote_code
    )
    losses = row_losses(model, rows, progress=lambda n: progress("loss", n, len(rows)))
    answers = ask(
        model,
        tokenizer,
        rows.questions,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        batch_size=settings.batch_size,
        progress=lambda n: progress("answers", n, len(rows.questions)),
    )
    return Side(folder, losses, tuple(answers))


def _sample(conversations: Sequence[Conversation], settings: Settings) -> tuple[Question, ...]:
    asked = [question for question in map(question_of, conversations) if question is not None]
    pool = [question for question in asked if question.expected is not None] or asked
    chosen = np.random.default_rng(settings.seed).permutation(len(pool))[: settings.questions]
    return tuple(pool[i] for i in sorted(chosen))


# ------------------------------------------------------------------------------------------------------- the figures


@dataclass(frozen=True)
class Figure:
    """One line of the comparison: an interval for each model that there is, and for the change."""

    name: str
    base: Interval | None
    checkpoint: Interval
    change: Interval | None
    spec: str
    rows: int


def figures(found: Comparison) -> list[Figure]:
    """What was measured, line by line. Exact answers are absent where the data has no checkable answer."""
    weight, seed = found.checkpoint.losses.weight, found.settings.seed
    loss = _figure(
        "loss per token", found, lambda s: s.losses.nll, lambda nll: ratio(nll, weight, seed=seed), weight, ".3f"
    )
    lines, count = [loss, _perplexity(loss)], len(found.rows.questions)
    if count and found.rows.questions[0].expected is not None:
        lines.append(_figure("exact answers", found, lambda s: _shares(s, "right"), share, np.ones(count), ".1%"))
    if count:
        lines.append(_figure("ended by itself", found, lambda s: _shares(s, "finished"), share, np.ones(count), ".1%"))
    return lines


def _figure(
    name: str,
    found: Comparison,
    values: Callable[[Side], NDArray[np.float64]],
    interval: Callable[[NDArray[np.float64]], Interval],
    counts: NDArray[np.float64],
    spec: str,
) -> Figure:
    after = values(found.checkpoint)
    if found.base is None:
        return Figure(name, None, interval(after), None, spec, len(counts))
    before = values(found.base)
    change = difference(after, before, counts, seed=found.settings.seed)
    return Figure(name, interval(before), interval(after), change, spec, len(counts))


def _perplexity(loss: Figure) -> Figure:
    """exp(loss); the change of the loss is a factor here."""
    base, change = (None if side is None else side.map(math.exp) for side in (loss.base, loss.change))
    return Figure("perplexity", base, loss.checkpoint.map(math.exp), change, ".3g", loss.rows)


def _shares(side: Side, what: str) -> NDArray[np.float64]:
    return np.array([float(asdict(answer)[what]) for answer in side.answers])
