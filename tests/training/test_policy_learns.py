"""Every algorithm does what it is for: from its own samples, a policy comes to earn more."""

import numpy as np
import pytest
import torch

from cookbook_lib.config.policy_schema import AlgorithmConfig
from cookbook_lib.data.completions import COLUMNS, Group, pack_completions
from cookbook_lib.training.advantages import estimate
from cookbook_lib.training.objectives.completion_tokens import completion_logps
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.objectives.value import value_losses
from tests.training.policy_rollouts import ONE_RANK, Bigram
from tests.training.score_batches import means
from tests.training.test_policy_gradient import ALGORITHMS

WANTED, LENGTH, PROMPTS, N = 7, 6, 4, 8  # a reward is the share of the tokens that are WANTED


def drawn(model: Bigram, random: torch.Generator, greedy: bool = False) -> np.ndarray:
    """(PROMPTS * N, LENGTH) tokens that the policy draws; prompt p is the token p."""
    before = torch.arange(PROMPTS).repeat_interleave(N)
    tokens = []
    for _ in range(LENGTH):
        logits = model.before[before] @ model.after.T
        before = logits.argmax(1) if greedy else torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
        tokens.append(before)
    return torch.stack(tokens, dim=1).numpy().astype(np.int32)


def round_of(model: Bigram, o: AlgorithmConfig, random: torch.Generator) -> list[Group]:
    ids = drawn(model, random)
    rewards = (ids == WANTED).mean(1)
    greedy = (drawn(model, random, greedy=True) == WANTED).mean(1)
    prompts = [np.array([p], np.int32) for p in range(PROMPTS)]
    bare = [Group(p, prompts[p], tuple(ids[p * N : (p + 1) * N]), (True,) * N, p) for p in range(PROMPTS)]
    told = completion_logps(model, pack_completions(bare), ONE_RANK, values=True)
    completion = torch.arange(PROMPTS * N).repeat_interleave(LENGTH)
    found = estimate(
        o, torch.from_numpy(rewards).float(), torch.arange(PROMPTS).repeat_interleave(N), completion,
        greedy=torch.from_numpy(greedy).float(), values=told.values,
    )  # fmt: skip
    columns = dict.fromkeys(COLUMNS, told.logps) | {"advantages": found.tokens, "old_values": told.values}
    columns["returns"] = told.values if found.returns is None else found.returns
    cut = {name: x.view(PROMPTS, N, LENGTH).numpy() for name, x in columns.items()}
    return [
        Group(g.row, g.prompt, g.completions, g.finished, g.number, {name: tuple(x[p]) for name, x in cut.items()},
              {"reward": tuple(rewards[p * N : (p + 1) * N])})
        for p, g in enumerate(bare)
    ]  # fmt: skip


@pytest.mark.parametrize("name", [*ALGORITHMS, "reinforce_plus_plus_baseline"])
def test_it_earns_more(name):
    o = AlgorithmConfig(**ALGORITHMS.get(name, {"adv_estimator": name}))
    torch.manual_seed(0)
    model, random = Bigram(), torch.Generator().manual_seed(0)
    objective = PolicyGradient(ONE_RANK, o, horizon=LENGTH)
    optimizer, seen = torch.optim.Adam(model.weights, lr=0.05), []
    for _ in range(40):
        with torch.no_grad():
            groups = round_of(model, o, random)
        for _ in range(2):  # updates of a round: the second is off the policy that drew it
            batch = pack_completions(groups)
            loss = objective(model, batch)
            optimizer.zero_grad()
            (loss.total / objective.count(batch)).backward()
            optimizer.step()
            seen.append(means(loss))
    assert seen[0]["reward"] < 0.1
    assert seen[-1]["reward"] > 0.25  # some settle for every third token
    assert seen[0]["ratio"] == pytest.approx(1, abs=1e-5)
    assert abs(seen[1]["ratio_square"] - 1) > 1e-4
    if name == "ppo":
        assert seen[-1]["value_loss"] < seen[0]["value_loss"] / 2


def test_the_critic_finds_what_is_earned():
    """Returns that the state tells: the value loss goes to zero, and its clip holds each step within its range."""
    values, returns = torch.zeros(5, requires_grad=True), torch.linspace(-1, 1, 5)
    losses, clipped = value_losses(values, torch.zeros(5), returns, 0.3)
    assert not clipped.any()
    np.testing.assert_allclose(losses.detach(), returns.square() / 2)
    moved = torch.tensor([-0.9, -0.5, 0.0, 0.2, 0.9], requires_grad=True)
    losses, clipped = value_losses(moved, torch.zeros(5), returns, 0.3)
    assert clipped.tolist() == [True, True, False, False, True]
    (slope,) = torch.autograd.grad(losses.sum(), moved)
    np.testing.assert_allclose(slope, [0, 0, 0, -0.3, 0], atol=1e-6)
