"""What an interrupt does on one rank: a real SIGINT, in the main thread, if and only if a cell runs there.

A cell that installs a SIGINT handler of its own (a cooperative stop during training) gets the signal alone: its
DataLoader workers are needed until it ends. Otherwise the whole process group gets it, as in Jupyter's own kernel, so
that `!sleep 60` ends too.
"""

import signal
import threading
from typing import Any


def interrupt_cell(kernel: Any) -> None:
    """Send SIGINT to the cell that runs on this rank; from any thread."""
    main_thread = threading.main_thread().ident
    if _cell_stops_itself() and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        kernel._send_interrupt_children()


def allow_interrupts() -> None:
    """SIGINT raises KeyboardInterrupt from here on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    """SIGINT is dropped: between cells it would hit the kernel itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cell_stops_itself() -> bool:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or handler is signal.default_int_handler:
        return False
    return not str(getattr(handler, "__module__", "")).startswith("ipykernel")
