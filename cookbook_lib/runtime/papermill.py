"""One notebook, headless on N ranks, by papermill: live output, honest exit codes, the executed copy always kept.

    0    every cell ran                     130  stopped by SIGINT      143  stopped by SIGTERM
    1    a cell failed                      138  the kernel died        (2: wrong usage)

A signal becomes an interrupt of the running cell on every rank. Training stops there cooperatively and saves a checkpoint;
the cell has `stop_grace` seconds to end, a second signal ends it at once. Then the copy is saved and no further cell runs.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from cookbook_lib.runtime.kernelspec import kernel_json
from cookbook_lib.runtime.launch import PATIENT
from cookbook_lib.runtime.ports import CAN_HOLD, PORT_NAMES, hold
from cookbook_lib.runtime.terminal import Terminal

FAILED, KERNEL_DIED = 1, 138
_ENGINE = "cookbook"


class Stopped(Exception):
    """A signal ended the run between two cells, or before the first."""


@dataclass
class Job:
    """One run of one notebook. Seconds for durations."""

    notebook: str
    output: str
    parameters: dict[str, Any] = field(default_factory=dict)
    cwd: str | None = None
    start_timeout: int = 600
    stop_grace: float = 120.0
    terminal: Terminal = field(default_factory=Terminal)
    signal: int = 0  # the first one that was received
    client: "LiveClient | None" = None


def run(job: Job) -> int:
    """Execute the notebook and keep the copy; returns the exit code. The kernel takes its size from COOKBOOK_*."""
    Path(job.output).parent.mkdir(parents=True, exist_ok=True)
    os.environ[PATIENT] = "1"
    papermill_engines.register(_ENGINE, _LiveEngine)
    start = time.monotonic()
    with _signals(job):
        code = _outcome(job)
    job.terminal.say(f"executed copy: {job.output} ({time.monotonic() - start:.0f} s)")
    return 128 + job.signal if job.signal else code


def _outcome(job: Job) -> int:
    try:
        execute_notebook(
            job.notebook,
            job.output,
            job.parameters,
            engine_name=_ENGINE,
            kernel_name="cookbook",
            language="python",
            progress_bar=False,
            start_timeout=job.start_timeout,
            cwd=job.cwd,
            job=job,
        )
    except PapermillExecutionError as error:
        _print_failure(job, error)
        return FAILED
    except Stopped:
        job.terminal.say(f"stopped by {signal.Signals(job.signal).name}")
    except (DeadKernelError, RuntimeError) as error:
        job.terminal.say(f"error: the kernel died: {error}")
        return KERNEL_DIED
    return 0


def _print_failure(job: Job, error: PapermillExecutionError) -> None:
    """The failing cell, its rank and its exception; the traceback has been shown as it happened."""
    what = f"stopped by {signal.Signals(job.signal).name}" if job.signal else "error"
    job.terminal.say(f"{what}: cell [{error.exec_count}] of {job.notebook}: {error.ename}: {error.evalue}")


class CookbookKernelManager(AsyncKernelManager):
    """Starts our kernel whether or not its kernelspec is installed, on ports that nobody can take before it listens."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._held = [hold(self.ip) for _ in PORT_NAMES] if CAN_HOLD and self.transport == "tcp" else []
        for name, holder in zip(PORT_NAMES, self._held, strict=False):
            setattr(self, name, holder.getsockname()[1])
        self.cache_ports = not self._held  # True: Jupyter chooses

    def release_ports(self) -> None:
        """The kernel listens now, or never will."""
        for holder in self._held:
            holder.close()

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**kernel_json("cookbook"))


