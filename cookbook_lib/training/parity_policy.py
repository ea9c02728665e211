"""The parity table's steps of policies: groups of very unequal completions, and pairs, under every option of the loss.

truth     each completion with its prompt alone through plain transformers, its own logits, the loss written out token by
          token, one mean over the units; float64
base      the language model, with a critic's head that is not zero
forms     packed, the prompt once; padded, a row a completion. Completions lie over the seams of Ulysses' slices

ppo       PPO's clip with dual clip, importance weights, distance, entropy and critic; the mean of all tokens
gspo      a ratio of whole completions, wherever their tokens are; the mean of completions' means
dpo       pairs against a made-up reference
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from cookbook_lib.config.policy_schema import AlgorithmConfig, DpoConfig
from cookbook_lib.data.completions import COLUMNS, CompletionBatch, Group, pack_completions, pad_completions
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.models.attention import Attend, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_tokenizer, load_weights
from cookbook_lib.models.tiny import quiet
from cookbook_lib.models.value_head import ValueModel, build_value_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.dpo import DPO
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.parity_reward import PACKED, PADDED, SHARED, lay, pairs
from cookbook_lib.training.parity_step import Step, Truth

TEMPERATURE = 0.8
PPO = AlgorithmConfig(
    adv_estimator="gae",
    clip_ratio_c=1.5,
    tis_cap=1.2,
    use_kl_loss=True,
    kl_loss_coef=0.3,
    entropy_coeff=0.1,
    vf_coef=0.5,
)
GSPO = AlgorithmConfig(policy_loss="gspo", clip_ratio_low=0.1, clip_ratio_high=0.1, loss_agg_mode="seq-mean-token-mean")
PREFERENCE = DpoConfig(beta=0.3, label_smoothing=0.1)
# tokens of a prompt, of its completions
SIZES = ((50, (40, 9, 3)), (2, (1, 3)), (31, (10, 12, 1)), (40, (3, 24)), (4, (1, 1)), (9, (2, 5, 60)), (17, (12, 30)),
         (1, (1, 2)), (3, (14, 6)), (33, (20, 1)))  # fmt: skip


def groups(folder: Path, seed: int = 0) -> list[Group]:
    """Ten made-up groups, log-probabilities off a random model's own by a few tenths."""
    rng, vocabulary = np.random.default_rng(seed), AutoConfig.from_pretrained(folder).vocab_size
    return [_group(rng, vocabulary, number, *size) for number, size in enumerate(SIZES)]


def _group(rng: np.random.Generator, vocabulary: int, number: int, prompt: int, lengths: Sequence[int]) -> Group:
    columns = {name: tuple(rng.normal(size=n).astype(np.float32) for n in lengths) for name in COLUMNS}
    for name in ("old_logps", "ref_logps", "rollout_logps"):
        columns[name] = tuple((0.4 * x - np.log(vocabulary)).astype(np.float32) for x in columns[name])
    columns["advantages"] = tuple(np.full(n, rng.normal(), np.float32) for n in lengths)
    first, *rest = (rng.integers(0, vocabulary, n).astype(np.int32) for n in (prompt, *lengths))
    return Group(number, first, tuple(rest), (True,) * len(rest), number, columns)


def referenced_pairs(folder: Path) -> list[Candidates]:
    """The pairs of Bradley-Terry's step, each with what a reference may have said."""
    rng, typical = np.random.default_rng(0), -np.log(AutoConfig.from_pretrained(folder).vocab_size)
    return [
        Candidates(
            pair.shared, pair.rests, np.append(pair.targets, [typical * len(r) + rng.normal() for r in pair.rests])
        )
        for pair in pairs(folder)
    ]


# ---------------------------------------------------------------------------------------------------------- the truth


class Plain:
    """Plain transformers in float64, one document at a time."""

    def __init__(self, folder: Path) -> None:
        with quiet():  # that it does not know a critic's head
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float64, attn_implementation="eager"
            )
        stored = load_file(folder / "model.safetensors").get("value_head.weight", torch.zeros(1, 1))
        self.head = stored.double().requires_grad_()

    def says(self, prompt: np.ndarray, ids: np.ndarray, temperature: float) -> tuple[torch.Tensor, ...]:
        """Log-probabilities, entropies and values of a completion's tokens, (L,) each."""
        document = torch.from_numpy(np.concatenate([prompt, ids]).astype(np.int64))
        states = self.model.model(document[None]).last_hidden_state[0, len(prompt) - 1 : -1]
        log_p = F.log_softmax(self.model.lm_head(states) / temperature, dim=1)
        logps = log_p.gather(1, document[len(prompt) :, None])[:, 0]
        values = states @ self.head[0] if self.head.numel() > 1 else torch.zeros(len(ids))
        return logps, -(log_p.exp() * log_p).sum(1), values

    @property
    def gradients(self) -> dict[str, torch.Tensor]:
        named = [*self.model.named_parameters(), ("value_head.weight", self.head)]
        return {name: p.grad for name, p in named if p.grad is not None}


