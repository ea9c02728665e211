"""A cache of keys and values with room to grow: a step writes its column, and copies nothing of the columns before.

    transformers' own     T columns -> a new tensor of T + 1, at every step, in every layer
    here                  | T columns | room . . . |  -> one column written; a new tensor when the room is full

    rows    a b c d e     b and c end  ->  a e d     only e is copied, into b's place

Layers with a sliding window keep transformers' way: they hold no more than the window.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

LEAST_ROOM = 64  # columns; beyond that a quarter of those there are


class GrowingLayer(DynamicLayer):
    """`keys` and `values`, (B, M, T, H), are views of the part of the memory that is written."""

    keys: torch.Tensor
    values: torch.Tensor
    memory: list[torch.Tensor]
    written: int  # columns
    is_initialized: bool

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.memory = [x.new_empty(*x.shape[:2], 0, x.shape[3]) for x in (key_states, value_states)]
            self._show(0)
            self.is_initialized = True
        start, end = self.written, self.written + key_states.shape[2]
        if end > self.memory[0].shape[2]:
            self._grow(end + max(LEAST_ROOM, end // 4))
        for memory, states in zip(self.memory, (key_states, value_states), strict=True):
            memory[:, :, start:end] = states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, some perhaps several times. Where all are either in their place already or from behind the last one
        (`filled_from_behind`), only the latter are copied, and nothing is allocated."""
        rows = torch.arange(len(indices), device=indices.device)
        moved = (indices != rows).nonzero().squeeze(1)
        if bool((indices[moved] >= len(indices)).all()):
            for number, memory in enumerate(self.memory):
                memory[moved, :, : self.written] = memory[indices[moved], :, : self.written]
                self.memory[number] = memory[: len(indices)]
        else:
            self.memory = [memory[:, :, : self.written].index_select(0, indices) for memory in self.memory]
        self._show(self.written)

    def _grow(self, columns: int) -> None:
        for number, old in enumerate(self.memory):
            self.memory[number] = old.new_empty(*old.shape[:2], columns, old.shape[3])
            self.memory[number][:, :, : self.written] = old[:, :, : self.written]

    def _show(self, columns: int) -> None:
        self.written = columns
        self.keys, self.values = (memory[:, :, :columns] for memory in self.memory)


def filled_from_behind(kept: Sequence[int]) -> list[int]:
    """The same rows (given ascending): those below len(kept) in their places, the others where it is free. [0, 2, 4] -> [0, 4, 2]."""
    stay = set(kept)
    behind = iter([row for row in kept if row >= len(kept)])
    return [place if place in stay else next(behind) for place in range(len(kept))]


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model of this config."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
