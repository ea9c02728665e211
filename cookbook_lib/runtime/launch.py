"""Starts the ranks of one node: what a kernelspec runs, and what a follower node runs.

    python -m cookbook_lib.runtime.launch -f CONNECTION_FILE      node 0, started by Jupyter
    python -m cookbook_lib.runtime.launch --join                  every other node (`cookbook join`)

It is torchrun's agent with four choices of ours. Several nodes meet by static rendezvous: the c10d one may give rank 0
to a node without the connection file. No restarts: a restarted rank 0 would silently take the same kernel ports. SIGINT
never reaches the agent, which would end the job; interrupts travel as messages. And SIGTERM waits, where a scheduler
signals every process of a job at once, until the runner had its time to stop the cell and save.
"""

import argparse
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

from cookbook_lib.runtime.lifeline import ChildSessions, when_parent_ends
from cookbook_lib.runtime.ports import hold_ports_of
from cookbook_lib.runtime.settings import RuntimeSettingError, Settings, read_settings

PATIENT = "COOKBOOK_PATIENT"  # set by the runner: SIGTERM is its to handle
_WORKER = "cookbook_lib.runtime.worker"
_SHUTDOWN_SECONDS = 5  # torchrun's SIGKILL after its signal to the ranks, beyond COOKBOOK_LINGER
_LAST_RESORT_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run the ranks of this node until they end, then leave nothing behind."""
    options = _parse(arguments)
    _held = hold_ports_of(options.connection_file) if options.connection_file else []
    os.environ.setdefault("COOKBOOK_NPROC", options.nproc)
    try:
        settings = read_settings()
        ranks = ranks_on_this_node(settings.nproc)
    except RuntimeSettingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    settings = _with_secret(settings)
    _share_cores(ranks)
    sessions = ChildSessions()
    Stopper(patience=_patience(settings, options.join)).install(interactive=options.join)
    code = _torchrun(torchrun_arguments(settings, ranks, os.path.abspath(options.connection_file or "")))
    sessions.kill()
    sys.stderr.flush()
    os._exit(code)


def ranks_on_this_node(nproc: str) -> int:
    """COOKBOOK_NPROC as a number; raises RuntimeSettingError where "gpu" finds none."""
    if nproc.isdecimal():
        return int(nproc)
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if nproc == "gpu" and not gpus:
        raise RuntimeSettingError(
            "COOKBOOK_NPROC is gpu, but torch sees no GPU here; set it to a number of ranks, as in COOKBOOK_NPROC=2."
        )
    return gpus if nproc == "gpu" or (nproc == "auto" and gpus) else _cores()


def torchrun_arguments(settings: Settings, ranks: int, connection_file: str) -> list[str]:
    """The command line of torchrun for this node."""
    arguments = ["--nproc-per-node", str(ranks), "--max-restarts", "0", "--monitor-interval", "0.1"]
    arguments += ["--shutdown-timeout", str(int(settings.linger) + _SHUTDOWN_SECONDS), "--signals-to-handle", "SIGQUIT"]
    if settings.nnodes == 1:
        arguments += ["--standalone"]
    else:
        arguments += ["--nnodes", str(settings.nnodes), "--node-rank", str(settings.node_rank)]
        arguments += ["--master-addr", settings.master_addr, "--master-port", str(settings.master_port)]
    if settings.log_dir:
        arguments += ["--log-dir", settings.log_dir, "--redirects", "3"]
    return [*arguments, "-m", _WORKER, connection_file]


class Stopper:
    """SIGTERM, or the end of the parent process, ends the job: after `patience` seconds, at a second signal at once."""

    def __init__(self, patience: float) -> None:
        self._patience, self._due = patience, patience == 0

    def install(self, *, interactive: bool) -> None:
        """From the main thread. interactive: Ctrl-C means the same as SIGTERM; a kernel's launcher ignores it."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle if interactive else signal.SIG_IGN)
        when_parent_ends(self._orphaned)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._due:
            self._due = True
            self._later(self._patience, lambda: os.kill(os.getpid(), signal.SIGTERM))
            return
        from torch.distributed.elastic.multiprocessing.api import SignalException

        # The agent passes this signal on to the ranks, which tell it from a SIGTERM that a scheduler sent them.
        raise SignalException(f"{signal.Signals(number).name} received", signal.SIGHUP)

    def _orphaned(self) -> None:
        self._due = True
        os.kill(os.getpid(), signal.SIGTERM)
        self._later(_LAST_RESORT_SECONDS, lambda: os.kill(os.getpid(), signal.SIGKILL))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()


def _torchrun(arguments: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except SignalException:
        return 128 + signal.SIGTERM
    except ChildFailedError as error:
        print(f"cookbook: a rank ended with code {error.get_first_failure()[1].exitcode}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cookbook_lib.runtime.launch", description="Start the ranks of this node."
    )
    parser.add_argument("-f", dest="connection_file", help="Jupyter's connection file (node 0)")
    parser.add_argument("--nproc", default="1", help="ranks on this node where COOKBOOK_NPROC is not set")
    parser.add_argument("--join", action="store_true", help="follow node 0")
    options = parser.parse_args(arguments)
    if options.join == bool(options.connection_file):
        parser.error("give either -f CONNECTION_FILE or --join")
    return options


def _with_secret(settings: Settings) -> Settings:
    """One node makes its own secret up; read_settings has refused several nodes without one."""
    secret = settings.authkey or secrets.token_hex(32)
    os.environ["COOKBOOK_AUTHKEY"] = secret
    return replace(settings, authkey=secret)


def _patience(settings: Settings, joining: bool) -> float:
    return settings.stop_grace + _LAST_RESORT_SECONDS if joining or PATIENT in os.environ else 0.0


def _share_cores(ranks: int) -> None:
    """Each rank's threads; and they sleep soon when they wait: spinning, as is OpenMP's habit, halts a machine that others use."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // ranks)))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
