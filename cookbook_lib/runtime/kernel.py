"""Rank 0: an ordinary IPython kernel that also runs every cell, and every widget message, on the other ranks.

    execute_request -> begin a turn on all ranks -> run it here -> wait for their verdicts -> report -> execute_reply

Silent executions, completion and inspection stay on rank 0. With one rank this is IPython's kernel, unchanged.

Threads: cells run in the main thread; the control thread takes interrupts and shutdowns; one thread per rank reads; a
rescue thread appears when ranks fail. Only the main thread may run user code or change signal handlers.

This file leans on ipykernel 7: `do_execute`'s signature, `shell_channel_thread`, `_process_children`, `kernel_info`.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.zmqshell import ZMQInteractiveShell

from cookbook_lib.runtime.comms import SharedComms, pack_message
from cookbook_lib.runtime.groups import close_groups, collectives_issued
from cookbook_lib.runtime.interrupts import allow_interrupts, ignore_interrupts, interrupt_cell
from cookbook_lib.runtime.report import Report
from cookbook_lib.runtime.rescue import Hands, Rescue, name_ranks
from cookbook_lib.runtime.settings import Settings
from cookbook_lib.runtime.team import Team
from cookbook_lib.runtime.turns import INTERRUPTED, RELEASED, Turn, Verdict

_DELIVERY_SECONDS = 1.0
_COMM_MESSAGES = ("comm_open", "comm_msg", "comm_close")
Reply = dict[str, Any]


class RootShell(ZMQInteractiveShell):
    """IPython's shell, which lets another rank's error be shown before the one that follows from it."""

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        self.kernel.before_own_error(etype.__name__, str(evalue))
        super()._showtraceback(etype, evalue, stb)


class RootKernel(IPythonKernel):
    """IPython's kernel as rank 0 of a team; `join` must be called before it starts."""

    shell_class = RootShell
    shell: Any
    session: Any

    def join(self, team: Team, settings: Settings) -> None:
        """Take the lead of a team whose ranks are all connected."""
        self.team = team
        self.terminating = False
        self._request: tuple[Any, Any, dict[str, Any]] | None = None  # stream, ident, message of the turn that runs
        self._running_here = False
        self._postponed: deque[tuple[Any, ...]] = deque()  # handler, stream, ident, message
        self._report = Report(self._publish, settings.output)
        if team.size == 1:
            return
        hands = Hands(self._report.announce, self._interrupt_ranks, self._close_groups, self._give_up)
        team.on_output = self._report.output
        team.on_trouble = Rescue(team, hands, grace=settings.grace, stop_grace=settings.stop_grace).watch
        self._comms = SharedComms(lambda: self.team.turn.number)
        for kind in _COMM_MESSAGES:
            self.shell_handlers[kind] = self._on_all_ranks(kind, self.shell_handlers[kind])
        team.listen()

    # cells -----------------------------------------------------------------------------------------------------------

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        alone = (
            self.team.size == 1
            or parent["content"].get("silent")
            or threading.current_thread() is not threading.main_thread()
        )
        if alone:
            await super().execute_request(stream, ident, parent)
            return
        with self._request_of(stream, ident, parent):
            await super().execute_request(stream, ident, parent)
        await self._catch_up(ident, parent)

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: str | None = None,
    ) -> Reply:
        options = {"store_history": store_history, "user_expressions": user_expressions, "allow_stdin": allow_stdin}
        execute = partial(super().do_execute, code, silent, **options, cell_meta=cell_meta, cell_id=cell_id)
        if silent or self._request is None:
            return await execute()
        turn = self._begin(
            "cell",
            code=code,
            parent=_header(self._request[2]),
            store_history=store_history,
            allow_stdin=allow_stdin,
            cell_id=cell_id,
        )
        return await self._finish(turn, await self._own_part(turn, execute))

    def _begin(self, kind: str, **fields: Any) -> Turn:
        self._report.new_turn()
        return self.team.begin(kind, **fields)

    async def _own_part(self, turn: Turn, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """Rank 0's share of a turn. An interrupt may hit any instruction up to the moment when it is ignored again."""
        if turn.over:  # the job is broken
            return {"status": "error", **self._report.error([0], turn.verdicts[0])}
        try:
            try:
                self._running_here = True
                allow_interrupts()
                reply = await work()
            finally:
                self._running_here = False
                ignore_interrupts()
        except KeyboardInterrupt:
            ignore_interrupts()
            reply = {"status": "error", "ename": INTERRUPTED, "evalue": "", "traceback": []}
        _flush()
        self.team.settle(turn, 0, Verdict.from_reply(reply, collectives_issued()))
        return reply

    async def _finish(self, turn: Turn, own: Reply) -> Reply:
        await asyncio.wrap_future(turn.done)
        if self._report.closed(turn):
            self._close_groups(list(range(self.team.size)))
        reply = self._report.conclude(turn, own)
        reply.setdefault("execution_count", self.shell.execution_count - 1)
        return {"user_expressions": {}, "payload": [], **reply}

    def before_own_error(self, ename: str, evalue: str) -> None:
        """Rank 0's shell is about to show an exception."""
        if self._running_here and ename != INTERRUPTED:
            self._report.cause_before(self.team.turn, ename, evalue)

    # widgets ---------------------------------------------------------------------------------------------------------

    def _on_all_ranks(self, kind: str, local: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        """The handler of a comm message: a turn on all ranks, after the cell that runs, in order of arrival."""

        async def handle(stream: Any, ident: Any, message: dict[str, Any]) -> None:
            if not self._comms.shared(kind, message["content"]):
                local(stream, ident, message)
            elif self._request is not None:  # ipykernel lets comm messages in while a cell awaits
                self._postponed.append((handle, stream, ident, message))
            else:
                with self._request_of(stream, ident, message):
                    turn = self._begin("comm", type=kind, message=pack_message(message))
                    await self._finish(
                        turn, await self._own_part(turn, partial(_as_cell, local, stream, ident, message))
                    )
                await self._catch_up(ident, message)

        return handle

    async def _catch_up(self, ident: Any, parent: dict[str, Any]) -> None:
        """After a turn: handle the widget messages that came during it, each as the parent of its own output."""
        while self._postponed:
            handle, *request = self._postponed.popleft()
            self.set_parent(request[1], request[2])
            await handle(*request)
        self.set_parent(ident, parent)

    @contextmanager
    def _request_of(self, stream: Any, ident: Any, message: dict[str, Any]) -> Iterator[None]:
        """The message whose turn runs: output of all ranks belongs to it."""
        self._request = (stream, ident, message)
        try:
            yield
        finally:
            self._request = None

    @property
    def kernel_info(self) -> dict[str, Any]:
        """Without subshells: on one, rank 0 would run a widget's callback while the other ranks are still in a cell."""
        info: dict[str, Any] = super().kernel_info
        if self.team.size > 1:
            info["supported_features"] = [name for name in info["supported_features"] if name != "kernel subshells"]
        return info

    def _input_request(self, *args: Any, **options: Any) -> str:
        """Ask the user; every rank's `input()` gets the same answer."""
        answer = str(super()._input_request(*args, **options))
        self.team.broadcast("answer", turn=self.team.turn.number, text=answer)
        return answer

    # interrupts and the end ------------------------------------------------------------------------------------------

    async def interrupt_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        if self.team.size == 1:
            interrupt_cell(self)
        else:
            self._interrupt_turn()
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
        await asyncio.sleep(0.05)
        self.io_loop.add_callback(
            lambda: None
        )  # wakes a top-level await, which would see the interrupt only at its end

    def _interrupt_turn(self) -> None:
        turn = self.team.turn
        if turn.over or turn.number == 0:
            return
        turn.interrupted = True
        self._interrupt_ranks(turn.pending())
        if turn.verdicts:
            self.team.on_trouble(turn)

    def _interrupt_ranks(self, ranks: list[int]) -> None:
        self.team.interrupt(ranks)
        if 0 in ranks and self._running_here:
            interrupt_cell(self)

    def do_shutdown(self, restart: bool) -> Any:
        self.terminating = self.team.closing = True
        self.team.broadcast("shutdown")
        return super().do_shutdown(restart)

    def _process_children(self) -> list[Any]:
        """What shutdown waits for. multiprocessing's resource tracker ignores SIGTERM and ends by itself."""
        return [
            child for child in super()._process_children() if not any("resource_tracker" in a for a in child.cmdline())
        ]

    # rescue ----------------------------------------------------------------------------------------------------------

    def _close_groups(self, ranks: list[int]) -> None:
        self.team.broadcast("close_groups", ranks)
        if 0 in ranks:
            close_groups(self.team.descriptors(), set(self._recorded_ports.values()))

    def _give_up(self, turn: Turn, stuck: list[int]) -> None:
        """Nothing moves these ranks. End the turn without them; rank 0 itself being one, end the kernel."""
        self._report.announce(turn, f"{name_ranks(stuck)} cannot be stopped: restart the kernel")
        self.team.break_job(f"{name_ranks(stuck)} cannot be stopped; restart the kernel")
        if 0 not in stuck:
            for rank in stuck:
                self.team.settle(turn, rank, Verdict.error(RELEASED))
        elif not self.terminating:
            self._end_with_reply(turn)

    def _end_with_reply(self, turn: Turn) -> None:
        """The main thread is lost: answer for it, so that clients can save what there is, and leave."""
        failure = turn.first_failure()
        if self._request is None or failure is None:
            os._exit(1)
        _, ident, parent = self._request
        reply = {
            **self._report.error([failure[0]], failure[1]),
            "status": "error",
            "execution_count": self.shell.execution_count,
        }
        self._publish("status", {"execution_state": "idle"})
        self.shell_channel_thread.io_loop.add_callback(
            lambda: self.session.send(self.shell_stream, "execute_reply", reply, parent=parent, ident=ident)
        )
        time.sleep(_DELIVERY_SECONDS)
        os._exit(1)

    def _publish(self, kind: str, content: dict[str, Any]) -> None:
        parent = self._request[2] if self._request else self.get_parent()
        self.session.send(self.iopub_socket, kind, content, parent=parent, ident=self._topic(kind))


async def _as_cell(handler: Callable[..., Any], *message: Any) -> Reply:
    handler(*message)
    return {"status": "ok"}


def _header(message: dict[str, Any]) -> dict[str, Any]:
    return {"header": {name: str(value) for name, value in message["header"].items()}}


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
