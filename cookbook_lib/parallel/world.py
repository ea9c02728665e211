"""The world of processes: how this one joins it, and how it leaves.

    torchrun, or our kernel, sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT  ->  N processes
    nothing set (a plain `python3` kernel, a script)                                      ->  a world of one, no port

Both are process groups, so that there is one code path and not two. On CUDA the world speaks gloo for CPU tensors
(counts and flags, which then never wait for queued GPU work) and NCCL for GPU tensors.

A world can be left and joined again in the same process, as a notebook does after an error. Every join meets under a
prefix of its own in the store: the keys of the previous world are still there, and a group that reads them hangs.
"""

import ctypes
import datetime
import functools
import itertools
import os
import sys

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, PrefixStore, Store, TCPStore

from cookbook_lib.config import CookbookError

TIMEOUT = datetime.timedelta(minutes=30)  # of one collective; turns of `Mesh.first` have no limit

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h

_joins = itertools.count()
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def join_world(device: str = "auto") -> torch.device:
    """Join the processes that were started together, once; further calls change nothing.

    device: "cpu", "cuda", or "auto" (cuda where there is one). Returns the device of this rank.
    Raises CookbookError when CUDA is asked for and absent, when a node has more ranks than GPUs, or when the
    environment is only half set.
    """
    _check_environment()
    ours = choose_device(device)
    if dist.is_initialized():
        _check_same_backend(ours)
        return ours
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if ours.type == "cuda":
        torch.cuda.set_device(ours)
    else:
        _keep_freed_memory()
    # No device_id: with it, torch would split NCCL's communicator to make subgroups, and they must speak gloo as well.
    backend = "cpu:gloo,cuda:nccl" if ours.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_store(), rank=rank, world_size=world_size, timeout=TIMEOUT)
    return ours


def leave_world() -> None:
    """Leave the world, if in one; `join_world` then starts a new one. Models and meshes of the old one are dead."""
    if dist.is_initialized():
        dist.destroy_process_group()


def choose_device(device: str) -> torch.device:
    """The device of this rank: "auto", "cpu" or "cuda" to torch.device("cpu") or torch.device("cuda", LOCAL_RANK)."""
    if device not in ("auto", "cpu", "cuda"):
        raise CookbookError(f"trainer.device is {device!r}; it must be auto, cpu or cuda.")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise CookbookError("trainer.device is cuda, but torch sees no CUDA device; use trainer.device=cpu.")
    gpus = torch.cuda.device_count()
    ranks = max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), local_rank() + 1)
    if ranks > gpus:
        raise CookbookError(
            f"this node has {gpus} GPU(s) for {ranks} ranks; start at most {gpus} here (N_GPUS_PER_NODE={gpus}), "
            "or use trainer.device=cpu."
        )
    return torch.device("cuda", local_rank())


def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: a training step takes and frees the same large tensors again and again.

    By default each of 32 MiB or more goes back to the system and comes again page by page, at a fifth of a step's time on a
    virtual machine, whose host takes pages back as well. Kept, most come from the heap. Without glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks from the heap too
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 << 20)


def local_rank() -> int:
    """The place of this rank on its node, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def _check_environment() -> None:
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if "RANK" in os.environ and missing:
        raise CookbookError(
            f"RANK is set but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not; "
            "start the processes with torchrun, or unset RANK to run as one process."
        )


def _check_same_backend(device: torch.device) -> None:
    if device.type == "cuda" and "nccl" not in dist.get_backend_config():
        raise CookbookError(
            "this process joined its world on CPU, and now CUDA is asked for; call leave_world() first."
        )


def _store() -> Store:
    if "RANK" not in os.environ:
        return HashStore()
    # A job that torchrun restarts meets its previous attempt's keys in the agent's store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"attempt{attempt}/init{next(_joins)}", _root_store())


@functools.cache
def _root_store() -> TCPStore:
    """One connection per process, kept for its life; under torchrun the agent is the server, else rank 0 is."""
    agent_serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=os.environ["RANK"] == "0" and not agent_serves,
        wait_for_workers=False,
        timeout=TIMEOUT,
    )
