"""The arithmetic of a run, and the sentences for what does not fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.loader import Loader
from cookbook_lib.data.masking import Example
from cookbook_lib.training.plan import Plan, make_plan


class Rows:
    """n rows of 10 .. 29 tokens."""

    def __init__(self, n: int) -> None:
        self.lengths = np.array([10 + i % 20 for i in range(n)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> Example:
        return Example(np.zeros(self.lengths[i], np.int32), np.ones(self.lengths[i], np.float32))


@dataclass
class World:
    dp: int = 1
    sp: int = 1

    @property
    def world_size(self) -> int:
        return self.dp * self.sp


def plan(rows: int = 50, batch: int = 8, dp: int = 1, micro: int = 4, padded: bool = False, **changes: Any) -> Plan:
    loader = Loader(
        Rows(rows), batch_size=batch, max_tokens=micro * 32, max_rows=micro if padded else None, ranks=dp, padded=padded
    )
    values: dict[str, Any] = {
        "batch_size": batch, "micro_batch_size": micro, "total_epochs": 2, "total_training_steps": None,
        "warmup_steps": None, "warmup_ratio": 0.1, "mesh": World(dp), "loader": loader, "val": None,
    }  # fmt: skip
    return make_plan(**(values | changes))


def test_steps_are_full_across_the_seams_between_epochs() -> None:
    made = plan(rows=50, batch=8)
    assert made.steps_per_epoch == 6.25
    assert made.total_steps == 13  # 2 x 50 conversations, 8 at a time, and 4 of a third pass


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    made = plan(rows=5, batch=8)
    assert (made.train_batch_size, made.total_steps) == (5, 2)
    assert any("only 5 conversations" in note for note in made.notes)


def test_what_the_config_has_to_say_is_noted_too() -> None:
    assert plan(rows=50, batch=8, notes=["so"]).rows_of_table()[-1] == ("note", "so")


def test_steps_given_win_over_epochs_and_warmup_steps_over_the_ratio() -> None:
    made = plan(total_training_steps=40, warmup_steps=3)
    assert (made.total_steps, made.warmup_steps) == (40, 3)
    assert plan(total_training_steps=40).warmup_steps == 4


def test_packed_steps_are_full_and_padded_ones_are_not() -> None:
    assert plan().filled == 1.0
    assert plan(padded=True).filled < 1.0


def test_fewer_conversations_than_ranks_is_explained() -> None:
    with pytest.raises(CookbookError, match=r"train_batch_size=2 .* 4 data-parallel ranks .* at least 4"):
        plan(batch=2, dp=4)
    with pytest.raises(CookbookError, match=r"hold 3 usable conversations for 4"):
        plan(rows=3, batch=8, dp=4)


def test_a_step_of_prompts_is_divided_by_its_completions() -> None:
    """Of a round's 8 prompts a step has 4; with 4 completions of each."""

    def step_of(dp: int) -> Plan:
        loader = Loader(Rows(50), batch_size=4, max_tokens=128, ranks=dp)
        loader.pieces = 16
        return plan(dp=dp, loader=loader, row="prompt")

    (note,) = step_of(16).notes
    assert note.startswith("a step's 4 prompts over 16 ranks: groups of completions are cut")
    assert not step_of(4).notes
    with pytest.raises(CookbookError, match=r"a step has 16 completions .* some of the 17 data-parallel ranks nothing"):
        step_of(17)


def test_the_padded_form_names_the_nearest_sizes_that_divide() -> None:
    with pytest.raises(CookbookError, match=r"20 is not a multiple .* = 8.* 16, 24"):
        plan(batch=20, dp=2, padded=True)
    assert plan(batch=20, dp=2).total_steps > 0  # packed, any size works


def test_the_table_has_a_row_for_every_number() -> None:
    names = [name for name, _ in plan().rows_of_table()]
    assert {"steps", "filled", "balance"} <= set(names)
