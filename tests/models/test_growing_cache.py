"""The cache with room against transformers' own: the same columns, whatever is written, repeated and left out."""

import torch
from transformers import DynamicCache, MistralConfig, Qwen3Config
from transformers.cache_utils import DynamicSlidingWindowLayer

from cookbook_lib.models.growing_cache import LEAST_ROOM, GrowingLayer, filled_from_behind, growing_cache

CONFIG = Qwen3Config(num_hidden_layers=2, vocab_size=16, hidden_size=8, intermediate_size=8)


def both() -> tuple[DynamicCache, DynamicCache]:
    return growing_cache(CONFIG), DynamicCache(config=CONFIG)


def write(caches: tuple[DynamicCache, ...], rows: int, columns: int) -> None:
    for layer in range(2):
        states = torch.randn(2, rows, 3, columns, 4)
        ours, theirs = (cache.update(states[0], states[1], layer) for cache in caches)
        for own, wanted in zip(ours, theirs, strict=True):
            assert torch.equal(own, wanted)


def test_it_holds_what_transformers_holds():
    caches = both()
    write(caches, 2, 5)
    for cache in caches:
        cache.batch_select_indices(torch.tensor([0, 0, 1]))
    for _ in range(3):
        write(caches, 3, 1)
    for cache in caches:
        cache.batch_select_indices(torch.tensor([2, 0]))
    write(caches, 2, 1)
    assert caches[0].get_seq_length() == caches[1].get_seq_length() == 9


def test_room_is_made_once_for_many_steps():
    caches = both()
    write(caches, 1, 10)
    memory = caches[0].layers[0].memory[0]
    assert memory.shape[2] >= 10 + LEAST_ROOM
    for _ in range(LEAST_ROOM):
        write(caches, 1, 1)
        assert caches[0].layers[0].memory[0] is memory
    for _ in range(40):
        write(caches, 1, 1)


def test_layers_with_a_window_stay_transformers_own():
    cache = growing_cache(MistralConfig(num_hidden_layers=1, sliding_window=4))
    assert [type(layer) for layer in cache.layers] == [DynamicSlidingWindowLayer]
    assert all(type(layer) is GrowingLayer for layer in growing_cache(CONFIG).layers)


def test_rows_that_end_are_filled_from_behind_without_a_new_memory():
    caches = both()
    write(caches, 6, 5)
    memory = caches[0].layers[0].memory[0]
    for kept in ([0, 2, 3, 5], [0, 3], [1]):
        order = filled_from_behind(kept)
        assert sorted(order) == kept
        for cache in caches:
            cache.batch_select_indices(torch.tensor(order))
        assert caches[0].layers[0].memory[0].data_ptr() == memory.data_ptr()
        write(caches, len(kept), 1)


def test_what_is_behind_comes_forward_and_the_others_stay():
    assert filled_from_behind([0, 1, 2]) == [0, 1, 2]
    assert filled_from_behind([0, 2, 4]) == [0, 4, 2]
    assert filled_from_behind([3, 4]) == [3, 4]
    assert filled_from_behind([1, 5]) == [5, 1]
    assert filled_from_behind([]) == []
