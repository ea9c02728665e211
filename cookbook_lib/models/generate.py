"""Answers from a causal language model of plain transformers, many at once.

    prompts   . . a b c | d          padded on the left, so that every row's next token stands in the same column
              e f g h i | j
    step      one forward over that column; the keys and values of everything before it are in the cache
    done      a row that ends leaves the batch, and takes its part of the cache along

Token t of row i is drawn with row i's own generator, so what a row says does not depend on who shares its batch (but for
rounding). Greedy at temperature 0. Rows of like length are batched together.

Shapes: B rows still unfinished, T tokens so far, V vocab.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from cookbook_lib.config import CookbookError


@dataclass(frozen=True)
class Completion:
    """What follows a prompt: its tokens, the stop token left out; `finished` False when it was cut at the limit."""

    ids: tuple[int, ...]
    finished: bool


@dataclass
class _Row:
    number: int
    prompt: Sequence[int]
    random: torch.Generator
    ids: list[int] = field(default_factory=list)


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    batch_size: int = 16,
    progress: Callable[[int], object] | None = None,
) -> list[Completion]:
    """One completion for each prompt (token ids), in the order of the prompts.

    stop_ids: any of these tokens ends a row; those of the model's generation config do so as well. temperature: 0 takes
    the likeliest token; above, tokens are drawn from softmax(logits / temperature). seed: one for all, or one for each
    row. progress: called with the number of rows just finished. Raises CookbookError for what cannot be generated from.
    The model is put in evaluation mode.
    """
    _check(model, prompts, max_new_tokens, temperature, batch_size)
    stops = set(stop_ids) | configured_stops(model)
    model.eval()
    seeds = [seed * 1_000_003 + i for i in range(len(prompts))] if isinstance(seed, int) else seed
    numbered = enumerate(zip(prompts, seeds, strict=True))
    rows = [_Row(i, prompt, torch.Generator().manual_seed(own)) for i, (prompt, own) in numbered]
    by_length = sorted(
        rows, key=lambda row: -len(row.prompt)
    )  # the largest batch first: what does not fit fails at once
    done: dict[int, Completion] = {}
    for start in range(0, len(rows), batch_size):
        for row, finished in _batch(model, by_length[start : start + batch_size], stops, max_new_tokens, temperature):
            done[row.number] = Completion(tuple(row.ids), finished)
            if progress:
                progress(1)
    return [done[i] for i in range(len(rows))]


def configured_stops(model: Any) -> set[int]:
    """The end tokens of the model's generation config: none, one, or a list."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        return set()
    return {configured} if isinstance(configured, int) else set(configured)


def _batch(model, rows: list[_Row], stops: set[int], max_new_tokens: int, temperature: float):  # type: ignore[no-untyped-def]
    """Yields (row, finished) as rows end."""
    cache = DynamicCache(config=model.config)
    ids, mask = _left_padded([row.prompt for row in rows], model.device)
    for step in range(max_new_tokens):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )  # fmt: skip
        chosen = _choose(out.logits[:, -1], rows, temperature)
        going = []
        for b, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if token in stops:
                yield row, True
                continue
            row.ids.append(token)
            if step + 1 == max_new_tokens:
                yield row, False
            else:
                going.append(b)
        if not going:
            return
        if len(going) < len(rows):
            keep = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(keep)
            mask, rows = mask[keep], [rows[b] for b in going]
        ids = torch.tensor([[row.ids[-1]] for row in rows], device=mask.device)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, (B, T) each. What stands under a zero of the mask is never seen."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _choose(logits: torch.Tensor, rows: list[_Row], temperature: float) -> list[int]:
    """The next token of each row, from logits (B, V)."""
    if not temperature:
        return logits.argmax(-1).tolist()
    chances = (logits.float() / temperature).softmax(-1).cpu()
    return [int(torch.multinomial(p, 1, generator=row.random)) for p, row in zip(chances, rows, strict=True)]


def _check(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float, batch_size: int
) -> None:
    if min(max_new_tokens, batch_size) < 1 or not temperature >= 0:
        raise CookbookError(
            f"cannot generate with max_new_tokens={max_new_tokens}, batch_size={batch_size}, temperature={temperature}: "
            "the first two are at least 1, the last at least 0."
        )
    config = model.config.get_text_config()
    room = getattr(config, "max_position_embeddings", None) or float("inf")
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise CookbookError(f"prompt {i} is empty: a model continues at least one token.")
        if len(prompt) + max_new_tokens > room:
            raise CookbookError(
                f"prompt {i} has {len(prompt)} tokens, which with max_new_tokens={max_new_tokens} is more than the model's "
                f"{room} positions: shorten the prompt or lower max_new_tokens."
            )
        if max(prompt) >= config.vocab_size:
            raise CookbookError(
                f"prompt {i} has token {max(prompt)}, the model knows {config.vocab_size}: the tokenizer is of another model."
            )
