"""From a checkpoint folder back into a model, an optimizer and the generators of random numbers, in place."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.adapters import refuse_other_adapter
from cookbook_lib.training.optim import initialise_state
from cookbook_lib.training.run_folder import Save
from cookbook_lib.training.snapshot import MOMENTS, optimizer_state, random_file, set_random_state, weights_of
from cookbook_lib.training.tensor_files import check_same, read_tensors, stored_shapes


def prepare_restore(folder: Path, model: PackedModel, optimizer: torch.optim.Optimizer | None) -> None:
    """Make the optimizer's empty state, of exactly the weights that have one in the files, and check all names and shapes.

    It takes a zero gradient per parameter for a moment. Raises CookbookError when the files are of another model.
    """
    refuse_other_adapter(model, folder)
    weights = weights_of(model)
    check_same(weights, folder)
    if optimizer is not None:
        stepped = {name.partition("/")[2] for name in stored_shapes(folder / MOMENTS)}
        optimizer.state.clear()
        initialise_state(optimizer, [tensor for name, tensor in weights.items() if name in stepped])
        check_same(optimizer_state(weights, optimizer), folder / MOMENTS)


def restore_tensors(
    folder: Path, model: PackedModel, optimizer: torch.optim.Optimizer | None, group: dist.ProcessGroup
) -> None:
    """Read weights, and (given an optimizer) its state, after `prepare_restore`. Collective."""
    weights = weights_of(model)
    read_tensors(weights, folder, group)
    if optimizer is not None:
        read_tensors(optimizer_state(weights, optimizer), folder / MOMENTS, group)


def restore_random(save: Save, mesh: Mesh, say: Callable[[str], None]) -> None:
    """Each rank's own; on another number of ranks there is no such thing, and the user is told."""
    saved = save.manifest.world_size
    if saved == mesh.world_size:
        set_random_state(torch.load(random_file(save.folder, mesh.rank), weights_only=True))
    else:
        say(
            f"checkpoint {save.folder.name} was saved on {saved} ranks, this run has {mesh.world_size}: weights and optimizer "
            "continue exactly, random numbers (dropout, if any) start from the seed."
        )
