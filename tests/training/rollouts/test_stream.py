"""Rollouts as a loader: steps of rounds, what a run goes on from, the same update on every layout."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.training.rewards.base import RewardResult
from cookbook_lib.training.rollouts.answering import Asking
from cookbook_lib.training.rollouts.prompts import Order
from cookbook_lib.training.rollouts.stream import RolloutStream
from tests.ranks import run_ranks
from tests.training.rollout_run import MOST, Prompts, learn, model_of, rules, stream_of
from tests.training.tiny_run import optimizer_of, whole

KILLS = 6


@pytest.fixture
def mesh() -> Mesh:
    return make_mesh(device="cpu")


def targets(batches) -> list[int]:
    return [token for batch in batches for token in batch.targets.tolist()]


# --------------------------------------------------------------------------------------------------------- a loader's face


def test_mini_batches_are_the_round_cut_in_parts(mesh) -> None:
    model = model_of(mesh)
    stream, whole_round = (stream_of(mesh, model, own=rules(updates=u)) for u in (2, 1))
    parts = [[row for batch in stream.step(step) for row in batch.rows] for step in (0, 1)]
    whole = {row for batch in whole_round.step(0) for row in batch.rows}
    assert set(parts[0]) | set(parts[1]) == whole and not set(parts[0]) & set(parts[1])
    assert set(stream.rows(0)) == set(stream.rows(1)) == whole
    first = stream.round
    stream.step(1)
    assert stream.round is first, "one round serves its updates"
    stream.step(2)
    assert stream.round.number == 1


def test_its_steps_and_its_looks_are_a_loader_s(mesh) -> None:
    stream = stream_of(mesh, model_of(mesh), prompts=Prompts.of(10), own=rules(updates=2))
    assert stream.steps(1.0) == 6 and stream.batch_size == 2 and stream.max_tokens == 48
    assert len(stream.examples) == 10
    assert stream.examples.lengths.tolist() == [n + 4 * MOST for n in Prompts.of(10).lengths]
    (forwards,) = stream.loads(1)
    assert sum(load.tokens for load in forwards) == stream.examples.lengths[stream.rows(1)[2:]].sum()
    assert all(load.positions == load.tokens <= stream.max_tokens for load in forwards)


def test_groups_that_ranks_would_wait_for_are_cut_in_its_look_too(mesh) -> None:
    stream = stream_of(mesh, model_of(mesh), own=rules(updates=2), forwards={"ranks": 8})
    assert stream.pieces == 8 and all(load.tokens > MOST for rank in stream.loads(0) for load in rank)


def test_validation_gives_every_prompt_once_and_writes_it(mesh, tmp_path: Path) -> None:
    model = model_of(mesh)
    stream = stream_of(mesh, model, own=rules(n=2), folder=tmp_path)
    first = list(stream.epoch(7))
    rows = [row for batch in first for row in batch.rows]
    assert sorted(set(rows)) == list(range(8))
    assert sum(len(batch.group) for batch in first) == 16
    assert targets(stream.epoch()) == targets(first)
    table = pd.read_parquet(tmp_path / "rollouts" / "validation_00000007.parquet")
    assert len(table) == 16 and table.kept.all()
    assert all(not batch.advantages.any() and batch.old_logps.isfinite().all() for batch in first)


def test_a_policy_that_nothing_is_read_of_is_told_so_once(mesh) -> None:
    """A model that was never taught verdicts: every completion earns the same, and the run would go nowhere in silence."""

    def unread(samples) -> RewardResult:
        nothing = np.zeros(len(samples), np.float32)
        return RewardResult(nothing, nothing, {"none": nothing}, nothing.astype(bool))

    said: list[str] = []
    stream = stream_of(mesh, model_of(mesh), reward=unread, say=said.append)
    stream.step(0), stream.step(1)
    assert len(said) == 1 and said[0].startswith("round 0: none of 16 completions ends in what the reward can read")


@pytest.mark.slow
def test_it_learns_what_pays(mesh) -> None:
    """Even numbers, from about a half to nearly all."""
    model = model_of(mesh)
    stream = stream_of(mesh, model, own=rules(batch_size=8, n=8), forwards={"max_tokens": 800})
    optimizer, rewards = optimizer_of(model), []
    for step in range(10):
        batches = stream.step(step)
        learn(model, optimizer, mesh, batches)
        rewards.append(float(torch.cat([batch.stats["reward"] for batch in batches]).mean()))
    assert rewards[0] < 0.55 and min(rewards[-3:]) > 0.85


@pytest.mark.parametrize(
    ("own", "forwards", "sentence"),
    [
        ({}, {"max_tokens": 15}, r"a prompt of 11 tokens and rollout.max_new_tokens=8 do not fit .* of 15 tokens"),
        ({"updates": 5}, {}, r"rollout.n=4 completions of each and rollout.updates=5 steps cannot be"),
        ({"n": 0}, {}, "rollout.n=0"),
        ({"updates": 9, "batch_size": 9}, {}, "a round may have 8 of the 8 prompts, .* fewer than rollout.updates=9"),
    ],
)
def test_what_cannot_be_is_told_at_once(mesh, own, forwards, sentence) -> None:
    with pytest.raises(CookbookError, match=sentence):
        stream_of(mesh, model_of(mesh), own=rules(**own), forwards=forwards)


def test_a_round_of_single_prompts_among_pairs_has_one_for_every_step(mesh) -> None:
    """The prompts of a round are counted in units, of which a pair is the largest."""
    prompts = Prompts.of(10, pairs=True)
    del prompts[3], prompts[5], prompts[5]
    assert [len(unit) for unit in Order(prompts, 4).units] == [2, 1, 2, 2]
    assert stream_of(mesh, model_of(mesh), prompts=prompts, own=rules(updates=3)).rules.updates == 3
    with pytest.raises(CookbookError, match="a round may have 3 of the 7 prompts"):
        stream_of(mesh, model_of(mesh), prompts=prompts, own=rules(updates=4))
    over_the_end = Order(prompts, 6)
    assert over_the_end.least == min(len(over_the_end.rows(k)) for k in range(40)) == 4


def test_no_prompts_are_told(mesh) -> None:
    with pytest.raises(CookbookError, match="there are no prompts"):
        stream_of(mesh, model_of(mesh), prompts=Prompts())


def test_a_prompt_longer_than_the_window_is_refused(mesh) -> None:
    sentence = "a prompt of 11 tokens and rollout.max_new_tokens=8 do not fit into the model's 16 positions"
    with pytest.raises(CookbookError, match=sentence):
        stream_of(mesh, model_of(mesh, max_position_embeddings=16))


# -------------------------------------------------------------------------------------------------------- going on from it


def a_run(
    folder: Path, mesh: Mesh, steps: range, state: Any = None, facts: Any = None, **other: Any
) -> tuple[Any, list[str], RolloutStream]:
    """(model and optimizer), what was said, the stream, after `steps`. facts: that a checkpoint kept of an earlier stream."""
    said: list[str] = []
    model = model_of(mesh) if state is None else state[0]
    optimizer = optimizer_of(model) if state is None else state[1]
    stream = stream_of(mesh, model, own=rules(updates=2), folder=folder, say=said.append, **other)
    if facts is not None:
        stream.recall(facts)
    for step in steps:
        learn(model, optimizer, mesh, stream.step(step))
    return (model, optimizer), said, stream


def test_a_run_goes_on_inside_a_round_from_its_file(mesh, tmp_path: Path) -> None:
    (alone, _), _, _ = a_run(tmp_path / "alone", mesh, range(4))
    state, _, _ = a_run(tmp_path / "cut", mesh, range(3))
    (model, _), said, _ = a_run(tmp_path / "cut", mesh, range(3, 4), state)
    assert said == [f"round 1 goes on from {tmp_path}/cut/rollouts/round_00000001.parquet"]
    for name, weight in whole(alone).items():
        assert torch.equal(weight, whole(model)[name]), name


def test_without_the_file_it_says_that_it_makes_another_round(mesh, tmp_path: Path) -> None:
    state, _, _ = a_run(tmp_path, mesh, range(3))
    (tmp_path / "rollouts" / "round_00000001.parquet").unlink()
    _, said, _ = a_run(tmp_path, mesh, range(3, 4), state)
    assert len(said) == 1
    assert said[0].endswith("is not there, or not whole: round 1 is made anew, by the weights of now.")


def test_a_round_of_other_settings_is_not_taken_up(mesh, tmp_path: Path) -> None:
    state, _, _ = a_run(tmp_path, mesh, range(3))
    _, said, _ = a_run(tmp_path, mesh, range(3, 4), state, settings={"reward": "another"})
    assert "was made by other settings: round 1 is made anew" in said[0]


def test_a_round_is_known_by_its_stop_tokens_in_whatever_order_they_come(mesh) -> None:
    """Eight and nought fall into one place of a set, whose order is then that of their coming."""
    model, how = model_of(mesh), Sampling(0.9)
    one, other, fewer = (
        stream_of(mesh, model, own=rules(asking=Asking(MOST, how, stops))).settings for stops in ({0, 8}, {8, 0}, {8})
    )
    assert one == other != fewer


def test_inside_a_round_only_the_one_that_the_checkpoint_saw_is_taken_up(mesh, tmp_path: Path) -> None:
    state, _, first = a_run(tmp_path, mesh, range(3))
    facts = first.facts()
    _, said, again = a_run(tmp_path, mesh, range(3, 4), state, facts)
    assert "goes on from" in said[0] and again.facts() == facts
    other = model_of(mesh, seed=1)
    a_run(tmp_path, mesh, range(2, 3), (other, optimizer_of(other)))
    _, said, anew = a_run(tmp_path, mesh, range(3, 4), state, facts)
    assert (
        len(said) == 1 and "was made by other weights than the checkpoint goes on from: round 1 is made anew" in said[0]
    )
    assert anew.facts()["weights"] not in (facts["weights"], -1), "what the next checkpoint keeps"


def test_a_round_that_was_looked_at_before_stays_only_if_it_is_the_checkpoint_s(mesh, tmp_path: Path) -> None:
    """The look knew neither the checkpoint's round nor its weights."""
    state, _, first = a_run(tmp_path, mesh, range(3))
    facts, other = first.facts(), model_of(mesh, seed=1)
    stream = stream_of(mesh, state[0], own=rules(updates=2), folder=tmp_path)
    stream.step(3)
    own = stream.round
    stream.recall(facts)
    stream.step(3)
    assert stream.round is own
    a_run(tmp_path, mesh, range(2, 3), (other, optimizer_of(other)))
    said: list[str] = []
    stream = stream_of(mesh, state[0], own=rules(updates=2), folder=tmp_path, say=said.append)
    stream.step(3)
    stream.recall(facts)
    stream.step(3)
    assert "goes on from" in said[0] and "was made by other weights than the checkpoint goes on from" in said[1]


