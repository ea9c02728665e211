"""Answers from a causal language model of plain transformers, many at once.

    prompts   . . a b c | d          padded on the left, so that every row's next token stands in the same column
              e f g h i | j          a prompt that is asked for several answers is computed once: its part of the cache is
              e f g h i | k          repeated when the answers begin
    step      one forward over that column; the keys and values of everything before it are in the cache
    done      a row that ends leaves the batch, and takes its part of the cache along

Token t of row i is drawn with row i's own generator, so what a row says does not depend on who shares its batch (but for
rounding). Greedy at temperature 0. Prompts of like length are batched together.

Shapes: B rows still unfinished, T tokens so far, V vocab.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.models.growing_cache import filled_from_behind, growing_cache
from cookbook_lib.models.heads import final_softcap, logit_scale
from cookbook_lib.models.logit_chunks import exact_logits
from cookbook_lib.models.sampling import Sampling, choose

Forward = Callable[..., torch.Tensor]  # (model, what its decoder takes) -> logits (B, V) of the last column


@dataclass(frozen=True)
class Completion:
    """What follows a prompt: its tokens, the stop token left out; `finished` False when it was cut at the limit.

    stop: the token that ended it. logps: of each of ids, and of stop behind them, as sampling.choose gives them.
    """

    ids: tuple[int, ...]
    finished: bool
    stop: int | None = field(default=None, compare=False)
    logps: tuple[float, ...] = field(default=(), compare=False)


@dataclass
class _Row:
    number: int
    prompt: Sequence[int]
    seed: int
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)

    def ended(self, stop: int | None = None) -> dict[int, Completion]:
        return {self.number: Completion(tuple(self.ids), stop is not None, stop, tuple(self.logps))}


@dataclass(frozen=True)
class _Limits:
    rows: int
    tokens: int | None  # of all rows together, each at its longest
    new: int  # tokens of a row's completion, at most

    def at(self, width: int) -> int:
        """Rows that go together when the longest of their prompts has `width` tokens."""
        fit = self.rows if self.tokens is None else self.tokens // (width + self.new)
        return max(min(fit, self.rows), 1)


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int | Sequence[int] = 0,
    batch_size: int = 16,
    max_batch_tokens: int | None = None,
    exact: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[Completion]:
    """One completion for each prompt (token ids), in the order of the prompts; several for one that is given several times.

    stop_ids: any of these tokens ends a row; those of the model's generation config do so as well. temperature: 0 takes
    the likeliest token; above, tokens are drawn from softmax(logits / temperature), of which top_k and top_p leave a part
    (models/sampling.py). seed: one for all, or one for each row. batch_size: rows at a time. max_batch_tokens:
    fewer, where they would have more tokens together, padding too, at their longest; one at least. exact: logits in fp32,
    as training reads them off the last hidden state (heads.py), where the model's own head rounds them to its dtype; for
    models that PackedModel takes. progress: called after each token with the number of rows that it finished; what it raises ends
    the generation. Raises CookbookError for what cannot be generated from, and for a model whose probabilities are not finite. The
    model is put in evaluation mode.
    """
    how = Sampling(temperature, top_p, top_k)
    _check(model, prompts, max_new_tokens, batch_size=batch_size, max_batch_tokens=max_batch_tokens)
    stops = set(stop_ids) | configured_stops(model)
    model.eval()
    seeds = [seed * 1_000_003 + i for i in range(len(prompts))] if isinstance(seed, int) else seed
    rows = [_Row(i, prompt, own) for i, (prompt, own) in enumerate(zip(prompts, seeds, strict=True))]
    done: dict[int, Completion] = {}
    forward = _exact_logits if exact else _own_logits
    for batch in _batches(rows, _Limits(batch_size, max_batch_tokens, max_new_tokens)):
        for ended in _answers(model, forward, batch, stops, max_new_tokens, how):
            done |= ended
            if progress:
                progress(len(ended))
    return [done[i] for i in range(len(rows))]


def configured_stops(model: Any) -> set[int]:
    """The end tokens of the model's generation config: none, one, or a list."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        return set()
    return {configured} if isinstance(configured, int) else set(configured)


