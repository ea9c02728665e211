"""What the notebook shows of the other ranks: their output, and the cause of a failure before its consequences.

Everything here may be called from any thread: iopub messages go through ipykernel's own publishing thread.
"""

import time
from collections.abc import Callable
from typing import Any

from cookbook_lib.runtime.groups import out_of_step
from cookbook_lib.runtime.rescue import name_ranks
from cookbook_lib.runtime.streams import label
from cookbook_lib.runtime.turns import DIED, INTERRUPTED, RELEASED, Turn, Verdict

_SHOWN_TRACEBACKS = 4
_WAIT_FOR_CAUSE_SECONDS = 0.2
Content = dict[str, Any]


class Report:
    """The messages about one turn. `publish(message type, content)` sends to the cell that runs."""

    def __init__(self, publish: Callable[[str, Content], None], output: str) -> None:
        self._publish, self._output = publish, output
        self._shown: set[tuple[str, str]] = set()

    def new_turn(self) -> None:
        """Errors seen before may be shown again."""
        self._shown = set()

    def output(self, rank: int, name: str, text: str) -> None:
        """Text that another rank printed."""
        if name == "stderr" or self._output == "all":
            self._publish("stream", {"name": name, "text": label(rank, text)})

    def note(self, sentence: str) -> None:
        """A remark of the kernel's own."""
        self._publish("stream", {"name": "stderr", "text": f"[{sentence}]\n"})

    def announce(self, turn: Turn, sentence: str) -> None:
        """Show what failed first, then say what is done about those who go on."""
        failure = turn.first_failure()
        if failure is not None and failure[0] != 0:
            self.error([failure[0]], failure[1])
        self.note(sentence)

    def cause_before(self, turn: Turn, ename: str, evalue: str) -> None:
        """Rank 0 is about to show its own error: show first the one that it follows from, if another rank has it."""
        end = time.monotonic() + _WAIT_FOR_CAUSE_SECONDS
        while (failure := turn.first_failure()) is None and time.monotonic() < end:
            time.sleep(0.01)
        if failure is not None and failure[0] != 0 and not _same(failure[1], ename, evalue):
            self.error([failure[0]], failure[1])

    def error(self, ranks: list[int], verdict: Verdict) -> Content:
        """Show a failure once; returns the content of its error message."""
        who = "" if verdict.ename == DIED else f"[{name_ranks(ranks)}] "
        headline = f"\x1b[1;31m{verdict.ename}\x1b[0m: {verdict.evalue}"
        traceback = [f"\x1b[1;31m{who}\x1b[0m"] * bool(who) + (verdict.traceback or [headline])
        content = {"ename": verdict.ename, "evalue": who + verdict.evalue, "traceback": traceback}
        key = (verdict.ename, verdict.evalue)
        if key not in self._shown:
            self._shown.add(key)
            self._publish("error", content)
        return content

    def conclude(self, turn: Turn, own: Content) -> Content:
        """After the last verdict: show what is not shown yet; returns the reply for the cell, which names the cause."""
        for n, (verdict, ranks) in enumerate(_alike(turn, own)):
            if verdict is None:
                self.note(f"{name_ranks(ranks)} raised the same {own['ename']}")
            elif n < _SHOWN_TRACEBACKS:
                self.error(ranks, verdict)
            else:
                self.note(f"{name_ranks(ranks)}: {verdict.ename}: {verdict.evalue}")
        failure = turn.first_failure()
        if failure is None or failure[0] == 0 or _same(failure[1], own.get("ename"), own.get("evalue")):
            return own
        return {**own, "status": "error", **self.error([failure[0]], failure[1])}

    def closed(self, turn: Turn) -> bool:
        """Say when the ranks are out of step; True when their process groups must be closed."""
        failed = any(verdict.failed for verdict in turn.verdicts.values())
        difference = out_of_step(turn.verdicts)
        if failed and (difference or turn.aborted):
            where = f"the ranks stopped at different collectives of {difference}" if difference else "a rank was stuck"
            self.note(
                f"{where}: process groups are closed; run the cells that join the world and build the model again"
            )
            return True
        if difference:
            self.note(f"ranks issued different numbers of collectives in {difference}")
        return False


def _same(verdict: Verdict, ename: str | None, evalue: str | None) -> bool:
    return (verdict.ename, verdict.evalue) == (ename, evalue)


def _alike(turn: Turn, own: Content) -> list[tuple[Verdict | None, list[int]]]:
    """Other ranks' failures, equal ones together; None for a verdict that equals rank 0's and needs only a remark."""
    together: dict[tuple[str, str], list[int]] = {}
    for rank, verdict in sorted(turn.verdicts.items()):
        if rank and verdict.failed and rank not in turn.released and verdict.ename != RELEASED:
            together.setdefault((verdict.ename, verdict.evalue), []).append(rank)
    groups: list[tuple[Verdict | None, list[int]]] = []
    for key, ranks in together.items():
        if key != (own.get("ename"), own.get("evalue")):
            groups.append((turn.verdicts[ranks[0]], ranks))
        elif len(ranks) < turn.size - 1 and key[0] != INTERRUPTED:
            groups.append((None, ranks))
    return groups