def _each_completion(
    folder: Path, examples: Sequence[Group], loss_of: Callable[..., torch.Tensor], units: float
) -> Truth:
    """loss_of(what the model says of one completion, the numbers known of it) -> its share of the loss, times units."""
    plain, total = Plain(folder), 0.0
    for group in examples:
        for i, ids in enumerate(group.completions):
            known = {name: torch.from_numpy(column[i]).double() for name, column in group.columns.items()}
            loss = loss_of(*plain.says(group.prompt, ids, TEMPERATURE), known) / units
            loss.backward()
            total += loss.item()
    return total, plain.gradients


def plain_ppo(folder: Path, examples: Sequence[Group]) -> Truth:
    def loss(logps: torch.Tensor, entropies: torch.Tensor, values: torch.Tensor, known: dict[str, Any]) -> torch.Tensor:
        a, ratio = known["advantages"], (logps - known["old_logps"]).exp()
        policy = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
        policy = torch.where(a < 0, torch.minimum(policy, -a * 1.5), policy)
        weights = (known["old_logps"] - known["rollout_logps"]).exp().clamp(max=1.2)
        d = known["ref_logps"] - logps
        near = known["old_values"] + (values - known["old_values"]).clamp(-0.5, 0.5)
        errors = torch.maximum((values - known["returns"]) ** 2, (near - known["returns"]) ** 2) / 2
        return (weights * policy + 0.3 * (d.exp() - d - 1) - 0.1 * entropies + 0.5 * errors).sum()

    return _each_completion(folder, examples, loss, sum(sum(group.lengths) for group in examples))


def plain_gspo(folder: Path, examples: Sequence[Group]) -> Truth:
    def loss(logps: torch.Tensor, entropies: torch.Tensor, values: torch.Tensor, known: dict[str, Any]) -> torch.Tensor:
        a, ratio = known["advantages"][0], (logps - known["old_logps"]).mean().exp()
        return -torch.minimum(ratio * a, ratio.clamp(0.9, 1.1) * a)

    return _each_completion(folder, examples, loss, sum(len(group.completions) for group in examples))


def plain_dpo(folder: Path, examples: Sequence[Candidates]) -> Truth:
    plain, total = Plain(folder), 0.0
    for pair in examples:
        whole = [np.concatenate([pair.shared, rest]) for rest in pair.rests]
        own = [plain.says(ids[:1], ids[1:], 1.0)[0].sum() for ids in whole]  # what is in common cancels
        shared = [plain.says(pair.shared[:1], pair.shared[1:], 1.0)[0].sum() if len(pair.shared) > 1 else 0.0] * 2
        chosen, rejected = (o - s - float(r) for o, s, r in zip(own, shared, pair.targets[2:], strict=True))
        q = 1 - PREFERENCE.label_smoothing if pair.targets[1] == 1 else 0.5
        z = PREFERENCE.beta * (chosen - rejected)
        loss = (-q * F.logsigmoid(z) - (1 - q) * F.logsigmoid(-z)) / len(examples)
        loss.backward()
        total += loss.item()
    return total, plain.gradients


# ----------------------------------------------------------------------------------------------------------- the steps


def with_critic(folder: Path, scratch: Path) -> Path:
    """The language model of `folder`, in `scratch`, with a critic that says something."""
    made, target = build_value_model(folder, varlen_attention), scratch / "critic"
    load_weights(made, folder, torch.device("cpu"))
    torch.nn.init.normal_(made.hf.value_head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    with quiet():
        made.hf.save_pretrained(target)
    load_tokenizer(folder).save_pretrained(target)
    return target


def _as_it_is(folder: Path, scratch: Path) -> Path:
    return folder


def _build_critic(folder: Path, attend: Attend) -> ValueModel:
    return build_value_model(folder, attend)


def _build(folder: Path, attend: Attend) -> PackedModel:
    return build_model(folder, attend)


def _policy(options: AlgorithmConfig, mesh: Mesh) -> Objective:
    return PolicyGradient(mesh, options, temperature=TEMPERATURE)


def _dpo(mesh: Mesh) -> Objective:
    return DPO(mesh, PREFERENCE)


def _lay(form: str, examples: Sequence[Group], rows: Sequence[int], multiple: int) -> CompletionBatch:
    like = _group(np.random.default_rng(0), 2, 0, 1, (1,))  # for the forward without a completion
    return (pad_completions if form == PADDED else pack_completions)(examples, multiple=multiple, like=like)


def _tokens(group: Group) -> int:
    return group.tokens


def _pair_tokens(pair: Candidates) -> int:
    return len(pair.shared) + sum(map(len, pair.rests))


PPO_STEP = Step(
    "ppo", (PACKED, PADDED), with_critic, groups, plain_ppo, _build_critic, partial(_policy, PPO), _tokens, _lay
)
GSPO_STEP = Step("gspo", (PACKED, PADDED), _as_it_is, groups, plain_gspo, _build, partial(_policy, GSPO), _tokens, _lay)
DPO_STEP = Step(
    "dpo", (SHARED, PACKED, PADDED), _as_it_is, referenced_pairs, plain_dpo, _build, _dpo, _pair_tokens, lay
)
