"""A turn: one cell, or one widget message, that all ranks execute. Every rank owes it one verdict."""

import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

INTERRUPTED = "KeyboardInterrupt"
DIED = "RankDied"
RELEASED = "Released"  # nothing was wrong with this rank: it was taken out of the turn


@dataclass(frozen=True)
class Verdict:
    """How a turn ended on one rank. collectives: {process group: collectives issued so far}."""

    status: str = "ok"
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    collectives: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.status != "ok"

    @classmethod
    def from_reply(cls, reply: dict[str, Any], collectives: dict[str, int]) -> "Verdict":
        """From IPython's execute reply (its status is "ok", "error" or "aborted")."""
        known = {name: reply[name] for name in ("status", "ename", "evalue", "traceback") if name in reply}
        return cls(**known, collectives=collectives)

    @classmethod
    def error(cls, ename: str, evalue: str = "", collectives: dict[str, int] | None = None) -> "Verdict":
        return cls("error", ename, evalue, [], collectives or {})

    def as_fields(self) -> dict[str, Any]:
        """For the wire; `Verdict(**fields)` reads it."""
        return asdict(self)


class Turn:
    """The verdicts of one turn as they come in; `done` resolves when the last one is there."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size
        self.verdicts: dict[int, Verdict] = {}  # in the order of arrival
        self.done: Future[dict[int, Verdict]] = Future()
        self.interrupted = False  # by the user: every rank was told to stop
        self.aborted = False  # process groups were closed to get a rank out of a collective; its error is not a cause
        self.released: set[int] = set()
        self._lock = threading.Lock()

    def settle(self, rank: int, verdict: Verdict) -> bool:
        """Write a rank's verdict, unless it has one; True when others are still owed after it."""
        with self._lock:
            if rank in self.verdicts:
                return False
            self.verdicts[rank] = verdict
            if self.aborted or verdict.ename == RELEASED:
                self.released.add(rank)
            complete = len(self.verdicts) == self.size
        if complete:
            self.done.set_result(dict(self.verdicts))
        return not complete

    def pending(self) -> list[int]:
        """The ranks that still run."""
        with self._lock:
            return [rank for rank in range(self.size) if rank not in self.verdicts]

    def first_failure(self) -> tuple[int, Verdict] | None:
        """The rank that failed first, which is where the cause is: others may fail because of it."""
        with self._lock:
            failures = [(rank, v) for rank, v in self.verdicts.items() if v.failed and rank not in self.released]
        causes = [(rank, v) for rank, v in failures if v.ename != INTERRUPTED] or failures
        return causes[0] if causes else None

    @property
    def over(self) -> bool:
        return self.done.done()
