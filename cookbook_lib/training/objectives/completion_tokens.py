r"""The tokens of a batch's completions: what the model says of each, whichever rank read it, and what each weighs.

    rank 0   | prompt ^ a b ^ c |      ^ hidden states that predict a token; each rank reads those in its slice of the row,
    rank 1   | d ^ e  . . .     |      the sum over the Ulysses group gives every token's numbers to every rank

A token is owned by the rank that read it, a completion by the rank that read its first token: so each counts once. A loss is

    sum_t w_t l_t / units        t over the completions' tokens of the whole step, C completions, L_t the length of t's own

    loss_agg_mode              w_t        units
    token-mean                 1          tokens     DAPO, https://arxiv.org/abs/2503.14476: long and short answers' tokens alike
    seq-mean-token-mean        1 / L_t    C          GRPO as published: the mean of a completion, then of completions
    seq-mean-token-sum         1          C          the policy gradient of a completion's probability
    seq-mean-token-sum-norm    1 / H      C          Dr. GRPO, https://arxiv.org/abs/2503.20783: H tokens allowed, for scale alone

so that every mode is a sum over units and one division, taken by `fit` over the whole step.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import CompletionBatch
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.token_logps import token_logps
from cookbook_lib.models.value_head import ValueModel
from cookbook_lib.parallel.collectives import add_up
from cookbook_lib.parallel.mesh import Mesh


class Row(Protocol):
    """What a forward needs of a batch."""

    @property
    def input_ids(self) -> torch.Tensor: ...
    @property
    def position_ids(self) -> torch.Tensor: ...
    @property
    def cu_seqlens(self) -> tuple[int, ...] | None: ...
    @property
    def continues(self) -> tuple[int, ...] | None: ...


@dataclass(frozen=True)
class Told:
    """What the model says of N tokens, the same on every rank of a Ulysses group, differentiable; fp32."""

    logps: torch.Tensor  # (N,) of the tokens
    entropies: torch.Tensor  # (N,) of what they were drawn from; without gradient unless that was asked for
    values: torch.Tensor | None  # (N,) of a critic


def completion_logps(
    model: PackedModel,
    batch: CompletionBatch,
    mesh: Mesh,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    values: bool = False,
) -> Told:
    """Log-probabilities, entropies and (of a ValueModel) values of a batch's completions, on the device of the batch.

    temperature: of the sampling. entropy: give the entropies a gradient. A batch without completions goes through the model
    as well: other ranks wait in its collectives.
    """
    sources, targets = batch.sources, batch.targets
    return told(model, batch, mesh, sources, targets, temperature=temperature, entropy=entropy, values=values)


def told(
    model: PackedModel,
    batch: Row,
    mesh: Mesh,
    sources: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    values: bool = False,
) -> Told:
    """completion_logps of any tokens. sources (N,) on the CPU: places in the whole batch, row * T + column, whose hidden states
    predict the targets (N,)."""
    here, places = _read_here(sources, batch, mesh)
    device, slots = batch.input_ids.device, here.nonzero().squeeze(1)
    wanted = targets.to(device, non_blocking=True)[slots.to(device, non_blocking=True)]

    def read(hidden: torch.Tensor, output_weight: Any) -> torch.Tensor:
        rows = hidden.flatten(0, 1).index_select(0, places)
        said = token_logps(
            rows, output_weight, wanted, temperature=temperature, softcap=model.final_softcap, entropy=entropy
        )
        critic = (_critic(model).value(rows),) if values else ()
        return torch.stack([*said, *critic])

    mine = model(batch.input_ids, batch.position_ids, batch.cu_seqlens, read, batch.continues)
    whole = mine.new_zeros(len(mine), len(sources)).index_copy(1, slots.to(device, non_blocking=True), mine)
    logps, entropies, *rest = add_up(whole, mesh.sp_group).unbind()
    return Told(logps, entropies if entropy else entropies.detach(), rest[0] if rest else None)


def owned(batch: CompletionBatch, mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens (N,) and which completions (C,) this rank counts: booleans, on the CPU."""
    tokens, _ = _read_here(batch.sources, batch, mesh)
    lengths = torch.bincount(batch.completion, minlength=len(batch.group))
    return tokens, tokens[lengths.cumsum(0) - lengths]


def token_weights(mode: str, completion: torch.Tensor, horizon: int | None = None) -> torch.Tensor:
    """w_t of each token, (N,) fp32 on the CPU, under a loss_agg_mode. completion (N,) on the CPU: whose token it is; horizon: H."""
    each = torch.ones(len(completion))
    if mode == "seq-mean-token-mean":
        return each / torch.bincount(completion)[completion]
    if mode != "seq-mean-token-sum-norm":
        return each
    if not horizon:
        raise CookbookError(
            f"algorithm.loss_agg_mode is {mode}, which divides by the tokens allowed: give rollout.max_new_tokens."
        )
    return each / horizon


def _read_here(sources: torch.Tensor, batch: Row, mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Which sources are in this rank's slice, (N,) on the CPU, and where in its flattened (B, t) tokens those are."""
    width = batch.input_ids.shape[1]
    row = sources // (width * mesh.sp)
    column = sources - row * (width * mesh.sp) - mesh.sp_rank * width
    here = (column >= 0) & (column < width)
    return here, (row * width + column)[here].to(batch.input_ids.device, non_blocking=True)


def _critic(model: PackedModel) -> ValueModel:
    if not isinstance(model, ValueModel):
        raise CookbookError(
            "algorithm.adv_estimator is gae, and the model has no value head: build it with build_value_model."
        )
    return model
