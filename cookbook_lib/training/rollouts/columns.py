"""What the training's own forward says of a round's tokens, before anything is learned from them.

    old_logps     of the policy that answered        old_values   of its critic
    ref_logps     of the reference

The generator's numbers (rollout_logps) are not these: its kernels, its dtype and its padding are others. The ratio of an update
is over what training computes itself, so at the first update it is 1 exactly; how far the generator was off is measured
(`mismatch`), and truncated importance weights make up for it where that is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cookbook_lib.data.completions import CompletionBatch, Group
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.fsdp import rest
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.completion_tokens import completion_logps
from cookbook_lib.training.rollouts.answering import together
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.stop import WorkLeft, stop_asked

Tell = Callable[[CompletionBatch], Mapping[str, torch.Tensor]]  # name of a column -> (N,)
Place = Callable[[CompletionBatch], CompletionBatch]


def policy_columns(model: PackedModel, mesh: Mesh, *, temperature: float = 1.0, values: bool = False) -> Tell:
    """old_logps, and with values=True a critic's old_values."""

    def tell(batch: CompletionBatch) -> dict[str, torch.Tensor]:
        told = completion_logps(model, batch, mesh, temperature=temperature, values=values)
        return {"old_logps": told.logps} | ({} if told.values is None else {"old_values": told.values})

    return resting(model, tell)


def reference_columns(model: PackedModel, mesh: Mesh, *, temperature: float = 1.0) -> Tell:
    """ref_logps, of a model that nothing changes."""

    def tell(batch: CompletionBatch) -> dict[str, torch.Tensor]:
        return {"ref_logps": completion_logps(model, batch, mesh, temperature=temperature).logps}

    return resting(model, tell)


def resting(model: PackedModel, tell: Tell) -> Tell:
    """`tell` with the model in evaluation mode, left as it was found: training or not, its weights in their shards."""

    @torch.no_grad()
    def told(batch: CompletionBatch) -> Mapping[str, torch.Tensor]:
        training = model.training
        model.eval()
        found = tell(batch)
        model.train(training)
        rest(model)
        return found

    return told


def add_columns(
    groups: Sequence[Group], tells: Sequence[Tell], forwards: Forwards, place: Place, mesh: Mesh
) -> list[Group]:
    """The groups with the columns that `tells` give, on every rank, each computed by one data-parallel group. Collective.

    Raises WorkLeft, between two forwards, where a rank was asked to stop.
    """
    mine = forwards.divide(groups)[mesh.dp_rank]

    def work() -> dict[tuple[int, int], dict[str, NDArray[Any]]]:
        found: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
        for parts in mine:
            if mesh.any(stop_asked()):
                raise WorkLeft
            batch = place(forwards.batch(groups, parts))
            columns = {name: column for tell in tells for name, column in tell(batch).items()}
            found |= _by_completion(groups, parts, columns)
        return found if mesh.sp_rank == 0 else {}

    known = {key: columns for part in together(mesh, work) for key, columns in part.items()}
    return [
        _with(group, [known[number, i] for i in range(len(group.completions))]) for number, group in enumerate(groups)
    ]


def _by_completion(
    groups: Sequence[Group], parts: Sequence[tuple[int, tuple[int, ...]]], columns: Mapping[str, torch.Tensor]
) -> dict[tuple[int, int], dict[str, NDArray[Any]]]:
    """{(group, completion): {name: (L,) fp32}} of one forward."""
    keys = [(number, i) for number, some in parts for i in some]
    ends: Any = np.cumsum([groups[number].lengths[i] for number, i in keys])[:-1] if keys else []
    cut = {name: np.split(column.detach().float().cpu().numpy(), ends) for name, column in columns.items()}
    return {key: {name: pieces[at].copy() for name, pieces in cut.items()} for at, key in enumerate(keys)}


def _with(group: Group, columns: Sequence[Mapping[str, NDArray[Any]]]) -> Group:
    names = columns[0]
    return replace(group, columns=dict(group.columns) | {name: tuple(one[name] for one in columns) for name in names})


def mismatch(groups: Sequence[Group]) -> tuple[list[tuple[float, ...]], float]:
    """|training's - generator's| log-probability: its mean over each completion's tokens, by group; its largest of all."""
    off = [
        [np.abs(old - drawn) for old, drawn in zip(g.columns["old_logps"], g.columns["rollout_logps"], strict=True)]
        for g in groups
    ]
    means = [tuple(float(x.mean()) for x in own) for own in off]
    return means, max(float(x.max()) for own in off for x in own)