def test_a_checkpoint_that_kept_no_round_takes_up_what_it_finds(mesh, tmp_path: Path) -> None:
    """Those of before kept none; one that has made no round yet keeps what it was told."""
    state, _, first = a_run(tmp_path, mesh, range(3))
    _, said, _ = a_run(tmp_path, mesh, range(3, 4), state, {})
    assert "goes on from" in said[0]
    _, _, idle = a_run(tmp_path, mesh, range(0), state, first.facts())
    assert idle.facts() == first.facts() and stream_of(mesh, state[0]).facts() == {}


def test_at_its_beginning_a_round_is_read_where_the_weights_are_the_same(mesh, tmp_path: Path) -> None:
    _, said, first = a_run(tmp_path, mesh, range(1))
    assert said == []
    _, said, again = a_run(tmp_path, mesh, range(1))
    assert said == [f"round 0 goes on from {tmp_path}/rollouts/round_00000000.parquet"]
    assert targets(first.step(1)) == targets(again.step(1))
    _, said, _ = a_run(tmp_path, mesh, range(1), reuse=False)
    assert said == []
    other = model_of(mesh, seed=1)
    _, said, third = a_run(tmp_path, mesh, range(1), (other, optimizer_of(other)))
    assert said == [] and targets(third.step(1)) != targets(first.step(1))


