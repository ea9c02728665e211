"""Two views of the same ranks: who shares a sequence, and who shards the parameters.

    rank                0  1  2  3  4  5  6  7        a world of 8, sp_size=2, fsdp_size=4
    rows       dp       0  0  1  1  2  2  3  3        each dp group reads its own rows ...
               sp       0  1  0  1  0  1  0  1        ... and its sp ranks, neighbours, split one sequence (Ulysses)
    parameters replicate 0 0  0  0  1  1  1  1        copies of the model (HSDP; one copy when fsdp_size is the world)
               shard    0  1  2  3  0  1  2  3        a copy is cut over these ranks (FSDP)

The views are independent: every rank has tokens of its own, so a gradient is a sum over the whole world under any.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast, overload

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.world import join_world as join_world
from cookbook_lib.parallel.world import leave_world as leave_world
from cookbook_lib.parallel.world import local_rank

T = TypeVar("T")


@dataclass(frozen=True)
class Mesh:
    """This rank's place in the world, and what the world can do together. Every method is called by all ranks alike."""

    device: torch.device
    rank: int
    world_size: int
    dp: int  # groups that read different rows
    sp: int  # ranks that split one sequence
    dp_rank: int
    sp_rank: int
    sp_group: dist.ProcessGroup | None  # None when sp is 1
    fsdp_mesh: DeviceMesh  # ("shard",), or ("replicate", "shard")
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def shard_size(self) -> int:
        """Ranks that hold one copy of the parameters between them."""
        return self.fsdp_mesh.size(self.fsdp_mesh.ndim - 1)

    @overload
    def sum(self, x: float) -> float: ...
    @overload
    def sum(self, x: torch.Tensor) -> torch.Tensor: ...
    def sum(self, x: float | torch.Tensor) -> float | torch.Tensor:
        """The sum over the world: of a number (in float64, on the CPU: no GPU is waited for) or of a tensor."""
        total = x.detach().clone() if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)
        dist.all_reduce(total)
        return total if isinstance(x, torch.Tensor) else total.item()

    def any(self, flag: bool) -> bool:
        """True on every rank if it is true on one."""
        return self.sum(float(flag)) > 0

    def barrier(self) -> None:
        """Wait until every rank is here (its CPU thread: queued GPU work may still run)."""
        self.sum(0.0)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, any picklable object, on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, any picklable object, by rank, on every rank."""
        found: list[T] = [value] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def first(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0, then on the first rank of each other node, then on the rest: for caches on disk.

        Who runs later finds what the earlier wrote, on a shared disk or a node's own. Waiting has no time limit and can
        be interrupted. When `work` fails, the ranks that wait for it raise CookbookError with the message.
        """
        store = dist.distributed_c10d._get_default_store()
        turn = f"first/{store.add(f'first/{self.rank}', 1)}"  # ranks count alike, world by world
        outcome = "what the other ranks wait for was interrupted"
        try:
            for leader in sorted({0, self.rank - self.local_rank} - {self.rank}):
                _wait_for(store, f"{turn}/{leader}", leader)
            result = work()
            outcome = ""
            return result
        except Exception as error:
            outcome = str(error) if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}"
            raise
        finally:
            store.set(f"{turn}/{self.rank}", outcome)

    def meet(self) -> None:
        """Wait for all ranks, however long one of them works: a collective gives up after world.TIMEOUT. Can be interrupted."""
        store = dist.distributed_c10d._get_default_store()
        place = f"meet/{store.add(f'meet/{self.rank}', 1)}"
        if store.add(f"{place}/here", 1) == self.world_size:
            store.set(f"{place}/all", "")
        _wait_for(store, f"{place}/all", self.rank)

    def on_main(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0 alone, however long it takes; every rank gets the result, picklable, or its failure."""
        return self.broadcast(self.first(lambda: work() if self.is_main else cast(T, None)))

    def describe(self) -> str:
        """`4 processes on cpu: 2 data-parallel groups x 2 Ulysses ranks; 1 copy of the model in 4 shards`."""
        rows = f"{_many(self.dp, 'data-parallel group')} x {_many(self.sp, 'Ulysses rank')}"
        copies = _many(self.world_size // self.shard_size, "copy", "copies")
        return (
            f"{_many(self.world_size, 'process', 'processes')} on {self.device.type}: {rows}; "
            f"{copies} of the model in {_many(self.shard_size, 'shard')}"
        )


def make_mesh(sp_size: int = 1, fsdp_size: int = -1, device: str = "auto") -> Mesh:
    """Join the world if need be, and lay the two views over it.

    sp_size: ranks that split one sequence. fsdp_size: ranks that hold one copy of the parameters; -1 for all of them.
    Raises CookbookError when either does not divide the world.
    """
    ours = join_world(device)
    rank, world = dist.get_rank(), dist.get_world_size()
    shard = world if fsdp_size == -1 else fsdp_size
    _check_divides("ulysses_sequence_parallel_size", sp_size, world)
    _check_divides("model.fsdp_config.fsdp_size", shard, world)
    return Mesh(
        device=ours,
        rank=rank,
        world_size=world,
        dp=world // sp_size,
        sp=sp_size,
        dp_rank=rank // sp_size,
        sp_rank=rank % sp_size,
        sp_group=_sequence_group(ours, world, sp_size),
        fsdp_mesh=_parameter_mesh(ours, world, shard),
        local_rank=local_rank(),
    )


def _sequence_group(device: torch.device, world: int, sp: int) -> dist.ProcessGroup | None:
    if sp == 1:
        return None
    return init_device_mesh(device.type, (world // sp, sp), mesh_dim_names=("dp", "sp")).get_group("sp")


def _parameter_mesh(device: torch.device, world: int, shard: int) -> DeviceMesh:
    if shard == world:
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (world // shard, shard), mesh_dim_names=("replicate", "shard"))


def _check_divides(key: str, size: int, world: int) -> None:
    """Raise CookbookError, with the nearest sizes that fit, unless `size` ranks divide the world."""
    if size >= 1 and world % size == 0:
        return
    fitting = [d for d in range(1, world + 1) if world % d == 0]
    below, above = [d for d in fitting if d < size] or [1], [d for d in fitting if d > size] or [world]
    raise CookbookError(
        f"{key} is {size}, which does not divide the world of {_many(world, 'process', 'processes')}; "
        f"use {' or '.join(map(str, sorted({below[-1], above[0]})))}, or start another number of processes."
    )


def _wait_for(store: Store, key: str, leader: int) -> None:
    """Poll, rather than block in C++: an interrupt arrives, and a cache may take longer than a collective's timeout."""
    while not store.check([key]):
        time.sleep(0.05)
    if problem := store.get(key).decode():
        raise CookbookError(f"{problem} (on rank {leader})")


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
