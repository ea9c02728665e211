"""Who dies with whom: no process of a job may outlive it, whoever was killed, and however.

    Jupyter server / papermill / `cookbook run`
        '-- launcher (torchrun agent)     polls its parent: PDEATHSIG would follow the parent *thread*, and servers
                |                         start kernels from threads
                '-- rank                  PDEATHSIG: SIGKILL when the agent dies
                        '-- children      (DataLoader workers) are in the rank's session, which the launcher ends

PDEATHSIG and /proc are Linux; elsewhere ranks end when the channel to rank 0 ends.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """SIGKILL this process when its parent ends."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(1)


def when_parent_ends(act: Callable[[], None]) -> None:
    """Call `act` in a thread when the parent process is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, name="cookbook-parent", daemon=True).start()


class ChildSessions:
    """The sessions that our children lead, kept up to date so that what a dead child left in its own can be ended."""

    def __init__(self) -> None:
        self._leaders: set[int] = set()
        threading.Thread(target=self._watch, name="cookbook-sessions", daemon=True).start()

    def kill(self) -> None:
        """SIGKILL whatever is left in them."""
        self._look()
        for leader in self._leaders:
            with contextlib.suppress(OSError):  # empty: all of it has ended
                os.killpg(leader, signal.SIGKILL)

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(0.5)

    def _look(self) -> None:
        for child in _children():
            with contextlib.suppress(OSError):  # ended between the two calls
                if os.getsid(child) == child:
                    self._leaders.add(child)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def watch_signals(act: Callable[[int], None], *signals: int) -> None:
    """Call `act(signal)` in a thread, even while the main thread is inside C++ where Python handlers do not run.

    Forked and executed children do not inherit it: their SIGTERM is theirs.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, _note)

    os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))
    _keep_from_children(signals)

    def watch() -> None:
        while True:
            for number in os.read(reader, 64):
                if number in signals:
                    act(number)

    threading.Thread(target=watch, name="cookbook-signals", daemon=True).start()


def outlive(*signals: int) -> None:
    """Let these signals pass in this process. With a handler: children would inherit SIG_IGN through exec."""
    for number in signals:
        signal.signal(number, _note)
    _keep_from_children(signals)


def leave(code: int) -> None:
    """End this process now: the hooks that users registered, then nothing.

    Interpreter shutdown with torch takes more than a second, and Jupyter sends SIGTERM after 2.5.
    """
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _keep_from_children(signals: tuple[int, ...]) -> None:
    """A forked child gets the default action back; a signal that comes before that waits, and is not lost."""

    def reset() -> None:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        unblock()

    block, unblock = (partial(signal.pthread_sigmask, how, signals) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK))
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=reset)


def _note(number: int, frame: object) -> None:
    """The wake-up descriptor tells; there is nothing to do here."""
