"""Checkpoints on one rank: exact, complete or invisible, readable by transformers, and honest about damage."""

import errno
import json
import os
import random
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen3Config

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh, leave_world, make_mesh
from cookbook_lib.training import run_folder, safetensors_writer, tensor_files
from cookbook_lib.training.checkpoint import Checkpoints
from cookbook_lib.training.safetensors_writer import SafetensorsWriter
from tests.training.tiny_run import assert_same, export, model_of, moments, optimizer_of, qwen, train, whole


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    yield make_mesh(device="cpu")
    leave_world()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, mesh: Mesh, said: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path, keep=None, mesh=mesh, say=said.append)


def start(mesh: Mesh, config: Qwen3Config | None = None, seed: int = 0) -> tuple[PackedModel, torch.optim.AdamW]:
    model = model_of(config or qwen(), mesh, seed)
    return model, optimizer_of(model)


def save_steps(checkpoints: Checkpoints, mesh: Mesh, steps: int, **how: Any) -> tuple[PackedModel, torch.optim.AdamW]:
    """Train `steps` steps, save after each one."""
    model, optimizer = start(mesh)
    for step in range(1, steps + 1):
        train(model, optimizer, mesh, range(step - 1, step))
        checkpoints.save(step, model, optimizer, {"progress": {"step": step}}, export, **how)
    checkpoints.wait()
    return model, optimizer


def folders(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir() if path.name.startswith("step_"))


# -- exactness ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offload", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    checkpoints: Checkpoints, mesh: Mesh, offload: bool
) -> None:
    model = model_of(qwen(), mesh)
    optimizer = optimizer_of(model, offload)
    train(model, optimizer, mesh, range(3))
    checkpoints.save(3, model, optimizer, {"best": 0.1}, export)
    checkpoints.wait()
    saved, state = whole(model), moments(model, optimizer)
    train(model, optimizer, mesh, range(3, 6))

    again = model_of(qwen(), mesh, seed=1)
    fresh = optimizer_of(again, offload)
    assert checkpoints.load(again, fresh) == {"best": 0.1}
    assert_same(whole(again), saved)
    assert_same(moments(again, fresh), state)
    assert [group["lr"] for group in fresh.param_groups] == [1e-2, 1e-2]
    train(again, fresh, mesh, range(3, 6))
    assert_same(whole(again), whole(model))
    assert_same(moments(again, fresh), moments(model, optimizer))


