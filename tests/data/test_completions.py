"""Completions behind their prompt: what each target is predicted from, in both forms, in parts, and in a forward of none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import COLUMNS, CompletionBatch, Group, pack_completions, pad_completions
from cookbook_lib.models.attention import Segments


def group(number: int, prompt: int, *lengths: int, **columns: bool) -> Group:
    """Ids that say where they come from: 1000 group + 100 completion + place; the prompt is completion 0."""
    named = [1000 * number + 100 * i for i in range(len(lengths) + 1)]
    ids = [np.arange(start, start + n, dtype=np.int32) for start, n in zip(named, (prompt, *lengths), strict=True)]
    numbers = tuple(x.astype(np.float32) / 7 for x in ids[1:])
    return Group(
        row=10 + number,
        prompt=ids[0],
        completions=tuple(ids[1:]),
        finished=(True,) * len(lengths),
        number=number,
        columns=dict.fromkeys(columns or ("advantages", "old_logps"), numbers),
        stats={"reward": tuple(map(float, lengths))},
    )


GROUPS = [group(0, 3, 2, 4, 1), group(1, 1, 3), group(2, 5, 1, 1)]


def predicted(batch: CompletionBatch) -> list[tuple[int, int]]:
    """(token whose hidden state is read, target) of every entry."""
    read = batch.input_ids.flatten()[batch.sources]
    return list(zip(read.tolist(), batch.targets.tolist(), strict=True))


def expected(groups: list[Group]) -> list[tuple[int, int]]:
    """Each completion alone behind its prompt: a token is predicted by the one before it."""
    found = []
    for g in groups:
        for ids in g.completions:
            document = [*g.prompt.tolist(), *ids.tolist()]
            found += [(document[t - 1], document[t]) for t in range(len(g.prompt), len(document))]
    return found


def test_the_packed_row_as_it_is_drawn():
    batch = pack_completions([group(0, 2, 3, 2)])
    assert batch.input_ids.tolist() == [[0, 1, 100, 101, 102, 200, 201]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3]]
    assert (batch.cu_seqlens, batch.continues) == ((0, 2, 5, 7), (-1, 0, 0))
    assert batch.sources.tolist() == [1, 2, 3, 1, 5]
    assert batch.targets.tolist() == [100, 101, 102, 200, 201]
    assert batch.completion.tolist() == [0, 0, 0, 1, 1]
    assert batch.group.tolist() == [0, 0]
    assert batch.lengths == (2, 3, 2)


@pytest.mark.parametrize("make", [pack_completions, pad_completions])
@pytest.mark.parametrize("multiple", [1, 4])
def test_every_target_is_read_from_what_stands_before_it(make, multiple):
    batch = make(GROUPS, multiple=multiple, pad_id=7)
    assert predicted(batch) == expected(GROUPS)
    assert batch.input_ids.shape[1] % multiple == 0
    assert batch.rows == (10, 11, 12)
    assert batch.group.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.equal(batch.completion.bincount(), torch.tensor([2, 4, 1, 3, 1, 1]))
    assert torch.equal(batch.advantages, batch.targets.float() / 7)
    assert batch.stats["reward"].tolist() == [2, 4, 1, 3, 1, 1]
    assert batch.ref_logps is None


def test_both_forms_say_the_same_of_every_token_but_its_place():
    packed, padded = pack_completions(GROUPS), pad_completions(GROUPS)
    for name in ("targets", "completion", "advantages", "old_logps", "group"):
        assert torch.equal(getattr(packed, name), getattr(padded, name)), name
    assert packed.input_ids.shape == (1, 21) and padded.input_ids.shape == (6, 7)
    assert sum(packed.lengths) == 21 and sum(padded.lengths) == 32, "the prompts, once and for each"


def test_one_completion_is_a_document_and_shares_nothing():
    batch = pack_completions([group(1, 2, 3)])
    assert (batch.cu_seqlens, batch.continues) == ((0, 5), None)
    assert predicted(batch) == expected([group(1, 2, 3)])


def test_the_tail_is_a_document_that_nothing_sees():
    batch = pack_completions([group(0, 2, 3, 2)], multiple=4, pad_id=9)
    assert batch.input_ids[0, -1] == 9 and batch.cu_seqlens == (0, 2, 5, 7, 8)
    assert batch.continues == (-1, 0, 0, -1)
    assert Segments(batch.cu_seqlens, batch.continues).families == [(2, [3, 2]), (1, [])]
    assert batch.lengths == (2, 3, 2)


@pytest.mark.parametrize("make", [pack_completions, pad_completions])
def test_a_forward_of_none_has_the_columns_of_its_round(make):
    like = group(0, 2, 1, advantages=True, old_logps=True, ref_logps=True)
    batch = make([], multiple=2, pad_id=5, like=like)
    assert batch.input_ids.tolist() == [[5, 5]]
    assert [len(getattr(batch, name)) for name in ("sources", "targets", "group", "ref_logps")] == [0, 0, 0, 0]
    assert batch.rollout_logps is None and list(batch.stats) == ["reward"]
    assert make([]).stats == {}


def test_what_a_round_does_not_know_yet_is_not_a_number():
    batch = pack_completions([group(0, 2, 3, ref_logps=True)])
    assert batch.advantages.isnan().all() and batch.old_logps.isnan().all()
    assert not batch.ref_logps.isnan().any()


def test_a_part_of_a_group():
    part = GROUPS[0].take((0, 2))
    assert (part.lengths, part.tokens, part.stats["reward"]) == ((2, 1), 6, (2.0, 1.0))
    assert predicted(pack_completions([part])) == expected([part])
    assert pack_completions([part]).group.tolist() == [0, 0]


def test_to_moves_what_goes_through_the_model():
    moved = pack_completions(GROUPS).to(torch.device("meta"))
    assert moved.input_ids.is_meta and moved.position_ids.is_meta
    assert not moved.sources.is_meta and not moved.advantages.is_meta


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(1, 5), min_size=1, max_size=4)), max_size=4))
def test_any_groups(sizes):
    groups = [group(i, prompt, *lengths) for i, (prompt, lengths) in enumerate(sizes)]
    for make in (pack_completions, pad_completions):
        assert predicted(make(groups, multiple=2)) == expected(groups)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": np.zeros(0, np.int32)}, "a prompt and each of at least one completions have at least one token"),
        ({"completions": ()}, "at least one completions"),
        ({"finished": (True,)}, r"group 0 \(prompt 10\): 3 completions, and numbers for others: \{'finished': 1\}"),
        ({"stats": {"reward": (1.0,)}}, r"\{'reward': 1\}"),
        ({"columns": {"old_logps": (np.zeros(2), np.zeros(3), np.zeros(1))}}, r"has \(2, 3, 1\) numbers .* of \(2, 4, 1\)"),
        ({"columns": {"logps": (np.zeros(2), np.zeros(4), np.zeros(1))}}, "columns are advantages, old_logps, ref_logps"),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(change, sentence):
    own = {name: getattr(GROUPS[0], name) for name in ("row", "prompt", "completions", "finished", "columns", "stats")}
    with pytest.raises(CookbookError, match=sentence):
        Group(**(own | change))
    assert COLUMNS[:2] == ("advantages", "old_logps")
