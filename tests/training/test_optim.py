"""The schedule as the formulas say, the two groups of AdamW, moments in host memory, and how much of the model moves."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from cookbook_lib.config.schema import OptimConfig
from cookbook_lib.parallel.mesh import Mesh, leave_world, make_mesh
from cookbook_lib.training.optim import (
    OffloadedAdamW,
    initialise_state,
    make_optimizer,
    make_rate,
    sample_weights,
    schedule_points,
    weights_moved,
)
from tests.training.tiny_run import assert_same, model_of, moments, optimizer_of, qwen, train, whole

OPTIM = OptimConfig(lr=0.1, min_lr_ratio=0.2)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    yield make_mesh(device="cpu")
    leave_world()


# -- the schedule ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
def test_warmup_rises_in_equal_parts_and_no_step_has_rate_zero(kind: str) -> None:
    rate = make_rate(replace(OPTIM, lr_scheduler=kind), warmup_steps=4, total_steps=20)
    assert [rate(step) for step in range(5)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert all(rate(step) > 0 for step in range(20))


def test_cosine_against_the_formula() -> None:
    rate = make_rate(OPTIM, warmup_steps=2, total_steps=12)
    expected = [0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * p / 10)) / 2) for p in range(10)]
    assert [rate(step) for step in range(2, 12)] == pytest.approx(expected)
    assert rate(12) == rate(1000) == pytest.approx(0.02)  # past the end it stays at the floor


def test_linear_is_a_line_to_the_floor() -> None:
    rate = make_rate(replace(OPTIM, lr_scheduler="linear"), warmup_steps=0, total_steps=8)
    assert [rate(step) for step in range(9)] == pytest.approx([0.1 - 0.01 * step for step in range(9)])


def test_wsd_is_stable_and_then_decays_to_the_floor() -> None:
    rate = make_rate(replace(OPTIM, lr_scheduler="wsd", stable_ratio=0.5), warmup_steps=2, total_steps=22)
    assert {rate(step) for step in range(2, 12)} == {0.1}
    decay = [rate(step) for step in range(12, 23)]
    assert decay == sorted(decay, reverse=True)
    assert decay[0] == pytest.approx(0.1)
    assert decay[5] == pytest.approx(0.06)
    assert decay[-1] == pytest.approx(0.02)
    always = make_rate(replace(OPTIM, lr_scheduler="wsd", stable_ratio=1.0), warmup_steps=0, total_steps=5)
    assert {always(step) for step in range(6)} == {0.1}


def test_constant_ignores_the_floor() -> None:
    rate = make_rate(replace(OPTIM, lr_scheduler="constant"), warmup_steps=0, total_steps=5)
    assert {rate(step) for step in range(5)} == {0.1}


def test_more_warmup_than_steps_only_warms_up() -> None:
    rate = make_rate(OPTIM, warmup_steps=10, total_steps=4)
    assert [rate(step) for step in range(4)] == pytest.approx([0.01, 0.02, 0.03, 0.04])


def test_schedule_points_span_the_run() -> None:
    rate = make_rate(OPTIM, warmup_steps=10, total_steps=1000)
    points = schedule_points(rate, 1000, at_most=50)
    assert (len(points), points[0][0], points[-1][0]) == (50, 0, 999)
    assert all(value == rate(step) for step, value in points)
    assert schedule_points(rate, 1) == [(0, rate(0))]


# -- the optimizer -----------------------------------------------------------------------------------------------------------


def test_matrices_decay_and_norms_and_biases_do_not(mesh: Mesh) -> None:
    model = model_of(qwen(), mesh)
    frozen = next(iter(model.hf.parameters()))
    frozen.requires_grad_(False)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.3, betas=(0.8, 0.9), eps=1e-7))
    decayed, bare = optimizer.param_groups
    assert (decayed["weight_decay"], bare["weight_decay"]) == (0.3, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in bare["params"]} == {1}
    assert len(decayed["params"]) + len(bare["params"]) == len(list(model.parameters())) - 1
    assert (decayed["betas"], decayed["eps"], decayed["fused"]) == ((0.8, 0.9), 1e-7, True)


def test_one_step_is_the_papers_formula() -> None:
    """https://arxiv.org/abs/1711.05101, algorithm 2, in float64."""
    linear = nn.Linear(3, 2).double()
    g, theta = torch.tensor([[0.5, -2.0, 1e-3], [0.0, 3.0, -1.0]]).double(), linear.weight.detach().clone()
    config = OptimConfig(lr=0.01, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8)
    optimizer = make_optimizer(linear, config)
    linear.weight.grad = g
    optimizer.step()
    m_hat, v_hat = g, g * g  # the first step's bias correction undoes the decay of the means
    expected = theta - config.lr * (m_hat / (v_hat.sqrt() + config.eps) + config.weight_decay * theta)
    torch.testing.assert_close(linear.weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_moments_in_host_memory_change_nothing(mesh: Mesh) -> None:
    plain, offloaded = model_of(qwen(), mesh), model_of(qwen(), mesh)
    here, there = optimizer_of(plain), optimizer_of(offloaded, offload=True)
    assert isinstance(there, OffloadedAdamW)
    there.bucket_bytes = 20_000  # several buckets in each group
    train(plain, here, mesh, range(4))
    train(offloaded, there, mesh, range(4))
    assert_same(whole(offloaded), whole(plain))
    assert_same(moments(offloaded, there), moments(plain, here))
    assert [len(group["params"]) for group in there.param_groups] == [
        len(group["params"]) for group in here.param_groups
    ]


def test_moments_visit_the_device_one_bucket_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which parameters' moments are on the device together, seen from the moves: never more than a bucket, and all go back."""
    layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(5))
    optimizer = OffloadedAdamW(layers.parameters(), lr=0.1, bucket_bytes=2 * 2 * 8 * 8 * 4)
    moves: list[tuple[int, bool]] = []
    move = OffloadedAdamW._move

    def spy(self: OffloadedAdamW, parameters: list[torch.Tensor], device: torch.device | None) -> None:
        moves.append((len(parameters), device is None))
        move(self, parameters, device)

    monkeypatch.setattr(OffloadedAdamW, "_move", spy)
    for p in layers.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert moves == [(2, True), (2, False), (2, True), (2, False), (1, True), (1, False)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_moments_rest_in_host_memory_beside_a_gpu() -> None:
    plain = nn.Linear(64, 64, device="cuda")
    offloaded = nn.Linear(64, 64, device="cuda")
    offloaded.load_state_dict(plain.state_dict())
    here, there = (
        make_optimizer(plain, OptimConfig(lr=0.1)),
        make_optimizer(offloaded, OptimConfig(lr=0.1), offload=True),
    )
    for step in range(3):
        for model, optimizer in ((plain, here), (offloaded, there)):
            for p in model.parameters():
                p.grad = torch.full_like(p, step + 1.0)
            optimizer.step()
    assert torch.equal(plain.weight, offloaded.weight)
    assert {there.state[p]["exp_avg"].device.type for p in offloaded.parameters()} == {"cpu"}


def test_making_empty_state_moves_no_weight_and_keeps_the_rate(mesh: Mesh) -> None:
    model = model_of(qwen(), mesh)
    optimizer = optimizer_of(model)
    before = whole(model)
    initialise_state(optimizer, list(model.parameters())[:3])
    assert_same(whole(model), before)
    assert len(optimizer.state) == 3
    assert all(p.grad is None for p in model.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-2]


# -- what moves --------------------------------------------------------------------------------------------------------------


def test_share_of_weights_that_moved() -> None:
    linear = nn.Linear(100, 100)
    before = sample_weights(linear, size=1000)
    assert sum(len(piece) for piece in before.pieces) == 1010  # every tenth, of each tensor
    assert weights_moved(linear, before) == (0, 1010)
    with torch.no_grad():
        linear.weight[:50] += 1
    assert weights_moved(linear, before) == (500, 1010)


def test_a_tiny_rate_moves_fp32_masters_and_hardly_any_bf16_weight() -> None:
    """Why master weights are fp32: at lr 2e-6 most weights of typical size stay where they are in bf16."""
    shares = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        linear = nn.Linear(256, 256, bias=False)
        linear.weight.data = (0.02 * torch.randn(256, 256)).to(dtype)
        optimizer = make_optimizer(linear, OptimConfig(lr=2e-6, weight_decay=0.0))
        before = sample_weights(linear)
        linear.weight.grad = torch.randn(256, 256).to(dtype)
        optimizer.step()
        moved, count = weights_moved(linear, before)
        shares[dtype] = moved / count
    assert shares[torch.float32] > 0.99
    assert shares[torch.bfloat16] < 0.1
