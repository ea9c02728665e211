"""The world: joining and leaving it, its two views, and what it can do together."""

import os
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel import mesh as mesh_module
from cookbook_lib.parallel import world as world_module
from cookbook_lib.parallel.mesh import join_world, leave_world, make_mesh
from tests.ranks import run_ranks


def places(sp: int, fsdp: int) -> tuple:
    mesh = make_mesh(sp, fsdp, "cpu")
    names = dict(zip(mesh.fsdp_mesh.mesh_dim_names, mesh.fsdp_mesh.get_coordinate(), strict=True))
    sequence = dist.get_process_group_ranks(mesh.sp_group) if mesh.sp_group else None
    return mesh.dp_rank, mesh.sp_rank, sequence, names.get("replicate"), names["shard"]


def test_two_views_of_four_ranks():
    assert run_ranks(places, 4, 2, 2) == [
        (0, 0, [0, 1], 0, 0),
        (0, 1, [0, 1], 0, 1),
        (1, 0, [2, 3], 1, 0),
        (1, 1, [2, 3], 1, 1),
    ]


def test_one_copy_of_the_parameters_by_default():
    assert run_ranks(places, 2, 1, -1) == [(0, 0, None, None, 0), (1, 0, None, None, 1)]


def together() -> dict:
    mesh = make_mesh(device="cpu")
    tensor = torch.tensor([mesh.rank, 10])
    total = mesh.sum(tensor)
    return {
        "float": mesh.sum(0.1 * (mesh.rank + 1)),
        "big": mesh.sum(2**40 + mesh.rank),
        "tensor": total.tolist(),
        "untouched": tensor.tolist(),
        "any": (mesh.any(mesh.rank == 1), mesh.any(False)),
        "broadcast": mesh.broadcast(f"from {mesh.rank}"),
        "main": mesh.is_main,
        "line": mesh.describe(),
    }


def test_sums_flags_and_broadcast():
    zero, one = run_ranks(together, 2)
    assert zero["float"] == one["float"] == pytest.approx(0.3, abs=1e-15)
    assert zero["big"] == 2**41 + 1
    assert zero["tensor"] == [1, 20]
    assert one["untouched"] == [1, 10]
    assert zero["any"] == one["any"] == (True, False)
    assert one["broadcast"] == "from 0"
    assert (zero["main"], one["main"]) == (True, False)
    assert one["line"] == "2 processes on cpu: 2 data-parallel groups x 1 Ulysses rank; 1 copy of the model in 2 shards"


def cached(folder: str) -> str:
    mesh = make_mesh(device="cpu")

    def work() -> str:
        file = Path(folder) / "cache"
        if not file.exists():
            time.sleep(0.3)
            file.write_text(f"made by {mesh.rank}")
        return file.read_text()

    return mesh.first(work) + mesh.first(lambda: " again")


def test_first_lets_rank_zero_fill_the_cache(tmp_path):
    assert run_ranks(cached, 3, str(tmp_path)) == ["made by 0 again"] * 3


