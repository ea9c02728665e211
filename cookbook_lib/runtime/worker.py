"""What torchrun starts on every rank: `python -m cookbook_lib.runtime.worker CONNECTION_FILE`.

Rank 0 becomes the kernel of that connection file, the others execute with it.

Signals. SIGINT reaches the cell that runs, and only through the kernel. The launcher ends ranks with SIGHUP. SIGTERM
comes from the agent when another rank died (rank 0 then answers for some seconds more, so that clients can report and
save), or from a scheduler that signals every process of the job at once: the runner turns that into an interrupt, so
ranks let it pass.
"""

import logging
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

from cookbook_lib.runtime.lifeline import die_with_parent, leave, outlive, watch_signals
from cookbook_lib.runtime.settings import Settings, read_settings

_STORE_PREFIX = "cookbook.runtime"
_STORE_TIMEOUT = timedelta(minutes=10)
_SETTLE_SECONDS = 0.5


def main() -> None:
    """Entry point of a rank."""
    die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    settings = read_settings()
    if rank == 0:
        leave(lead(size, settings, sys.argv[1]))
    follow(rank, settings)
    leave(0)


def lead(size: int, settings: Settings, connection_file: str) -> int:
    """Rank 0: serve Jupyter until it shuts the kernel down; returns the exit code."""
    from ipykernel.kernelapp import IPKernelApp

    from cookbook_lib.runtime.kernel import RootKernel
    from cookbook_lib.runtime.team import assemble

    app = IPKernelApp.instance(kernel_class=RootKernel)
    app.log.addFilter(_on_loopback)
    app.initialize(["-f", connection_file])
    team = assemble(size, settings, _store() if size > 1 else None)
    kernel = app.kernel
    kernel.join(team, settings)
    watch_signals(lambda number: _end(number, kernel, settings), signal.SIGTERM, signal.SIGHUP)
    app.start()
    return 1 if team.broken else 0


def follow(rank: int, settings: Settings) -> None:
    """Every other rank: execute what rank 0 executes."""
    from cookbook_lib.runtime.ranks import RankApp
    from cookbook_lib.runtime.team import enlist

    app = RankApp.instance()
    app.link = enlist(rank, settings, _store())  # until then a SIGTERM ends this rank: rank 0 may have failed to start
    outlive(signal.SIGTERM)
    app.initialize([])
    app.start()


def _store() -> Any:
    """The store that torchrun's agent of node 0 keeps, under a prefix of our own."""
    import torch.distributed as dist

    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=_STORE_TIMEOUT
    )
    return dist.PrefixStore(_STORE_PREFIX, store)  # type: ignore[attr-defined]


def _end(number: int, kernel: Any, settings: Settings) -> None:
    """In the signal thread of rank 0."""
    time.sleep(_SETTLE_SECONDS)  # the end of a dead rank's connection may arrive after the agent's signal
    if number == signal.SIGTERM and not kernel.team.broken:
        return
    end = time.monotonic() + (settings.linger if number == signal.SIGTERM else 0)
    while time.monotonic() < end and not kernel.terminating and _client_lives():
        time.sleep(0.1)
    time.sleep(_SETTLE_SECONDS)  # what is on its way to the client
    os._exit(1)


def _client_lives() -> bool:
    """Whether the Jupyter server or runner that started the kernel is still there."""
    client = os.environ.get("JPY_PARENT_PID", "")
    return not client or not os.path.isdir("/proc") or os.path.exists(f"/proc/{client}")


def _on_loopback(record: logging.LogRecord) -> bool:
    """Drop ipykernel's warning at each start, about TCP without encryption: its sockets are on the loopback."""
    return "without encryption" not in record.getMessage()


if __name__ == "__main__":
    main()
