"""A step with adapters is the same step on every layout, however it is cut, and it is the step that peft takes."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="LoRA needs peft")

from cookbook_lib.data.templates import preset
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.parallel.spawn import run_ranks
from tests.training.lora_step import Case, Step, our_steps, peft_step

LIMIT = 1e-5  # relative, fp32
CUTS = [
    Case("one process"),
    Case("one process, padded, recomputed", packed=False, recompute=True),
    Case("one process, three micro-batches", accumulation=3, recompute=True),
    Case("one process, offloaded", offload=True),
    Case("FSDP x2", world=2),
    Case("FSDP x2, padded, recomputed, three micro-batches", world=2, packed=False, recompute=True, accumulation=3),
    Case("FSDP x2, offloaded", world=2, offload=True),
    Case("Ulysses x2", world=2, sp=2),
    Case("Ulysses x2, recomputed, three micro-batches", world=2, sp=2, recompute=True, accumulation=3),
    Case("HSDP 2x2", world=4, fsdp_size=2),
    Case("dp2 x sp2, recomputed", world=4, sp=2, recompute=True),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's architecture, narrower; weights of another scale, or a random model's losses are all ln V."""
    shape = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 12}
    words = ["some text to learn words from"]
    return build_tiny(tmp_path_factory.mktemp("model") / "tiny", words, preset("qwen3"), **shape)


@pytest.fixture(scope="module", params=[False, True], ids=["sft", "bradley_terry"])
def measured(request, folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """({case's name: our step}, peft's step) of one objective."""
    save = tmp_path_factory.mktemp("adapter") / "saved"
    found: dict[str, Step] = {}
    for world in (1, 2, 4):
        cases = [Case(**{**vars(case), "reward": request.param}) for case in CUTS if case.world == world]
        steps = run_ranks(our_steps, world, folder, cases, save if world == 1 else None, timeout=240.0)[0]
        found |= {case.name: step for case, step in zip(cases, steps, strict=True)}
    return found, peft_step(folder, save, reward=request.param)


@pytest.mark.parametrize("case", CUTS, ids=lambda case: case.name)
def test_loss_and_gradients_are_those_of_peft(measured, case):
    steps, (loss, grads) = measured
    step = steps[case.name]
    assert step.loss == pytest.approx(loss, rel=LIMIT)
    assert step.grads.keys() == grads.keys()
    off = {name: float((step.grads[name] - want).norm() / want.norm()) for name, want in grads.items()}
    assert all(value <= LIMIT for value in off.values()), max(off.items(), key=lambda item: item[1])
    whole = torch.stack([g.norm() for g in grads.values()]).norm()
    assert step.norm == pytest.approx(float(whole), rel=LIMIT)


def test_every_layout_starts_from_the_same_bits(measured):
    steps, _ = measured
    first = steps["one process"].weights
    for step in steps.values():
        assert all(torch.equal(step.weights[name], first[name]) for name in first)


def test_a_wrong_scale_would_be_noticed(measured):
    """The parity above is no parity of zeros: gradients of every A, B and of the head are there."""
    _, (_, grads) = measured
    assert len(grads) in (2 * 7 * 2, 2 * 7 * 2 + 1)
    assert min(float(g.norm()) for g in grads.values()) > 1e-5


def test_frozen_weights_rest_in_the_compute_dtype_and_what_learns_in_fp32(folder):
    cases = [
        Case("bf16", reward=True, world=2, dtype=torch.bfloat16, recompute=True),
        Case("fp32", reward=True, world=2),
    ]
    half, full = run_ranks(our_steps, 2, folder, cases, timeout=120.0)[0]
    learning = [name for name, dtype in half.resting.items() if dtype == torch.float32]
    assert all(".lora_" in name or name == "score.weight" for name in learning)
    assert {dtype for name, dtype in half.resting.items() if name not in learning} == {torch.bfloat16}
    assert half.grads.keys() == full.grads.keys()
    assert half.loss == pytest.approx(full.loss, rel=2e-2)
    assert half.norm == pytest.approx(full.norm, rel=5e-2)


def test_chosen_modules_alone_learn(folder):
    case = Case("q and up", world=2, targets=["q_proj", "mlp.up_proj"])
    step = run_ranks(our_steps, 2, folder, [case], timeout=120.0)[0][0]
    kinds = {name.split(".lora_")[0].rpartition(".")[2] for name in step.grads}
    assert kinds == {"q_proj", "up_proj"}