def _batches(rows: list[_Row], limits: _Limits) -> Iterator[list[list[_Row]]]:
    """Rows of one prompt together, and the longest prompts first: what does not fit into memory fails at once.

    A batch is as wide as its first prompt. More rows of one prompt than fit are cut, and each part computes the prompt anew.
    """
    families: dict[tuple[int, ...], list[_Row]] = {}
    for row in rows:
        families.setdefault(tuple(row.prompt), []).append(row)
    batch: list[list[_Row]] = []
    for prompt in sorted(families, key=lambda prompt: -len(prompt)):
        family, most = families[prompt], limits.at(len(prompt))
        for part in (family[start : start + most] for start in range(0, len(family), most)):
            if batch and sum(map(len, batch)) + len(part) > limits.at(len(batch[0][0].prompt)):
                yield batch
                batch = []
            batch.append(part)
    if batch:
        yield batch


def _answers(
    model: Any, forward: Forward, families: list[list[_Row]], stops: set[int], max_new_tokens: int, how: Sampling
) -> Iterator[dict[int, Completion]]:
    """{number: completion} of the rows that end with each token."""
    cache = growing_cache(model.config)
    ids, mask = _left_padded([family[0].prompt for family in families], model.device)
    logits = _next_logits(model, forward, ids, mask, cache)
    repeats = torch.tensor([len(family) for family in families], device=mask.device)
    rows = [row for family in families for row in family]
    if len(rows) > len(families):
        cache.batch_select_indices(torch.arange(len(families), device=mask.device).repeat_interleave(repeats))
        logits, mask = (x.repeat_interleave(repeats, 0) for x in (logits, mask))
    uniform = _uniform(rows, max_new_tokens if how.temperature else 1).to(mask.device)
    for step in range(max_new_tokens):
        tokens, logps = choose(logits, uniform[:, min(step, uniform.shape[1] - 1)], how)
        ended: dict[int, Completion] = {}
        going = []
        for b, (row, token, logp) in enumerate(zip(rows, tokens.tolist(), logps.tolist(), strict=True)):
            row.logps.append(logp)
            if token in stops:
                ended |= row.ended(token)
                continue
            row.ids.append(_known(token, row))
            if step + 1 == max_new_tokens:
                ended |= row.ended()
            else:
                going.append(b)
        yield ended
        if not going:
            return
        if len(going) < len(rows):
            going = filled_from_behind(going)
            keep = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(keep)
            mask, uniform, tokens = mask[keep], uniform[keep], tokens[keep]
            rows = [rows[b] for b in going]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        logits = _next_logits(model, forward, tokens[:, None], mask, cache)


def _next_logits(model: Any, forward: Forward, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
    """(B, V), after ids (B, t), the last t of the columns of mask (B, T)."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return forward(
        model, input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )


def _own_logits(model: Any, **inputs: Any) -> torch.Tensor:
    logits: torch.Tensor = model(**inputs, logits_to_keep=1).logits[:, -1]
    return logits


def _exact_logits(model: Any, **inputs: Any) -> torch.Tensor:
    last = model.get_decoder()(**inputs).last_hidden_state[:, -1] * logit_scale(model.config)
    return exact_logits(last, model.get_output_embeddings().weight, final_softcap(model.config))


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, (B, T) each. What stands under a zero of the mask is never seen."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _uniform(rows: list[_Row], steps: int) -> torch.Tensor:
    """(B, steps) fp64 in [0, 1): each row's numbers from its own seed, the same on every device."""
    draws = (torch.Generator().manual_seed(row.seed) for row in rows)
    return torch.stack([torch.rand(steps, generator=draw, dtype=torch.float64) for draw in draws])


def _known(token: int, row: _Row) -> int:
    if token < 0:
        raise CookbookError(
            f"prompt {row.number}: the model's probabilities of token {len(row.ids)} of the answer are not finite: its weights "
            "are broken, as after a step that diverged; go back to an earlier checkpoint."
        )
    return token


def _check(model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, **limits: int | None) -> None:
    for name, limit in ({"max_new_tokens": max_new_tokens} | limits).items():
        if limit is not None and limit < 1:
            raise CookbookError(f"cannot generate with {name}={limit}: it is at least 1.")
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