def test_random_numbers_go_on_where_they_were(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    checkpoints.save(1, model, optimizer, {}, export)

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    expected = draw()
    checkpoints.load(model, optimizer)
    assert draw() == expected


def test_a_save_before_the_first_step_has_no_moments(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    checkpoints.save(0, model, optimizer, {}, export)
    train(model, optimizer, mesh, range(2))
    checkpoints.load(model, optimizer)
    assert not optimizer.state
    assert_same(whole(model), whole(start(mesh)[0]))


def test_a_save_is_of_its_moment_though_training_goes_on(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    train(model, optimizer, mesh, range(2))
    trained = threading.Event()

    def slow(folder: Path) -> None:
        assert trained.wait(10)
        export(folder)

    checkpoints.save(2, model, optimizer, {}, slow)
    before, state = whole(model), moments(model, optimizer)
    train(model, optimizer, mesh, range(2, 4))
    trained.set()
    checkpoints.load(model, optimizer)
    assert_same(whole(model), before)
    assert_same(moments(model, optimizer), state)


def test_saving_after_a_forward_that_left_the_root_gathered(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    train(model, optimizer, mesh, range(1))
    expected = whole(model)
    with torch.no_grad():
        model(torch.zeros(1, 4, dtype=torch.long), torch.arange(4)[None], (0, 4))
    checkpoints.save(1, model, optimizer, {}, export)
    checkpoints.wait()
    assert_same(load_file(checkpoints.folder / "latest" / "model.safetensors"), expected)


# -- readable by everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("limit", [1 << 20, 20_000])
def test_transformers_reads_every_save(
    tmp_path: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, tied: bool, limit: int
) -> None:
    """One weight file or several, tied or not: from_pretrained, and the same logits."""
    monkeypatch.setattr(tensor_files, "SafetensorsWriter", partial(SafetensorsWriter, max_file_bytes=limit))
    config = qwen(tied=tied)
    model, optimizer = start(mesh, config)
    train(model, optimizer, mesh, range(2))
    checkpoints = Checkpoints(tmp_path, keep=None, mesh=mesh)
    checkpoints.save(2, model, optimizer, {}, config.save_pretrained)
    final = checkpoints.publish("sft-final")
    assert (tmp_path / "latest" / "model.safetensors.index.json").exists() == (limit == 20_000)
    assert not list(final.glob("state*"))
    ids = torch.arange(12)[None]
    with torch.no_grad():
        ours = model(ids, ids, (0, 12))
        for folder in (tmp_path / "latest", final):
            theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
            assert theirs.dtype == torch.float32
            torch.testing.assert_close(theirs(ids).logits, ours, rtol=1e-5, atol=1e-5)
    again, fresh = start(mesh, config, seed=1)
    checkpoints.load(again, fresh)
    assert_same(whole(again), whole(model))


@pytest.mark.parametrize("limit", [1 << 20, 20_000])
def test_the_final_model_in_bf16(
    checkpoints: Checkpoints, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(tensor_files, "SafetensorsWriter", partial(SafetensorsWriter, max_file_bytes=limit))
    model, _ = save_steps(checkpoints, mesh, 1)
    final = AutoModelForCausalLM.from_pretrained(checkpoints.publish("sft-final", "bf16"))
    assert final.dtype == torch.bfloat16
    expected = {name: weight.bfloat16() for name, weight in whole(model).items()}
    assert_same(dict(final.named_parameters()), expected)  # type: ignore[arg-type]


def test_the_final_model_can_be_the_best_one_and_be_published_again(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    checkpoints.save(1, model, optimizer, {}, export, metric=0.5, best=True)
    best = whole(model)
    train(model, optimizer, mesh, range(1))
    checkpoints.save(2, model, optimizer, {}, export)
    checkpoints.publish("sft-final", which="latest")
    assert_same(load_file(checkpoints.publish("sft-final", which="best") / "model.safetensors"), best)
    assert not [path for path in checkpoints.folder.iterdir() if path.name.startswith(".")]


# -- which saves there are ---------------------------------------------------------------------------------------------------


def test_nothing_to_load(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)
    assert checkpoints.load(model, optimizer) is None
    save_steps(checkpoints, mesh, 1)
    assert checkpoints.load(model, optimizer, None) is None


def test_retention_counts_saves_of_earlier_processes(tmp_path: Path, mesh: Mesh) -> None:
    first = Checkpoints(tmp_path, keep=2, mesh=mesh)
    model, optimizer = start(mesh)
    for step in range(1, 5):
        first.save(step, model, optimizer, {}, export, best=step == 2)
    first.wait()
    assert folders(tmp_path) == ["step_00000002", "step_00000003", "step_00000004"]
    second = Checkpoints(tmp_path, keep=2, mesh=mesh)
    second.load(model, optimizer)
    second.save(5, model, optimizer, {}, export)
    second.wait()
    assert folders(tmp_path) == ["step_00000002", "step_00000004", "step_00000005"]
    assert os.readlink(tmp_path / "best") == "step_00000002"
    assert os.readlink(tmp_path / "latest") == "step_00000005"


def test_older_saves_go_only_after_the_new_one_is_there(
    tmp_path: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    prune = run_folder.prune
    monkeypatch.setattr(run_folder, "prune", lambda run, keep: (seen.append(folders(run)), prune(run, keep))[1])
    save_steps(Checkpoints(tmp_path, keep=1, mesh=mesh), mesh, 2)
    assert seen == [["step_00000001"], ["step_00000001", "step_00000002"]]
    assert folders(tmp_path) == ["step_00000002"]


def test_going_back_makes_the_new_branch_the_newest(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = save_steps(checkpoints, mesh, 3)
    state = checkpoints.load(model, optimizer, checkpoints.folder / "step_00000001")
    assert state == {"progress": {"step": 1}}
    assert checkpoints.last_step == 1
    assert os.readlink(checkpoints.folder / "latest") == "step_00000001"
    train(model, optimizer, mesh, range(100, 101))
    checkpoints.save(2, model, optimizer, {"branch": "new"}, export)
    again, fresh = start(mesh, seed=1)
    assert checkpoints.load(again, fresh) == {"branch": "new"}
    assert_same(whole(again), whole(model))
    assert folders(checkpoints.folder) == ["step_00000001", "step_00000002", "step_00000003"]


def test_links_that_a_kill_prevented_are_made_on_resume(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = save_steps(checkpoints, mesh, 2, best=True)
    (checkpoints.folder / "best").unlink()
    run_folder.point(checkpoints.folder, "latest", checkpoints.folder / "step_00000001")
    checkpoints.load(model, optimizer)
    assert {os.readlink(checkpoints.folder / link) for link in ("latest", "best")} == {"step_00000002"}


def test_what_a_killed_process_left_is_never_read_and_goes_with_the_next_save(
    checkpoints: Checkpoints, mesh: Mesh
) -> None:
    left = checkpoints.folder / ".writing-step_00000009"
    left.mkdir()
    (checkpoints.folder / ".writing-latest").symlink_to("step_00000009")
    model, optimizer = start(mesh)
    assert checkpoints.load(model, optimizer) is None
    save_steps(checkpoints, mesh, 1)
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["latest", "step_00000001"]


# -- damage ------------------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "harm", "phrase"),
    [
        ("model.safetensors", truncate, "model.safetensors has "),
        ("state/optimizer/optimizer.safetensors", flip_a_bit, "optimizer.safetensors does not match its checksum"),
        ("state/random_00000.pt", Path.unlink, "random_00000.pt is missing"),
        ("manifest.json", Path.unlink, "no manifest.json"),
        ("manifest.json", truncate, "cannot be read"),
    ],
)
def test_a_damaged_save_is_named_and_the_one_before_is_used(
    checkpoints: Checkpoints, mesh: Mesh, said: list[str], file: str, harm: Any, phrase: str
) -> None:
    model, optimizer = save_steps(checkpoints, mesh, 2)
    harm(checkpoints.folder / "step_00000002" / file)
    assert checkpoints.load(model, optimizer) == {"progress": {"step": 1}}
    assert len(said) == 1
    assert "step_00000002" in said[0]
    assert phrase in said[0]
    with pytest.raises(CookbookError, match="step_00000002"):
        checkpoints.load(model, optimizer, checkpoints.folder / "step_00000002")


def test_a_save_takes_the_place_of_a_damaged_one_of_its_step(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = save_steps(checkpoints, mesh, 2)
    truncate(checkpoints.folder / "step_00000002" / "model.safetensors")
    checkpoints.load(model, optimizer)
    checkpoints.save(2, model, optimizer, {"mended": True}, export)
    assert checkpoints.load(model, optimizer) == {"mended": True}


def test_when_every_save_is_damaged_nothing_starts_anew_by_itself(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = save_steps(checkpoints, mesh, 2)
    for step in (1, 2):
        truncate(checkpoints.folder / f"step_0000000{step}" / "model.safetensors")
    with pytest.raises(CookbookError, match=r"intact.*resume_mode=disable"):
        checkpoints.load(model, optimizer)


def test_another_model_is_refused_with_the_first_differences(checkpoints: Checkpoints, mesh: Mesh) -> None:
    save_steps(checkpoints, mesh, 1)
    with pytest.raises(CookbookError, match=r"embed_tokens.weight is \(97, 32\), in the model \(97, 16\)"):
        checkpoints.load(*start(mesh, qwen(hidden=16)))
    with pytest.raises(CookbookError, match=r"layers\.2\.\S+ is missing"):
        checkpoints.load(*start(mesh, qwen(layers=3)))
    with pytest.raises(CookbookError, match=r"layers\.1\.\S+ is unknown to the model"):
        checkpoints.load(*start(mesh, qwen(layers=1)))


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_path_that_is_no_checkpoint(checkpoints: Checkpoints, mesh: Mesh, where: str) -> None:
    with pytest.raises(CookbookError, match=r"holds no manifest.json.*step_00000500"):
        checkpoints.load(*start(mesh), checkpoints.folder / where)


# -- a disk that does not take it --------------------------------------------------------------------------------------------


def full_disk(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_is_one_sentence_and_harms_nothing(
    tmp_path: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1, mesh=mesh, asynchronous=asynchronous)
    model, optimizer = save_steps(checkpoints, mesh, 1)
    with monkeypatch.context() as patch:
        patch.setattr(safetensors_writer.os, "pwrite", full_disk)
        with pytest.raises(CookbookError, match=r"no space left .* GiB free.*max_ckpt_to_keep"):
            checkpoints.save(2, model, optimizer, {}, export)
            checkpoints.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_00000001"]
    checkpoints.save(2, model, optimizer, {}, export)
    checkpoints.wait()
    assert folders(tmp_path) == ["step_00000002"]


def test_a_failure_in_the_background_is_raised_once_by_the_next_save(checkpoints: Checkpoints, mesh: Mesh) -> None:
    model, optimizer = start(mesh)

    def broken(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    checkpoints.save(1, model, optimizer, {}, broken)
    with pytest.raises(CookbookError, match=r"cannot be written \(Permission denied\)"):
        checkpoints.save(2, model, optimizer, {}, export)
    checkpoints.wait()
    assert folders(checkpoints.folder) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, mesh: Mesh) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CookbookError, match=r"trainer.default_local_dir=.*cannot be written"):
        Checkpoints(tmp_path / "file" / "run", keep=None, mesh=mesh)


def test_keep_none_of_them(tmp_path: Path, mesh: Mesh) -> None:
    with pytest.raises(CookbookError, match="max_ckpt_to_keep=0"):
        Checkpoints(tmp_path, keep=0, mesh=mesh)


def test_the_manifest_names_every_file_and_what_the_save_was(checkpoints: Checkpoints, mesh: Mesh) -> None:
    save_steps(checkpoints, mesh, 1, metric=1.5, best=True)
    folder = checkpoints.folder / "best"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["step"], manifest["serial"], manifest["metric"], manifest["best"]) == (1, 1, 1.5, True)
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert manifest["files"].keys() == on_disk - {"manifest.json"}
