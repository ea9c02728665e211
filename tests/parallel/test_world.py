"""What joining a world does to the process beside the process group."""

import subprocess
import sys

import pytest

REFILL = """
import resource, torch
from cookbook_lib.parallel.world import join_world
join_world("cpu")

def pages(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(count, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

size = 96 << 20
print(pages(size), min(pages(size) for _ in range(12)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc's settings are glibc's")
def test_freed_memory_is_kept_for_the_next_step():
    done = subprocess.run([sys.executable, "-c", REFILL], capture_output=True, text=True, check=True)
    fresh, again = map(int, done.stdout.split())
    if fresh < 1000:
        pytest.skip("large pages: a fresh tensor costs nothing here")
    assert again < fresh / 10
