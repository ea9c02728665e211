"""An FSDP2 training loop, interrupted twenty times: after each, the ranks are in step and the loss keeps falling.

A raw KeyboardInterrupt inside such a loop leaves FSDP's hooks half run, and the model silently stops learning. So the loop
turns SIGINT into a flag that rides on an all-reduce, and all ranks leave after the same step.
"""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TRAINING = """
import torch.nn as nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

torch.manual_seed(0)
mesh = init_device_mesh("cpu", (world,))
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
for layer in (model[0], model[2]): fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
x = torch.randn(16, 32)
step = 0

def train_step():
    global step
    loss = (model(x) - x).pow(2).mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    step += 1
    return loss.item()

def fit():
    asked = []
    old = signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    try:
        while True:
            train_step()
            flag = torch.tensor(float(len(asked))); dist.all_reduce(flag)
            if flag: raise KeyboardInterrupt("stopped after the same step on every rank")
    finally:
        signal.signal(signal.SIGINT, old)
"""


def test_twenty_interrupts_of_a_training_loop(kernel):
    assert kernel.run(TRAINING).status == "ok"
    loss = kernel.value("train_step()")
    for n in range(20):
        stopped = kernel.interrupted("fit()", after=0.15 + 0.02 * n)
        assert (stopped.ename, stopped.seconds < 15) == ("KeyboardInterrupt", True)
        assert "process groups are closed" not in stopped.text("stderr")
        first, last, steps = kernel.value(
            "train_step(), [train_step() for _ in range(5)][-1], total(step) == world * step"
        )
        assert steps, "every rank made the same number of steps"
        assert last < first < loss, "the model goes on learning"
        loss = last
