"""What an interrupt does on one rank: a real SIGINT, in the main thread, if and only if a cell runs there.

A cell that installs a SIGINT handler of its own (a cooperative stop during training) gets the signal alone: its
DataLoader workers are needed until it ends. Otherwise the whole process group gets it, as in Jupyter's own kernel, so
that `!sleep 60` ends too.

A signal to a process may be taken by any of its threads, and one to a thread may come just before it goes to sleep in the
system: Python then knows of the interrupt and the main thread sleeps on. So it is woken a moment later by a signal that means
nothing.
"""

import signal
import threading
from typing import Any

WAKE = signal.SIGURG  # nobody minds it, and no other part of a kernel uses it
WAKE_AFTER = (0.05, 0.5)  # seconds


def interrupt_cell(kernel: Any) -> None:
    """Send SIGINT to the cell that runs on this rank; from any thread."""
    main_thread = threading.main_thread().ident
    if _cell_stops_itself() and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        kernel._send_interrupt_children()
    for seconds in WAKE_AFTER:
        waker = threading.Timer(seconds, wake_main_thread)
        waker.daemon = True
        waker.start()


def wake_main_thread() -> None:
    """Out of a system call, to look for signals; from any thread."""
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        signal.pthread_kill(main_thread, WAKE)


def allow_interrupts() -> None:
    """SIGINT raises KeyboardInterrupt from here on."""
    signal.signal(WAKE, _nothing)  # a handler, or the signal would not wake
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    """SIGINT is dropped: between cells it would hit the kernel itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _nothing(number: int, frame: Any) -> None:
    """To be called is all."""


def _cell_stops_itself() -> bool:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or handler is signal.default_int_handler:
        return False
    return not str(getattr(handler, "__module__", "")).startswith("ipykernel")
