"""Real kernels on gloo ranks, and notebooks that run headless."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from cookbook_lib.runtime.kernelspec import kernel_json
from cookbook_lib.runtime.ports import hold
from tests.jobs import Command, Job

SETUP = """
import os, signal, sys, time, torch, torch.distributed as dist
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
def join():
    join.count = getattr(join, "count", 0) + 1
    if dist.is_initialized(): dist.destroy_process_group()
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    dist.init_process_group("gloo", store=dist.PrefixStore(f"test{join.count}", store), rank=rank, world_size=world)
def total(x=None):
    t = torch.tensor(float(rank + 1 if x is None else x)); dist.all_reduce(t); return t.item()
join()
"""


@dataclass
class Result:
    """What one cell did: its reply, and what it published in order as (kind, text)."""

    status: str = "no reply"
    ename: str = ""
    evalue: str = ""
    outputs: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def text(self, *kinds: str) -> str:
        return "".join(text for kind, text in self.outputs if not kinds or kind in kinds)

    @property
    def errors(self) -> list[str]:
        return [text for kind, text in self.outputs if kind == "error"]


class Kernel:
    """One kernel and its client, as JupyterLab or nbclient would drive it."""

    def __init__(self, nproc: int, **settings: str) -> None:
        self.job = Job()
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(**kernel_json("cookbook"))
        environment = {**self.job.environment, "COOKBOOK_NPROC": str(nproc), **settings}
        self.manager.start_kernel(env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connect()

    def connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)

    def run(self, code: str, timeout: float = 60) -> Result:
        return self.collect(self.client.execute(code), timeout)

    def value(self, expression: str) -> object:
        """The value of an expression, which must succeed."""
        result = self.run(f"print(repr(({expression})))")
        assert result.status == "ok", result
        return eval(result.text("stdout"))

    def interrupted(self, code: str, after: float = 0.5, timeout: float = 60) -> Result:
        """Run code, interrupt it; `seconds` counts from the interrupt."""
        message = self.client.execute(code)
        time.sleep(after)
        self.manager.interrupt_kernel()
        return self.collect(message, timeout)

    def interrupt(self) -> None:
        """Interrupt, and wait for the kernel's word that it did: what is executed next comes by another channel."""
        self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        assert self.client.get_control_msg(timeout=30)["msg_type"] == "interrupt_reply"

    def collect(self, message_id: str, timeout: float = 60) -> Result:
        result, start = Result(), time.monotonic()
        while time.monotonic() - start < timeout:
            if self._take_output(message_id, result):
                break
        else:
            raise AssertionError(f"no end of the cell within {timeout} s: {result}")
        self._take_reply(message_id, result)
        result.seconds = time.monotonic() - start
        return result

    def _take_output(self, message_id: str, result: Result) -> bool:
        """File the next message; True when the cell is over or the kernel is dead."""
        try:
            message = self.client.get_iopub_msg(timeout=0.2)
        except Empty:
            return not self.manager.is_alive()
        if message["parent_header"].get("msg_id") != message_id:
            return False
        content, kind = message["content"], message["msg_type"]
        if kind == "stream":
            result.outputs.append((content["name"], content["text"]))
        elif kind == "error":
            result.outputs.append((kind, f"{content['ename']}: {content['evalue']}"))
        elif kind in ("execute_result", "display_data"):
            result.outputs.append((kind, content["data"].get("text/plain", "")))
        return bool(kind == "status" and content["execution_state"] == "idle")

    def _take_reply(self, message_id: str, result: Result) -> None:
        with contextlib.suppress(Empty):
            while True:
                reply = self.client.get_shell_msg(timeout=3 if self.manager.is_alive() else 0.2)
                if reply["parent_header"].get("msg_id") == message_id:
                    content = reply["content"]
                    result.status, result.ename, result.evalue = (
                        content.get(x, "") for x in ("status", "ename", "evalue")
                    )
                    return

    def close(self) -> None:
        self.client.stop_channels()
        with contextlib.suppress(RuntimeError):
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.job.kill()


@pytest.fixture
def start_kernel() -> Iterator[Callable[..., Kernel]]:
    """start_kernel(nproc, COOKBOOK_...=...): a kernel of the test's own."""
    kernels: list[Kernel] = []

    def start(nproc: int = 2, setup: str = SETUP, **settings: str) -> Kernel:
        kernel = Kernel(nproc, **settings)
        kernels.append(kernel)
        assert not setup or kernel.run(setup).status == "ok"
        return kernel

    yield start
    for kernel in kernels:
        kernel.close()


@pytest.fixture(scope="module")
def shared_kernel() -> Iterator[Kernel]:
    """One kernel of two ranks for the module."""
    kernel = Kernel(2, COOKBOOK_GRACE="1")
    assert kernel.run(SETUP).status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The module's kernel, its ranks in one fresh world."""
    assert shared_kernel.run("join()").status == "ok"
    return shared_kernel


class Runs:
    """Notebooks and command lines in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.job, self.held = folder, Job(), contextlib.ExitStack()
        self.commands: list[Command] = []

    def notebook(self, *cells: str, parameters: str = "", name: str = "book.ipynb") -> str:
        """Write a notebook of code cells, the first one tagged `parameters` if given; returns its name."""
        book = nbformat.v4.new_notebook()
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book.cells = [nbformat.v4.new_code_cell(code) for code in ([parameters] if parameters else []) + list(cells)]
        if parameters:
            book.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(book, self.folder / name)
        return name

    def start(self, *arguments: str, **environment: str) -> Command:
        """Start `python arguments...`."""
        command = Command(self.job, self.folder, list(arguments), **environment)
        self.commands.append(command)
        return command

    def cookbook(self, *arguments: str, **environment: str) -> Command:
        """Start `cookbook arguments...`."""
        return self.start("-m", "cookbook_lib.runtime", *arguments, **environment)

    def held_port(self) -> str:
        """A port for node 0, which nobody else on this machine is given meanwhile."""
        return str(self.held.enter_context(hold("127.0.0.1")).getsockname()[1])

    def outputs(self, name: str = "out.ipynb") -> str:
        """All text that an executed copy holds."""
        parts = []
        for cell in nbformat.read(self.folder / name, as_version=4).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {}).get("text/plain", "")
                parts.append(output.get("text", "") or data or f"{output.get('ename')}: {output.get('evalue')}\n")
        return "".join(parts)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Notebooks to run headless."""
    made = Runs(tmp_path)
    yield made
    made.job.kill()
    made.held.close()
    for command in made.commands:
        command.process.wait(10)
