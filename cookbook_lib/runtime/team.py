"""Rank 0's view of the other ranks: start a turn on all of them, collect verdicts, notice deaths.

    begin ->  {"kind": "cell" | "comm", "turn": n, ...}  ->  every rank
    rank  ->  {"kind": "verdict", "turn": n, ...}        ->  Turn.settle

One thread per rank reads. A rank whose connection ends is dead: its verdict is written for it, and the job is broken
for good.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from cookbook_lib.runtime.channel import ChannelError, Frame, Link, call, gather_links
from cookbook_lib.runtime.settings import Settings
from cookbook_lib.runtime.turns import DIED, Turn, Verdict

_ADDRESS_KEY = "kernel/address"


class Team:
    """All ranks of the job, of which rank 0 is this process."""

    def __init__(self, links: dict[int, tuple[Link, Frame]]) -> None:
        self.size = len(links) + 1
        self.turn = Turn(0, self.size)
        self.broken = ""  # why no turn can be run any more
        self.closing = False
        self.on_output: Callable[[int, str, str], None] = lambda rank, name, text: None
        self.on_trouble: Callable[[Turn], None] = lambda turn: (
            None
        )  # a rank failed, or ended after an interrupt; others run
        self.positions: dict[int, dict[str, int]] = {}  # last answers to "where"
        self._links = {rank: link for rank, (link, _) in links.items()}
        self._hellos = {rank: hello for rank, (_, hello) in links.items()}

    def listen(self) -> None:
        """Start reading what the ranks send."""
        for rank, link in self._links.items():
            threading.Thread(target=self._read, args=(rank, link), name=f"cookbook-rank-{rank}", daemon=True).start()

    # a turn ------------------------------------------------------------------------------------------------------

    def begin(self, kind: str, **fields: Any) -> Turn:
        """Start a turn on the other ranks; rank 0 runs its own part and calls `settle(turn, 0, verdict)`."""
        turn = self.turn = Turn(self.turn.number + 1, self.size)
        if not self.broken:
            self.broadcast(kind, turn=turn.number, **fields)
            return turn
        for rank in range(self.size):
            turn.settle(rank, Verdict.error(DIED, self.broken))
        return turn

    def settle(self, turn: Turn, rank: int, verdict: Verdict) -> None:
        """Note a verdict; call for help when this one failed, or was told to stop, and others go on."""
        waiting = turn.settle(rank, verdict)
        if waiting and (verdict.failed or turn.interrupted):
            self.on_trouble(turn)

    def interrupt(self, ranks: Iterable[int] | None = None) -> None:
        """Tell other ranks (None: all) to stop the current turn."""
        self.broadcast("interrupt", ranks, turn=self.turn.number)

    def broadcast(self, kind: str, ranks: Iterable[int] | None = None, **fields: Any) -> None:
        """Send a frame to other ranks (None: all). A rank that is gone is reported by its reader."""
        chosen = set(self._links) if ranks is None else set(ranks) & set(self._links)
        for rank in sorted(chosen):
            with contextlib.suppress(OSError):
                self._links[rank].send(kind, **fields)

    def descriptors(self) -> set[int]:
        """The sockets to the ranks."""
        return {link.descriptor for link in self._links.values()}

    def break_job(self, why: str) -> None:
        """No further turn can be run; the first reason counts."""
        self.broken = self.broken or why

    # what ranks send ---------------------------------------------------------------------------------------------

    def _read(self, rank: int, link: Link) -> None:
        try:
            while True:
                self._handle(rank, link.receive())
        except ChannelError:
            self._mourn(rank)

    def _handle(self, rank: int, frame: Frame) -> None:
        if frame["kind"] == "output":
            self.on_output(rank, frame["name"], frame["text"])
        elif frame["kind"] == "position":
            self.positions[rank] = frame["collectives"]
        elif frame["kind"] == "verdict" and frame["turn"] == self.turn.number:
            self.settle(self.turn, rank, Verdict(**frame["verdict"]))

    def _mourn(self, rank: int) -> None:
        if self.closing:
            return
        hello = self._hellos[rank]
        self.break_job(
            f"rank {rank} (process {hello['pid']} on {hello['host']}) died without an exception "
            "(killed? out of memory?); the distributed job cannot go on: restart the kernel"
        )
        self.settle(self.turn, rank, Verdict.error(DIED, self.broken))


def assemble(size: int, settings: Settings, store: Any) -> Team:
    """On rank 0: publish an address in torchrun's store and wait until every rank has connected."""
    if size == 1:
        return Team({})
    everywhere = settings.nnodes > 1
    with socket.create_server(("" if everywhere else "127.0.0.1", 0), backlog=size) as server:
        host = (
            settings.master_addr if everywhere else "127.0.0.1"
        )  # rank 0 lives on node 0, which the master address names
        store.set(_ADDRESS_KEY, json.dumps([host, server.getsockname()[1]]))
        return Team(gather_links(server, size - 1, settings.secret))


def enlist(rank: int, settings: Settings, store: Any) -> Link:
    """On every other rank: look the address up and report there."""
    host, port = json.loads(store.get(_ADDRESS_KEY))
    return call((host, port), settings.secret, rank=rank, pid=os.getpid(), host=socket.gethostname())
