"""Recomputation: the same gradients, names and outputs; less memory held; nothing done twice."""

import copy

import torch
from torch import nn

from cookbook_lib.parallel.gradient_checkpointing import recompute_layers, recomputes


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 8)) for _ in range(3)]
    )


def run(model: nn.Module) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(1)
    x = torch.randn(5, 8, requires_grad=True)
    out = model(x)
    out.square().sum().backward()
    return out.detach(), [x.grad, *(p.grad for p in model.parameters())]


def held(model: nn.Module) -> int:
    """Numbers that autograd keeps between forward and backward, parameters aside."""
    sizes: dict[int, int] = {}
    own = {p.data_ptr() for p in model.parameters()}

    def note(t: torch.Tensor) -> torch.Tensor:
        sizes[t.data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        model(torch.randn(64, 8, requires_grad=True)).sum()
    return sum(n for pointer, n in sizes.items() if pointer not in own)


def test_same_bits_with_and_without():
    plain, ours = network(), network()
    recompute_layers(ours)
    (out, grads), (our_out, our_grads) = run(plain), run(ours)
    assert out.equal(our_out)
    assert all(a.equal(b) for a, b in zip(grads, our_grads, strict=True))  # dropout replayed too


def test_activations_inside_layers_are_not_held():
    plain, ours = network(), network()
    recompute_layers(ours)
    assert held(ours) <= 3 * 64 * 8 < held(plain) / 3


def test_parameter_names_do_not_change_and_twice_is_once():
    model = network()
    names = list(model.state_dict())
    recompute_layers(model)
    first = model[0].forward
    recompute_layers(model)
    assert list(model.state_dict()) == names
    assert model[0].forward is first
    assert [recomputes(layer) for layer in model] == [True] * 3
    assert not recomputes(network()[0])


def test_a_copy_recomputes_with_its_own_weights():
    model = network().eval()
    recompute_layers(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0][3].bias += 1
    x = torch.randn(2, 8)
    assert recomputes(twin[0])
    assert not model(x).equal(twin(x))


def test_a_layer_runs_once_without_gradients_and_twice_with():
    model, calls = network(), []
    model[1][0].register_forward_hook(lambda *args: calls.append(1))
    recompute_layers(model)
    with torch.no_grad():
        model(torch.randn(2, 8))
    assert len(calls) == 1
    run(model)
    assert len(calls) == 3
