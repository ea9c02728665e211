"""torch's process groups from outside: are the ranks in step, and how does one get out of a collective.

A raw interrupt or an exception can leave rank 0 one collective ahead of rank 1. The next all-reduce then adds up
unrelated tensors, and the one after hangs. So every verdict carries the number of collectives issued per group, and
ranks that disagree after a failed cell have their groups closed: an honest error instead of wrong numbers.

A rank that waits inside a collective ignores signals. NCCL can be aborted on that rank. gloo has no abort that works:
its `abort`, `shutdown` and `destroy_process_group` release nobody, and a model or a mesh keeps the group alive anyway;
only the sockets' end reaches the peer. So the ranks that are *not* stuck hang up.

`_abort_process_group`, `_get_sequence_number_for_group` and `_world` are private in torch; where one is missing we
count nothing, and hang up all the same.
"""

import contextlib
import gc
import os
import socket
import sys
from types import TracebackType
from typing import Any

from cookbook_lib.runtime.turns import Verdict


def collectives_issued() -> dict[str, int]:
    """{process group: collectives that this rank has issued on it}; empty when torch.distributed is not in use."""
    dist = _distributed()
    if dist is None:
        return {}
    counts = {}
    for group, name in list(dist.distributed_c10d._world.pg_names.items()):
        try:
            counts[str(name)] = int(group._get_sequence_number_for_group())
        except (RuntimeError, AttributeError):  # this backend does not count
            continue
    return counts


def out_of_step(verdicts: dict[int, Verdict]) -> str:
    """'' or what differs, as "group 'default' (rank 0: 12, rank 1: 13)"; only members of a group are compared."""
    counts: dict[str, dict[int, int]] = {}
    for rank, verdict in sorted(verdicts.items()):
        for group, issued in verdict.collectives.items():
            counts.setdefault(group, {})[rank] = issued
    for group, by_rank in counts.items():
        if len(set(by_rank.values())) > 1:
            return f"group {group!r} (" + ", ".join(f"rank {r}: {n}" for r, n in list(by_rank.items())[:8]) + ")"
    return ""


def waits_for(stuck: dict[str, int], finished: dict[str, int]) -> bool:
    """True when a rank has issued a collective that a finished rank has not, hence never will: a certain deadlock."""
    return any(issued > finished[group] for group, issued in stuck.items() if group in finished)


def close_groups(keep_descriptors: set[int], keep_ports: set[int]) -> None:
    """Abort all process groups and hang up on the peers; from a helper thread while the main thread may be stuck."""
    dist = _distributed()
    _forget_tracebacks()
    if dist is not None:
        try:
            dist.distributed_c10d._abort_process_group()
        except (RuntimeError, AttributeError, ValueError) as error:
            print(f"process groups could not be aborted ({error}); hanging up", file=sys.__stderr__)
    gc.collect()
    _hang_up(keep_descriptors, keep_ports | _store_port())


def _distributed() -> Any:
    """torch.distributed when somebody has imported and initialized it; this module never imports torch by itself."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _forget_tracebacks() -> None:
    """The last exception's frames hold references to tensors and groups, which keeps them from being destroyed."""
    traceback: TracebackType | None = getattr(sys, "last_traceback", None)
    while traceback is not None:
        try:
            traceback.tb_frame.clear()
            traceback.tb_frame.f_locals  # noqa: B018  IPython's report left a copy of the locals in the frame; reading syncs it
        except RuntimeError:
            pass  # this frame is still running
        traceback = traceback.tb_next


def _store_port() -> set[int]:
    return {int(os.environ["MASTER_PORT"])} if "MASTER_PORT" in os.environ else set()


def _hang_up(keep_descriptors: set[int], keep_ports: set[int]) -> None:
    """Shut down every TCP connection of this process except those named. Other clients (a tracker's HTTP) reconnect."""
    if not os.path.isdir("/proc/self/fd"):
        return  # not Linux: the groups' own abort has to do
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep_descriptors:
            with contextlib.suppress(OSError):  # not connected, or gone in the meantime
                if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                    _shut_down(descriptor, keep_ports)


def _shut_down(descriptor: int, keep_ports: set[int]) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.type != socket.SOCK_STREAM or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return
        if not {connection.getsockname()[1], connection.getpeername()[1]} & keep_ports:
            connection.shutdown(socket.SHUT_RDWR)
