"""Checkpoints over ranks: any layout reads what any other wrote, and a rank's trouble is everybody's at once."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training import safetensors_writer
from cookbook_lib.training.checkpoint import Checkpoints
from tests.ranks import run_ranks
from tests.training.tiny_run import assert_same, export, model_of, moments, optimizer_of, qwen, train, whole

State = dict[str, torch.Tensor]


def few_heads() -> Qwen3Config:
    """Norms of 2 weights: on 4 ranks, two hold nothing of them."""
    config = qwen()
    config.head_dim = 2
    return config


def go_on(run: Path, until: int, fsdp_size: int = -1, config: Qwen3Config | None = None) -> tuple[Any, State, State]:
    """One process of a run: resume if there is a save, train to step `until`, save. What it resumed, and ends with."""
    config = config or qwen()
    mesh = make_mesh(fsdp_size=fsdp_size, device="cpu")
    checkpoints = Checkpoints(run, keep=2, mesh=mesh, say=lambda news: None)
    model = model_of(config, mesh)
    optimizer = optimizer_of(model)
    resumed = checkpoints.load(model, optimizer)
    train(model, optimizer, mesh, range(resumed["step"] if resumed else 0, until))
    checkpoints.save(until, model, optimizer, {"step": until}, config.save_pretrained)
    checkpoints.wait()
    return resumed, whole(model), moments(model, optimizer)


def test_two_ranks_resume_bit_for_bit(tmp_path: Path) -> None:
    run_ranks(go_on, 2, tmp_path / "cut", 2)
    cut = run_ranks(go_on, 2, tmp_path / "cut", 4)
    through = run_ranks(go_on, 2, tmp_path / "through", 4)
    for (resumed, weights, state), (_, expected, expected_state) in zip(cut, through, strict=True):
        assert resumed == {"step": 2}
        assert_same(weights, expected)
        assert_same(state, expected_state)


def test_two_ranks_then_one_then_two(tmp_path: Path) -> None:
    run_ranks(go_on, 2, tmp_path / "cut", 2)
    [(from_two, _, _)] = run_ranks(go_on, 1, tmp_path / "cut", 3)
    [(from_one, weights, state), _] = run_ranks(go_on, 2, tmp_path / "cut", 4)
    assert (from_two, from_one) == ({"step": 2}, {"step": 3})
    [(_, expected, expected_state)] = run_ranks(go_on, 1, tmp_path / "through", 4)
    for ours, theirs in ((weights, expected), (state, expected_state)):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            torch.testing.assert_close(
                ours[name], theirs[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


def load_and_show(run: Path, config: Qwen3Config, fsdp_size: int = -1) -> tuple[State, State]:
    mesh = make_mesh(fsdp_size=fsdp_size, device="cpu")
    model = model_of(config, mesh, seed=3)
    optimizer = optimizer_of(model)
    Checkpoints(run, keep=None, mesh=mesh, say=lambda news: None).load(model, optimizer)
    return whole(model), moments(model, optimizer)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "fsdp_size"), [(4, 2), (4, 4)])
def test_copies_and_empty_shards(tmp_path: Path, world: int, fsdp_size: int) -> None:
    """HSDP (each tensor is held twice), and ranks without a row of some tensors: read back by one rank, and by all."""
    config = few_heads()
    [(_, weights, state), *_] = run_ranks(go_on, world, tmp_path, 2, fsdp_size, config)
    for ranks, size in ((1, -1), (world, fsdp_size)):
        [(read, read_state), *_] = run_ranks(load_and_show, ranks, tmp_path, config, size)
        assert_same(read, weights)
        assert_same(read_state, state)


def files_are_the_same(run: Path) -> dict[str, bytes]:
    mesh = make_mesh(device="cpu")
    model = model_of(qwen(), mesh, seed=0)
    checkpoints = Checkpoints(run, keep=None, mesh=mesh)
    checkpoints.save(0, model, optimizer_of(model), {}, export)
    final = checkpoints.publish("sft-final")
    return {path.name: path.read_bytes() for path in sorted(final.iterdir())}


def test_the_files_do_not_show_how_many_ranks_wrote_them(tmp_path: Path) -> None:
    [one] = run_ranks(files_are_the_same, 1, tmp_path / "one")
    [two, _] = run_ranks(files_are_the_same, 2, tmp_path / "two")
    assert one == two


def full_disk_on_rank_1(run: Path) -> str:
    mesh = make_mesh(device="cpu")
    model = model_of(qwen(), mesh)
    checkpoints = Checkpoints(run, keep=None, mesh=mesh)
    if mesh.rank == 1:
        safetensors_writer.os.pwrite = no_room  # type: ignore[attr-defined]
    checkpoints.save(1, model, optimizer_of(model), {}, export)
    try:
        checkpoints.wait()
    except CookbookError as error:
        return str(error)
    return "no error"


def no_room(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_one_rank_without_room_stops_all_with_one_sentence(tmp_path: Path) -> None:
    said = run_ranks(full_disk_on_rank_1, 2, tmp_path)
    assert said[0] == said[1]
    assert "no space left" in said[0]
    assert not any(tmp_path.iterdir())


def damaged_everywhere(run: Path) -> tuple[Any, list[str]]:
    mesh = make_mesh(device="cpu")
    said: list[str] = []
    checkpoints = Checkpoints(run, keep=None, mesh=mesh, say=said.append)
    model = model_of(qwen(), mesh)
    optimizer = optimizer_of(model)
    for step in (1, 2):
        checkpoints.save(step, model, optimizer, {"step": step}, export)
    checkpoints.wait()
    if mesh.is_main:
        os.truncate(run / "step_00000002" / "model.safetensors", 1000)
    mesh.barrier()
    return checkpoints.load(model, optimizer), said


def test_all_ranks_pass_over_a_damaged_save_and_one_says_so(tmp_path: Path) -> None:
    (first, said), (second, silent) = run_ranks(damaged_everywhere, 2, tmp_path)
    assert first == second == {"step": 1}
    assert len(said) == 1
    assert "model.safetensors has 1,000 bytes" in said[0]
    assert silent == []


def background_against_training(run: Path) -> bool:
    """Collectives of training and of the writer at the same time, many times: they must not meet."""
    mesh = make_mesh(device="cpu")
    checkpoints = Checkpoints(run, keep=1, mesh=mesh)
    model = model_of(qwen(), mesh)
    optimizer = optimizer_of(model)
    for step in range(1, 9):
        checkpoints.save(step, model, optimizer, {}, export)
        train(model, optimizer, mesh, range(3 * step, 3 * step + 3))
        mesh.sum(1.0)
    checkpoints.wait()
    return True


def test_writing_and_training_do_not_disturb_each_other(tmp_path: Path) -> None:
    assert run_ranks(background_against_training, 2, tmp_path) == [True, True]
    assert (tmp_path / "latest").resolve().name == "step_00000008"
