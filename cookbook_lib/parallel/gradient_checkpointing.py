"""Gradient checkpointing: keep only the input of each layer, and compute the layer once more in backward.

    forward    x0 -[layer 0]-> x1 -[layer 1]-> x2 ...       kept: x0, x1, x2, ...   dropped: everything inside a layer
    backward   ... recompute layer 1 from x1, use it, drop it; recompute layer 0 from x0 ...

Costs one more forward of the layers (a third of a step) and saves the activations inside them, all but one layer's.

Only `layer.forward` is replaced, under the module's hooks and without a wrapper module: parameter names stay, FSDP2
gathers a layer's parameters before the recomputation as before any backward, and collectives inside (Ulysses) run
again, in the same order on every rank. Saved model state, "checkpoints", is another thing: training/checkpoint.py.
"""

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_layers(layers: Iterable[nn.Module]) -> None:
    """Make each layer recompute its activations in backward. A second call changes nothing; inference pays nothing."""
    for layer in layers:
        if not recomputes(layer):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def recomputes(layer: nn.Module) -> bool:
    """Whether `recompute_layers` has been here."""
    forward = layer.__dict__.get("forward")
    return isinstance(forward, partial) and forward.func is checkpoint
