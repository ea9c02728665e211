"""When one rank has failed, or ended after an interrupt, and others go on in the same turn.

    others wait in a collective that a finished rank never issued    a certain deadlock: release them now
    a rank failed                                                    the others have COOKBOOK_GRACE seconds
    the user interrupted                                             they may be saving their work: COOKBOOK_STOP_GRACE

Release, each step only if the one before did not help: interrupt -> finished ranks hang up (fails a gloo collective)
-> the stuck ranks abort their groups (which ends an NCCL one) -> give up: the turn is failed without them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cookbook_lib.runtime.groups import collectives_issued, waits_for
from cookbook_lib.runtime.team import Team
from cookbook_lib.runtime.turns import INTERRUPTED, Turn

_LOOK_SECONDS = 0.3
_STEP_SECONDS = 2.0


@dataclass(frozen=True)
class Hands:
    """What can be done to ranks; the kernel provides it. Each takes the ranks that still run."""

    announce: Callable[[Turn, str], None]  # show the first failure and this sentence, before its consequences appear
    interrupt: Callable[[list[int]], None]
    close_groups: Callable[[list[int]], None]
    give_up: Callable[[Turn, list[int]], None]


class Rescue:
    """Watches over one troubled turn at a time, in a thread of its own."""

    def __init__(self, team: Team, hands: Hands, *, grace: float, stop_grace: float) -> None:
        self._team, self._hands = team, hands
        self._grace, self._stop_grace = grace, stop_grace
        self._watched: Turn | None = None
        self._lock = threading.Lock()

    def watch(self, turn: Turn) -> None:
        """Called at each verdict that means trouble; the first one of a turn starts the watch."""
        with self._lock:
            if self._watched is turn:
                return
            self._watched = turn
        threading.Thread(target=self._run, args=(turn,), name="cookbook-rescue", daemon=True).start()

    def _run(self, turn: Turn) -> None:
        deadlocked = self._wait(turn)
        steps = [self._interrupt, self._hang_up, self._abort, self._give_up]
        if deadlocked:  # a rank inside a collective does not see an interrupt
            steps.remove(self._interrupt)
        for step in steps:
            if not self._owed(turn):
                return
            step(turn)
            self._until_over(turn, _STEP_SECONDS)

    def _wait(self, turn: Turn) -> bool:
        """Leave the others their time; True as soon as they are seen to wait for a collective that cannot come."""
        start, suspected = time.monotonic(), False
        while self._owed(turn) and not self._team.broken and time.monotonic() - start < self._patience(turn):
            self._until_over(turn, _LOOK_SECONDS)
            seen = self._deadlocked(turn)
            if seen and suspected:
                return True
            suspected = seen
        return False

    def _patience(self, turn: Turn) -> float:
        failure = turn.first_failure()
        failed = failure is not None and failure[1].ename != INTERRUPTED
        return self._grace if failed else self._stop_grace

    def _deadlocked(self, turn: Turn) -> bool:
        finished = [v.collectives for v in list(turn.verdicts.values())]
        stuck = [counts for rank, counts in self._ask(turn).items() if rank in turn.pending()]
        return any(waits_for(counts, done) for counts in stuck for done in finished)

    def _ask(self, turn: Turn) -> dict[int, dict[str, int]]:
        """How far the ranks that still run have come; a rank that does not answer in time is left out."""
        self._team.positions = {0: collectives_issued()}
        self._team.broadcast("where", turn.pending())
        self._until_over(turn, _LOOK_SECONDS)
        return dict(self._team.positions)

    def _owed(self, turn: Turn) -> list[int]:
        return [] if self._team.closing or turn is not self._team.turn else turn.pending()

    def _until_over(self, turn: Turn, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._owed(turn) and time.monotonic() < end:
            time.sleep(0.02)

    # the steps -----------------------------------------------------------------------------------------------------

    def _interrupt(self, turn: Turn) -> None:
        self._hands.announce(turn, f"{name_ranks(turn.pending())} still running: interrupting")
        self._hands.interrupt(turn.pending())

    def _hang_up(self, turn: Turn) -> None:
        turn.aborted = True
        stuck = turn.pending()
        self._hands.announce(turn, f"{name_ranks(stuck)} inside a collective that others left: closing process groups")
        self._hands.close_groups([rank for rank in range(turn.size) if rank not in stuck])

    def _abort(self, turn: Turn) -> None:
        self._hands.close_groups(turn.pending())

    def _give_up(self, turn: Turn) -> None:
        self._hands.give_up(turn, turn.pending())


def name_ranks(ranks: list[int]) -> str:
    """[1] -> "rank 1", [1, 2, 3, 5] -> "ranks 1-3,5"."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], rank]
        else:
            spans.append([rank, rank])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return ("rank " if len(ranks) == 1 else "ranks ") + text
