"""An interrupt that another thread took, or that came just before a sleep, ends the sleep nevertheless."""

import subprocess
import sys

TAKEN_BY_ANOTHER_THREAD = """
import signal, threading, time
from cookbook_lib.runtime.interrupts import allow_interrupts, wake_main_thread

def interrupt():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # Python knows of it, and the main thread sleeps on
    time.sleep(0.3)
    if WAKE:
        wake_main_thread()

allow_interrupts()
threading.Thread(target=interrupt, daemon=True).start()
begin = time.monotonic()
try:
    time.sleep(4)
except KeyboardInterrupt:
    pass
print(time.monotonic() - begin)
"""


def slept(wake: bool) -> float:
    code = f"WAKE = {wake}\n{TAKEN_BY_ANOTHER_THREAD}"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_a_sleeping_cell_is_woken_for_an_interrupt_that_another_thread_took():
    assert slept(wake=True) < 3


def test_without_it_the_cell_would_sleep_to_its_end():
    """What the waking is for: should Python ever do it by itself, it can go."""
    assert slept(wake=False) > 3.5