@pytest.mark.slow
@pytest.mark.serial
def test_killed_in_rollouts_and_in_updates_the_weights_are_the_same_bit_for_bit(tmp_path: Path, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_rollouts", str(tmp_path), str(KILLS)],
        cwd=home, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"rollouts", "update"} <= set(result["killed_in"])
    assert any("goes on from" in news for news in result["told"])
    assert result["killed"] == result["left_alone"]
    assert [name for name in result["left"] if not name.startswith(".")] == [
        f"round_0000000{k}.parquet" for k in range(4)
    ]


# ------------------------------------------------------------------------------------------------------------ every layout


def one_update(
    sp: int, forwards: dict[str, Any], prompts: int = 4
) -> tuple[list[int], float, float, dict[str, torch.Tensor]]:
    """A round and an update, of half its prompts where there are some: what was answered (of the whole world), the loss, the
    gradient's norm, the weights."""
    mesh = make_mesh(sp, device="cpu")
    model = model_of(mesh)
    stream = stream_of(mesh, model, own=rules(batch_size=prompts, updates=min(prompts, 2)), forwards=forwards)
    batches = stream.step(0)
    answered = [token for group in stream.round.groups for ids in group.completions for token in ids.tolist()]
    assert targets(batches), "no rank goes without"
    loss, norm = learn(model, optimizer_of(model), mesh, batches)
    return answered, loss, norm, whole(model)


