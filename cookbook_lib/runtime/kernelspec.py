"""The kernels that JupyterLab's picker offers, and that `papermill -k cookbook` finds.

    cookbook   1 rank       cookbook-2   2 ranks       cookbook-gpu   one per GPU       (COOKBOOK_NPROC wins over these)

Interrupts are messages: a signal to the launcher's process group would reach torchrun's agent, which ends the job.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

KERNELS = {
    "cookbook": ("Cookbook · 1 process", "1"),
    "cookbook-2": ("Cookbook · 2 processes", "2"),
    "cookbook-gpu": ("Cookbook · all GPUs", "gpu"),
}


def kernel_json(name: str) -> dict[str, Any]:
    """The specification of one of KERNELS, for this interpreter."""
    display_name, nproc = KERNELS[name]
    return {
        # An argument and not the specification's "env", which would win over the COOKBOOK_NPROC that the user exports.
        "argv": [sys.executable, "-m", "cookbook_lib.runtime.launch", "-f", "{connection_file}", "--nproc", nproc],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False},
    }


def install(prefix: str = sys.prefix) -> list[Path]:
    """Write the kernelspecs under `prefix`; returns their folders."""
    from jupyter_client.kernelspec import KernelSpecManager

    return [_install_one(name, KernelSpecManager(), prefix) for name in KERNELS]


def _install_one(name: str, manager: Any, prefix: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernel.json").write_text(json.dumps(kernel_json(name), indent=1))
        return Path(manager.install_kernel_spec(folder, name, prefix=prefix))


def installed(name: str) -> dict[str, Any] | None:
    """What Jupyter finds under this name, or None."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return None
    return {**spec.to_dict(), "folder": os.path.realpath(spec.resource_dir)}
