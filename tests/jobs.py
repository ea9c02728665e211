"""Command lines and kernels of a test, and a way to see that nothing of theirs is left.

Every process of a test's job carries a mark in its environment, which children inherit: two test runs on one machine do not
see each other.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "COOKBOOK_TEST_MARK"


class Job:
    """The processes of one test's job, found by their mark."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self.environment = {**os.environ, MARK: self.mark, "PYTHONPATH": python_path, "PYTHONWARNINGS": "default"}

    def processes(self) -> dict[int, dict[str, str]]:
        """{pid: environment} of what is alive, this test process excepted."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                environment = dict(
                    line.split("=", 1)
                    for line in (entry / "environ").read_text(errors="replace").split("\0")
                    if "=" in line
                )
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if environment.get(MARK) == self.mark and state != "Z":
                    found[pid] = environment
        return found

    def pid(self, who: str) -> int:
        """The process of "launcher" or of a rank ("0", "1")."""
        for pid in self.processes():
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if who == "launcher" and "cookbook_lib.runtime.launch" in command:
                return pid
            if "cookbook_lib.runtime.worker" in command and self.processes()[pid].get("RANK") == who:
                return pid
        raise AssertionError(f"no process of {who}")

    def left_after(self, seconds: float) -> dict[int, str]:
        """Wait until all have ended, at most so long; returns what is left."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        return {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in self.processes()}

    def kill(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@dataclass
class Finished:
    """A command line that has ended."""

    code: int
    text: str


class Command:
    """A command line of ours, running; its output goes to a file."""

    def __init__(self, job: Job, folder: Path, arguments: list[str], **environment: str) -> None:
        self.log = folder / f"{uuid.uuid4().hex[:8]}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**job.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Until the command has printed `text`."""
        end = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def finish(self, seconds: float = 90) -> Finished:
        return Finished(self.process.wait(seconds), self.log.read_text())


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Until `condition` holds; a failure when it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)