LAYOUTS = {"FSDP x2": (2, 1), "Ulysses x2": (2, 2)}
FORMS: dict[str, dict[str, Any]] = {
    "shared": {},
    "unshared": {"share": False},
    "padded": {"padded": True, "max_rows": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_one_update_is_the_same_on_every_layout(form) -> None:
    alone = one_update(1, {})
    for found in [one_update(1, FORMS[form])] + [
        found for world, sp in LAYOUTS.values() for found in run_ranks(one_update, world, sp, FORMS[form])
    ]:
        assert_same(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "ranks"), [(1, 2), (2, 3)])
def test_a_group_cut_over_ranks_is_the_same_update(prompts, ranks) -> None:
    alone = one_update(1, {}, prompts)
    for found in run_ranks(one_update, ranks, 1, {}, prompts):
        assert_same(found, alone)


def assert_same(found: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    answered, loss, norm, weights = wanted
    assert found[0] == answered
    assert found[1] == pytest.approx(loss, abs=1e-5) and found[2] == pytest.approx(norm, rel=1e-5)
    for name, weight in weights.items():
        assert math.isclose(float((found[3][name] - weight).norm()), 0, abs_tol=1e-5 * float(weight.norm())), name


def two_ranks_go_on(folder: str) -> list[str]:
    mesh = make_mesh(device="cpu")
    state, _, _ = a_run(Path(folder), mesh, range(1))
    _, said, _ = a_run(Path(folder), mesh, range(1, 2), state)
    return said


@pytest.mark.slow
def test_ranks_go_on_together(tmp_path: Path) -> None:
    main, other = run_ranks(two_ranks_go_on, 2, str(tmp_path))
    assert other == [] and len(main) == 1 and "goes on from" in main[0]


def nodes_with_two_reward_files(folder: str) -> tuple[list[str], list[int]]:
    mesh = make_mesh(device="cpu")
    mine = {"reward": f"as node {mesh.rank} reads it"}
    state, _, _ = a_run(Path(folder), mesh, range(1), settings=mine)
    _, said, stream = a_run(Path(folder), mesh, range(1, 2), state, settings=mine)
    return said, stream.rows(1).tolist()


@pytest.mark.slow
def test_the_first_rank_decides_for_all_whose_a_round_is(tmp_path: Path) -> None:
    """Else one makes the round anew, with all, while another goes on to the update, with all."""
    (said, rows), (other, theirs) = run_ranks(nodes_with_two_reward_files, 2, str(tmp_path), timeout=60.0)
    assert len(said) == 1 and "goes on from" in said[0] and other == [] and rows == theirs
