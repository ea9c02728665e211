"""Rollouts that a test makes up, a model small enough to be written down, and what its loss is: by hand, in float64.

Bigram: h = E[token before], logits = W h, V = v h          no attention: a completion's first token depends on its prompt's last
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import COLUMNS, Group
from cookbook_lib.models.value_head import ValueModel

ONE_RANK: Any = SimpleNamespace(sp=1, sp_rank=0, sp_group=None)
VOCABULARY, WIDTH = 13, 6


class Bigram(ValueModel):
    """Stands in for a model with a critic."""

    final_softcap = None  # type: ignore[assignment]

    def __init__(self, seed: int = 0) -> None:
        nn.Module.__init__(self)
        random = torch.Generator().manual_seed(seed)
        self.before = nn.Parameter(torch.randn(VOCABULARY, WIDTH, generator=random))
        self.after = nn.Parameter(torch.randn(VOCABULARY, WIDTH, generator=random))
        self.hf = nn.Module()
        self.hf.value_head = nn.Linear(WIDTH, 1, bias=False)
        self.hf.value_head.weight = nn.Parameter(torch.randn(1, WIDTH, generator=random))

    def forward(self, input_ids, position_ids, cu_seqlens, read=None, continues=None):
        return read(self.before[input_ids], self.after)

    @property
    def weights(self) -> list[nn.Parameter]:
        return [self.before, self.after, self.hf.value_head.weight]


def rollouts(
    sizes: Sequence[Sequence[int]] = ((3, 5, 1), (2, 2), (7, 4)),
    seed: int = 0,
    far: float = 0.5,
    temperature: float = 1.0,
) -> list[Group]:
    """A group for each list of completion lengths; all COLUMNS, log-probabilities off the model's own by about `far`."""
    rng, model = np.random.default_rng(seed), Bigram()
    groups = []
    for number, lengths in enumerate(sizes):
        prompt = rng.integers(0, VOCABULARY, 1 + number).astype(np.int32)
        completions = tuple(rng.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths)
        own = [said(model, prompt, ids, temperature)[0].detach().float().numpy() for ids in completions]
        columns = {name: tuple(rng.normal(size=n).astype(np.float32) for n in lengths) for name in COLUMNS}
        columns |= {
            name: tuple((x + far * rng.normal(size=len(x))).astype(np.float32) for x in own)
            for name in ("old_logps", "ref_logps", "rollout_logps")
        }
        columns["advantages"] = tuple(np.full(n, rng.normal(), np.float32) for n in lengths)
        stats = {name: tuple(rng.normal(size=len(lengths)).tolist()) for name in ("reward", "length")}
        groups.append(Group(number, prompt, completions, (True,) * len(lengths), number, columns, stats))
    return groups


def said(
    model: Bigram, prompt: Any, ids: Any, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, entropies and values of one completion's tokens, (L,) each, float64, differentiable."""
    before, after, head = (w.double() for w in model.weights)
    states = before[torch.tensor([prompt[-1], *ids[:-1]], dtype=torch.long)]
    log_p = F.log_softmax(states @ after.T / temperature, dim=1)
    logps = log_p[torch.arange(len(ids)), torch.tensor(ids, dtype=torch.long)]
    return logps, -(log_p.exp() * log_p).sum(1), (states @ head.T).squeeze(1)


def by_hand(
    model: Bigram, groups: Sequence[Group], o: AlgorithmConfig, *, temperature: float = 1.0, horizon: int = 1
) -> torch.Tensor:
    """The whole loss, token by token and completion by completion, as the papers have it."""
    sums, means, tokens = [], [], []
    for group in groups:
        for i, ids in enumerate(group.completions):
            told = said(model, group.prompt, ids, temperature)
            known = {name: torch.from_numpy(column[i]).double() for name, column in group.columns.items()}
            each = torch.stack([_token(t, told, known, o) for t in range(len(ids))])
            sums.append(each.sum())
            means.append(each.mean())
            tokens += list(each)
    return {
        "token-mean": lambda: torch.stack(tokens).mean(),
        "seq-mean-token-mean": lambda: torch.stack(means).mean(),
        "seq-mean-token-sum": lambda: torch.stack(sums).mean(),
        "seq-mean-token-sum-norm": lambda: (torch.stack(sums) / horizon).mean(),
    }[o.loss_agg_mode]()


def _token(t: int, told: Any, known: dict[str, torch.Tensor], o: AlgorithmConfig) -> torch.Tensor:
    logps, entropies, values = told
    a, p = known["advantages"][t], logps[t]
    rho = torch.exp(p - known["old_logps"][t])
    low, high = 1 - o.clip_ratio_low, 1 + o.clip_ratio_high
    if o.policy_loss == "cispo":
        loss = -float(min(max(rho.item(), low), high)) * a * p
    else:
        if o.policy_loss == "gspo":
            rho = torch.exp((logps - known["old_logps"]).mean())
        loss = -min(rho * a, torch.clamp(rho, low, high) * a)
        if o.policy_loss == "vanilla" and o.clip_ratio_c is not None and a < 0:
            loss = min(loss, -a * o.clip_ratio_c)
    if o.tis_cap is not None:
        loss = loss * min(float(torch.exp(known["old_logps"][t] - known["rollout_logps"][t])), o.tis_cap)
    if o.use_kl_loss:
        loss = loss + o.kl_loss_coef * _kl(o.kl_loss_type, p, known["ref_logps"][t])
    loss = loss - o.entropy_coeff * entropies[t]
    if o.adv_estimator == "gae":
        v, v_old, r = values[t], known["old_values"][t], known["returns"][t]
        near = min(max(v, v_old - o.cliprange_value), v_old + o.cliprange_value)
        loss = loss + o.vf_coef * max((v - r) ** 2, (near - r) ** 2) / 2
    return loss


def _kl(kind: str, p: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    values = {"k1": p - ref, "k2": (p - ref) ** 2 / 2, "k3": torch.exp(ref - p) - (ref - p) - 1}
    if kind.endswith("+"):
        return values[kind[:-1]].detach() + values["k2"] - values["k2"].detach()
    return values[kind]
