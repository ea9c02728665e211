"""Examine this machine: are the kernels installed, do they belong to this Python, does a cell run on two ranks."""

import os
import socket
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

from cookbook_lib.runtime.kernelspec import KERNELS, installed
from cookbook_lib.runtime.settings import RuntimeSettingError, read_settings

_READY_SECONDS = 120
_PROBE = """
import torch, torch.distributed as dist, os
world = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
dist.init_process_group("gloo", store=dist.PrefixStore("doctor", world), rank=int(os.environ["RANK"]), world_size=2)
total = torch.tensor(float(dist.get_rank() + 1))
dist.all_reduce(total)
assert total.item() == 3
"""


class Complaint(Exception):
    """What is wrong, and what to do."""


def examine() -> int:
    """Print one line per check; returns the exit code, 1 when something is wrong."""
    checks: tuple[Callable[[], str], ...] = (_versions, _settings, _kernels, _address, _two_ranks)
    results = [_passes(check) for check in checks]
    return 0 if all(results) else 1


def _passes(check: Callable[[], str]) -> bool:
    try:
        print(f"ok       {check()}")
    except (Complaint, RuntimeSettingError) as complaint:
        print(f"problem  {complaint}")
        return False
    return True


def _versions() -> str:
    names = ("ipykernel", "jupyter_client", "papermill", "torch")
    if not version("ipykernel").startswith("7."):
        raise Complaint(
            f"ipykernel is {version('ipykernel')}; the kernel is written for 7: pip install 'ipykernel>=7,<8'."
        )
    return f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in names)


def _settings() -> str:
    settings = read_settings()
    return f"{settings.nnodes} node(s), COOKBOOK_NPROC {settings.nproc}, output of {settings.output}"


def _kernels() -> str:
    for name in KERNELS:
        found = installed(name)
        if found is None:
            raise Complaint(f"kernel {name} is not installed; run `cookbook kernel install`.")
        if found["argv"][0] != sys.executable:
            raise Complaint(f"kernel {name} starts {found['argv'][0]}, not this Python; run `cookbook kernel install`.")
    return f"kernels {', '.join(KERNELS)} installed for {sys.executable}"


def _address() -> str:
    """Several nodes find each other by the master's address."""
    settings = read_settings()
    try:
        return f"master address {settings.master_addr} is {socket.gethostbyname(settings.master_addr)}"
    except OSError as error:
        raise Complaint(f"COOKBOOK_MASTER_ADDR {settings.master_addr} cannot be resolved ({error}).") from error


def _two_ranks() -> str:
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    from cookbook_lib.runtime.kernelspec import kernel_json

    manager = KernelManager()
    manager._kernel_spec = KernelSpec(**kernel_json("cookbook-2"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COOKBOOK_N")}
    start = time.monotonic()
    manager.start_kernel(env=environment)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=_READY_SECONDS)
        ready = time.monotonic() - start
        reply = client.execute_interactive(_PROBE, timeout=_READY_SECONDS, output_hook=lambda message: None)["content"]
    except (RuntimeError, TimeoutError) as error:
        raise Complaint(f"a kernel of two ranks did not answer: {error}.") from error
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    if reply["status"] != "ok":
        raise Complaint(f"an all-reduce over two ranks failed: {reply['ename']}: {reply['evalue']}.")
    return f"a kernel of two ranks is ready after {ready:.1f} s, and adds up right"
