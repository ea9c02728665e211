"""Every rank but 0: an IPython kernel without sockets, which executes what rank 0 executes.

    control thread   reads frames from rank 0: turns go to the main thread's queue, everything else acts at once
    main thread      runs turns one by one, as IPython's kernel does: await, magics, `_`, inline plots, tracebacks

It starts as IPython's kernel application does, with profile, start-up files and extensions, so that a name which exists
on rank 0 exists here. It ends when rank 0 says so, or is gone.
"""

import asyncio
import os
import queue
import sys
import threading
import time
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from tornado.ioloop import IOLoop
from traitlets import Any as AnyTrait

from cookbook_lib.runtime.channel import ChannelError, Frame, Link
from cookbook_lib.runtime.comms import SharedComms, unpack_message
from cookbook_lib.runtime.groups import close_groups, collectives_issued
from cookbook_lib.runtime.interrupts import allow_interrupts, ignore_interrupts, interrupt_cell
from cookbook_lib.runtime.streams import NowhereSocket, RankStream
from cookbook_lib.runtime.turns import INTERRUPTED, Verdict

_STUCK_SECONDS = 1.0
_ORPHANED = 1  # exit code


class RankShell(ZMQInteractiveShell):
    """IPython's shell without a GUI event loop, which needs a connected kernel."""

    def enable_gui(self, gui: str | None = None) -> None:
        self.active_eventloop = gui


class RankKernel(IPythonKernel):
    """IPython's kernel; input comes from the user at rank 0."""

    iopub_socket = AnyTrait()
    shell_channel_thread = AnyTrait()
    shell_class = RankShell
    shell: Any
    answers: "queue.Queue[str]"

    def _input_request(self, *args: Any, **options: Any) -> str:
        while True:
            try:
                return self.answers.get(timeout=0.1)  # in slices: an interrupt must get through
            except queue.Empty:
                continue


class _MainThread:
    """What IPython's kernel asks of its shell channel thread when there is none."""

    parent_thread = threading.main_thread()


class RankApp(IPKernelApp):
    """IPython's kernel application, connected to rank 0 in place of a browser."""

    link: Link

    def init_connection_file(self) -> None: ...

    def init_poller(self) -> None: ...

    def init_sockets(self) -> None: ...

    def init_heartbeat(self) -> None: ...

    def write_connection_file(self, **options: Any) -> None: ...

    def log_connection_info(self) -> None: ...

    def init_io(self) -> None:
        sys.stdout, sys.stderr = (RankStream(name, self.link, sys.__stderr__) for name in ("stdout", "stderr"))
        self.patch_io()

    def init_kernel(self) -> None:
        self.kernel = RankKernel.instance(
            parent=self,
            session=self.session,
            iopub_socket=NowhereSocket(),
            shell_channel_thread=_MainThread(),
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )
        self.kernel.answers = queue.Queue()
        self.kernel.shell.history_manager.enabled = False

    def start(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await Rank(self.kernel, self.link).serve()


class Rank:
    """Executes turns until rank 0 ends the job; made inside the event loop that serves."""

    def __init__(self, kernel: RankKernel, link: Link) -> None:
        self._kernel, self._link = kernel, link
        self._turns: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._running: int | None = None  # the turn that can be interrupted now
        self._stopped = 0  # the last turn that was interrupted; the word may come before the turn has begun here
        self._number = 0
        self._loop = asyncio.get_running_loop()
        kernel.io_loop = IOLoop.current()
        SharedComms(lambda: self._number)

    async def serve(self) -> None:
        """Run the turns in their order, until there are no more."""
        ignore_interrupts()
        threading.Thread(target=self._control, name="cookbook-control", daemon=True).start()
        while (frame := await self._turns.get()) is not None:
            verdict = await self._run(frame)
            sys.stdout.flush()
            sys.stderr.flush()
            self._link.send("verdict", turn=frame["turn"], verdict=verdict.as_fields())

    # main thread -----------------------------------------------------------------------------------------------------

    async def _run(self, frame: Frame) -> Verdict:
        """One turn. An interrupt may hit any instruction up to the moment when it is ignored again."""
        try:
            try:
                allow_interrupts()
                self._running = self._number = frame["turn"]
                if self._stopped == self._number:
                    raise KeyboardInterrupt
                reply = await (self._cell(frame) if frame["kind"] == "cell" else self._comm(frame))
            finally:
                self._running = None
                ignore_interrupts()
        except KeyboardInterrupt:
            ignore_interrupts()
            reply = {"status": "error", "ename": INTERRUPTED}
        return Verdict.from_reply(reply, collectives_issued())

    async def _cell(self, frame: Frame) -> dict[str, Any]:
        self._kernel.set_parent([], frame["parent"], "shell")
        self._kernel.answers = queue.Queue()
        reply: dict[str, Any] = await self._kernel.do_execute(
            frame["code"],
            False,
            store_history=frame["store_history"],
            user_expressions={},
            allow_stdin=frame["allow_stdin"],
            cell_id=frame["cell_id"],
        )
        return reply

    async def _comm(self, frame: Frame) -> dict[str, Any]:
        message = unpack_message(frame["message"])
        self._kernel.set_parent([], message, "shell")
        getattr(self._kernel.comm_manager, frame["type"])(None, None, message)
        return {"status": "ok"}

    # control thread --------------------------------------------------------------------------------------------------

    def _control(self) -> None:
        try:
            while (frame := self._link.receive())["kind"] != "shutdown":
                self._obey(frame)
            code = 0
        except ChannelError:
            code = _ORPHANED
        self._loop.call_soon_threadsafe(self._turns.put_nowait, None)
        time.sleep(_STUCK_SECONDS)  # the main thread leaves by itself, unless it is stuck in a turn
        os._exit(code)

    def _obey(self, frame: Frame) -> None:
        match frame["kind"]:
            case "cell" | "comm":
                self._loop.call_soon_threadsafe(self._turns.put_nowait, frame)
            case "interrupt":
                self._interrupt(frame["turn"])
            case "where":
                self._link.send("position", collectives=collectives_issued())
            case "close_groups":
                close_groups({self._link.descriptor}, set())
            case "answer":
                self._kernel.answers.put(frame["text"])

    def _interrupt(self, turn: int) -> None:
        self._stopped = turn
        if self._running == turn:
            interrupt_cell(self._kernel)
            time.sleep(0.05)
            self._loop.call_soon_threadsafe(lambda: None)  # wakes a top-level await, which would see it only at its end