def one_cache_per_node(folder: str) -> str:
    """Ranks 2 and 3 stand for a second node with a disk of its own."""
    os.environ["LOCAL_RANK"] = str(int(os.environ["RANK"]) % 2)
    node = Path(folder) / str(int(os.environ["RANK"]) // 2)
    mesh = make_mesh(device="cpu")

    def work() -> str:
        node.mkdir(exist_ok=True)
        if not (node / "cache").exists():
            (node / "cache").write_text(str(mesh.rank))
        return (node / "cache").read_text()

    return mesh.first(work)


def test_first_takes_turns_on_every_node(tmp_path):
    assert run_ranks(one_cache_per_node, 4, str(tmp_path)) == ["0", "0", "2", "2"]


def failing(kind: str) -> str:
    mesh = make_mesh(device="cpu")

    def work() -> None:
        raise CookbookError("no rows in train.parquet.") if kind == "ours" else OSError("disk full")

    try:
        mesh.first(work)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing raised"


def test_a_failure_of_rank_zero_reaches_all():
    assert run_ranks(failing, 2, "ours") == [
        "CookbookError: no rows in train.parquet.",
        "CookbookError: no rows in train.parquet. (on rank 0)",
    ]
    assert run_ranks(failing, 2, "theirs") == ["OSError: disk full", "CookbookError: OSError: disk full (on rank 0)"]


def alone(folder: str) -> tuple:
    mesh = make_mesh(device="cpu")
    result = mesh.on_main(lambda: (Path(folder) / f"ran on {mesh.rank}").touch() or {"answer": 42})
    try:
        mesh.on_main(lambda: 1 / 0)
    except Exception as error:
        return result, str(error)
    return result, "nothing raised"


def test_on_main_runs_on_rank_zero_alone_and_tells_all(tmp_path):
    told = ({"answer": 42}, "ZeroDivisionError: division by zero (on rank 0)")
    assert run_ranks(alone, 3, str(tmp_path)) == [({"answer": 42}, "division by zero"), told, told]
    assert [file.name for file in tmp_path.iterdir()] == ["ran on 0"]


def rejoin(times: int) -> list:
    """Leave and join with uneven delays, and with meshes, groups and the turns of `first` made anew in each world."""
    sums = []
    for i in range(times):
        mesh = make_mesh(sp_size=2, fsdp_size=2, device="cpu")
        assert join_world("cpu") == mesh.device  # idempotent
        time.sleep(0.05 * ((mesh.rank + i) % 3))
        sums.append((mesh.sum(mesh.rank + i), mesh.first(lambda: i)))  # noqa: B023
        leave_world()
    return sums


def test_the_world_can_be_left_and_joined_again():
    assert run_ranks(rejoin, 4, 5) == [[(6 + 4 * i, i) for i in range(5)]] * 4


def own_world(times: int) -> list:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    worlds = []
    for _ in range(times):
        mesh = make_mesh(device="cpu")
        worlds.append(
            (
                mesh.world_size,
                mesh.sum(1.5),
                mesh.any(True),
                mesh.broadcast("x"),
                mesh.first(lambda: 7),
                mesh.describe(),
            )
        )
        leave_world()
    leave_world()
    return worlds


def test_a_plain_process_is_a_world_of_one():
    line = "1 process on cpu: 1 data-parallel group x 1 Ulysses rank; 1 copy of the model in 1 shard"
    assert run_ranks(own_world, 1, 3) == [[(1, 1.5, True, "x", 7, line)] * 3]


def does_not_divide(sp: int, fsdp: int) -> str:
    try:
        make_mesh(sp, fsdp, "cpu")
    except CookbookError as error:
        return str(error)
    return "accepted"


@pytest.mark.parametrize(
    ("sp", "fsdp", "says"),
    [
        (3, -1, "ulysses_sequence_parallel_size is 3, which does not divide the world of 4 processes; use 2 or 4, "),
        (8, -1, "ulysses_sequence_parallel_size is 8, which does not divide the world of 4 processes; use 4, "),
        (1, 3, "model.fsdp_config.fsdp_size is 3, which does not divide the world of 4 processes; use 2 or 4, "),
        (1, 0, "model.fsdp_config.fsdp_size is 0, which does not divide the world of 4 processes; use 1, "),
    ],
)
def test_sizes_that_do_not_divide_the_world(monkeypatch, sp, fsdp, says):
    monkeypatch.setattr(mesh_module, "join_world", lambda device: torch.device("cpu"))
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    assert does_not_divide(sp, fsdp).startswith(says)


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CookbookError, match=r"trainer\.device is cuda, but torch sees no CUDA device"):
        world_module.choose_device("cuda")
    assert world_module.choose_device("auto") == torch.device("cpu")
    with pytest.raises(CookbookError, match=r"trainer\.device is 'gpu'; it must be auto, cpu or cuda"):
        world_module.choose_device("gpu")


def test_more_ranks_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(CookbookError, match=r"this node has 2 GPU\(s\) for 4 ranks; start at most 2 here"):
        world_module.choose_device("auto")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert world_module.choose_device("auto") == torch.device("cuda", 1)


def test_half_an_environment(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(
        CookbookError, match="RANK is set but WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not; start"
    ):
        join_world("cpu")
