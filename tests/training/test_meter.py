"""What a step reports, from sums that stay on their device until then."""

from typing import Any

import pytest
import torch

from cookbook_lib.models.flops import Flops
from cookbook_lib.parallel.mesh import leave_world, make_mesh
from cookbook_lib.training.meter import Meter
from cookbook_lib.training.objectives.base import Loss


def loss_of(total: float, count: float, device: str = "cpu") -> Loss:
    return Loss(torch.zeros(()), {"loss": (torch.tensor(total, device=device), count)})


@pytest.fixture
def mesh() -> Any:
    yield make_mesh(device="cpu")
    leave_world()


def test_sums_and_work_by_hand(mesh, monkeypatch) -> None:
    """Two forwards: a prompt of 4 with answers of 2 and 3, then a document of 5."""
    clock = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    meter = Meter(mesh, Flops(linear=10, square=2, head=5), peak=1000.0)
    meter.reset()
    meter.add(loss_of(3.0, 2), (4, 2, 3), (-1, 0, 0))
    meter.add(loss_of(6.0, 1), (5,))
    clock[0] = 12.0
    found = meter.reduce()
    assert found["train/loss"] == (3 + 6) / 3
    assert (found["train/tokens"], found["train/tokens_per_second"]) == (14, 7)
    work = 3 * (10 * 14 + 2 * (69 + 25) + 5 * 3)
    assert found["train/mfu"] == pytest.approx(work / 2.0 / 1000.0)
    assert (meter.tokens, meter.work, meter.sums) == (0, 0.0, {})


def test_no_forward_waits_for_its_device() -> None:
    """A tensor without numbers can be added, and not be read."""
    any_mesh: Any = None
    meter = Meter(any_mesh, Flops(1, 1, 1), 1.0)
    for _ in range(2):
        meter.add(loss_of(3.0, 2, "meta"), (4, 2))
    assert meter.sums["loss"].device.type == "meta" and meter.counts == {"loss": 4}