class LiveClient(PapermillNotebookClient):
    """papermill's client, which shows what happens, and can be stopped."""

    def __init__(self, manager: Any, job: Job, **options: Any) -> None:
        super().__init__(manager, kernel_manager_class=CookbookKernelManager, **options)
        self._job, self._titles = job, _code_cells(self.nb)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Task[None] | None = None
        job.client = self

    # stopping: `stop` and `kill` are called from a signal handler ----------------------------------------------------

    def stop(self) -> None:
        """Interrupt the running cell, and end the kernel if the cell does not end in time."""
        self._soon(self._stop)

    def kill(self) -> None:
        """End the kernel now."""
        self._soon(self._kill)

    def _soon(self, act: Any) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(act)

    def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        else:
            self._stopping = asyncio.ensure_future(self._interrupt_then_kill())

    def _kill(self) -> None:
        self._stopping = asyncio.ensure_future(ensure_async(self.km.shutdown_kernel(now=True)))

    async def _interrupt_then_kill(self) -> None:
        await ensure_async(self.km.interrupt_kernel())
        await asyncio.sleep(self._job.stop_grace)
        self._job.terminal.say(f"the cell did not end within {self._job.stop_grace:g} s: ending the kernel")
        await ensure_async(self.km.shutdown_kernel(now=True))

    # nbclient's hooks ------------------------------------------------------------------------------------------------

    async def async_start_new_kernel_client(self) -> Any:
        """Wait until every rank is ready."""
        self._loop, self._starting, manager = asyncio.get_running_loop(), asyncio.current_task(), self.km
        try:
            self._raise_if_stopped()
            return await super().async_start_new_kernel_client()
        except asyncio.CancelledError:
            await self._async_cleanup_kernel()
            raise Stopped from None
        finally:
            self._starting = None
            manager.release_ports()

    async def async_execute_cell(self, cell: NotebookNode, cell_index: int, *args: Any, **options: Any) -> NotebookNode:
        """One cell, between two lines on the terminal."""
        self._loop = asyncio.get_running_loop()
        self._raise_if_stopped()
        if cell_index not in self._titles:
            return await super().async_execute_cell(cell, cell_index, *args, **options)
        self._job.terminal.begin(*self._titles[cell_index])
        outcome = ", failed"
        try:
            result = await super().async_execute_cell(cell, cell_index, *args, **options)
            outcome = ""
        finally:
            self._job.terminal.end(outcome)
            if self._stopping is not None:
                self._stopping.cancel()
        return result

    def process_message(self, message: dict[str, Any], *args: Any, **options: Any) -> Any:
        """Show each message of the running cell before it is filed in the copy."""
        self._job.terminal.show(message)
        return super().process_message(message, *args, **options)

    def _raise_if_stopped(self) -> None:
        if self._job.signal:
            raise Stopped

    # nbclient binds these to its own coroutines
    start_new_kernel_client = run_sync(async_start_new_kernel_client)
    execute_cell = run_sync(async_execute_cell)


class _LiveEngine(Engine):
    """papermill's engine around LiveClient."""

    @classmethod
    def execute_managed_notebook(
        cls, manager: Any, kernel_name: str, job: Job, start_timeout: int, **options: Any
    ) -> NotebookNode:
        return LiveClient(manager, job, kernel_name=kernel_name, startup_timeout=start_timeout).execute()


@contextmanager
def _signals(job: Job) -> Iterator[None]:
    """The first SIGINT or SIGTERM stops, the second kills."""

    def handle(number: int, frame: FrameType | None) -> None:
        first, job.signal = not job.signal, job.signal or number
        if job.client is not None:
            (job.client.stop if first else job.client.kill)()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _code_cells(notebook: NotebookNode) -> dict[int, tuple[int, int, str]]:
    """{cell index: (number, total, title)} of the cells that run."""
    indices = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    return {i: (n, len(indices), _title(notebook.cells[i])) for n, i in enumerate(indices, start=1)}


def _title(cell: NotebookNode) -> str:
    """A readable cell id, or the first line of code where the id is a random one."""
    name = str(cell.get("id", ""))
    if name and not all(c in "0123456789abcdef-" for c in name):
        return name
    return str(cell.source.strip().splitlines()[0])[:60]
