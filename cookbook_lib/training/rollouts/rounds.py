"""A round: prompts, answers, rewards, the groups worth learning from, and all that their updates must know.

    weights to the engine                                                                  engine, weights
    prompts by the seed -> n completions of each -> rewards                                prompts, answering, judging
    groups without spread left out; replaced by more prompts where that is asked for       DAPO, https://arxiv.org/abs/2503.14476
    old and reference log-probabilities by the training's forward                          columns
    advantages                                                                             settling

A group whose completions earned the same says nothing about which is better: it would be computed in vain, and under a mean over
completions make the others' say smaller.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from cookbook_lib.data.completions import ROUND, ROUND_WEIGHT
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rollouts.answering import Asking, answer, seeds_of
from cookbook_lib.training.rollouts.columns import Place, Tell, add_columns, mismatch
from cookbook_lib.training.rollouts.engine import Engine
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.judging import Answered, Reward, judge, with_stats
from cookbook_lib.training.rollouts.prompts import Order, Tasks
from cookbook_lib.training.rollouts.settling import Settle, earned, without_advantages

TRAINING, GREEDY, VALIDATION = 0, 1, 2  # what a seed is for
DRAWN = "rollout_logps"  # the generator's column


@dataclass(frozen=True)
class Rules:
    """What a round is. batch_size: prompts; n: completions of each; updates: optimizer steps made of it.

    Groups without spread are left out (filter_groups), and more prompts asked until there are batch_size groups with one, in at
    most max_batches batches. greedy: ask each prompt for the likeliest answer as well, for its reward (ReMax).
    """

    batch_size: int
    n: int
    asking: Asking
    updates: int = 1
    filter_groups: bool = False
    max_batches: int = 1
    greedy: bool = False
    seed: int = 0
    shuffle: bool = True


@dataclass
class Policy:
    """Who answers and who learns; training and validation have it in common. tells: the training's forwards over a round
    (columns.py), old_logps among them; temperature: at which they take them, None: not known; by_group: it learns nothing from
    a group without spread."""

    model: PackedModel
    engine: Engine
    tells: Sequence[Tell]
    settle: Settle
    temperature: float | None = None
    by_group: bool = True


@dataclass
class RoundMaker:
    """Every method is collective, and gives the same on every rank."""

    tasks: Tasks
    tokenizer: Any
    reward: Reward
    policy: Policy
    mesh: Mesh
    rules: Rules
    forwards: Forwards
    place: Place
    made_at: float | None = None  # when the last round was ready

    def __post_init__(self) -> None:
        self.order = Order(self.tasks, self.rules.batch_size, self.rules.seed, self.rules.shuffle)

    def make(self, number: int) -> tuple[list[Answered], list[Answered], float]:
        """Those to learn from, all that were answered, and the seconds that it took."""
        begin = time.perf_counter()
        self.policy.engine.refresh(self.policy.model)
        answered, batches = self._asked(number)
        settled = self._settled(self._told(self._chosen(answered)))
        seconds = self.mesh.broadcast(time.perf_counter() - begin)
        facts = over_all(answered) | {
            ROUND_WEIGHT: sum(len(one.totals) for one in answered) / sum(len(one.totals) for one in settled),
            f"{ROUND}generation_batches": batches,
            f"{ROUND}rollout_seconds": seconds / self.rules.updates,
            f"{ROUND}rollout_share": self._share(seconds),
            **self._filtered(answered),
        }
        return [replace(one, group=with_stats(one.group, **facts)) for one in settled], answered, seconds

    def validation(self) -> list[Answered]:
        """Every prompt once, in the file's order; always drawn alike, and with no advantages.

        Drawn at another temperature than training's forwards are at, it says nothing of how far the generator is from them.
        """
        self.policy.engine.refresh(self.policy.model)
        answered = self._answered(range(len(self.tasks)), VALIDATION, 0, 0)
        drawn_at = self.rules.asking.how.temperature or 1.0  # greedy log-probabilities are of the distribution itself
        return earned(self._told(answered if drawn_at == self.policy.temperature else _without_drawn(answered)))

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _asked(self, number: int) -> tuple[list[Answered], int]:
        """Prompts until enough have groups with spread, and how many batches of them it took."""
        answered: list[Answered] = []
        for batch in range(self.rules.max_batches if self.rules.filter_groups else 1):
            before = {one.group.row for one in answered}
            rows = [row for row in self.order.rows(number, batch).tolist() if row not in before]
            if not rows:
                return answered, batch
            answered += self._answered(rows, TRAINING, number, len(answered))
            if sum(one.spread for one in answered) >= self.rules.batch_size:
                break
        return answered, batch + 1

    def _answered(self, rows: Sequence[int], purpose: int, number: int, first: int) -> list[Answered]:
        rules, what = self.rules, "validation" if purpose == VALIDATION else f"round {number}"
        answered = self._judged(rows, (purpose, number), rules.n, rules.asking, first, f"answers, {what}")
        if not rules.greedy or purpose != TRAINING:
            return answered
        likeliest = replace(rules.asking, how=Sampling())
        greedy = self._judged(rows, (GREEDY, number), 1, likeliest, first, f"greedy answers, {what}")
        return [replace(one, greedy=other.totals[0]) for one, other in zip(answered, greedy, strict=True)]

    def _judged(
        self, rows: Sequence[int], drawn_for: tuple[int, int], n: int, asking: Asking, first: int, title: str
    ) -> list[Answered]:
        tasks = [self.tasks[row] for row in rows]
        seeds = [seeds_of(self.rules.seed, *drawn_for, *which, n=n) for which in _told_apart(rows)]
        made = answer(self.policy.engine, self.mesh, [task.ids.tolist() for task in tasks], seeds, asking, title)
        return judge(self.mesh, self.tokenizer, rows, tasks, made, self.reward, first=first)

    def _chosen(self, answered: list[Answered]) -> list[Answered]:
        """Those that are learned from. Where too few have spread to give each update one, some without stand in: they change
        nothing by their reward, and every update has its step."""
        if not self.rules.filter_groups:
            return answered
        useful = [one for one in answered if one.spread][: self.rules.batch_size]
        others = [one for one in answered if not one.spread]
        chosen = useful + others[: max(self.rules.updates - len(useful), 0)]
        return sorted(chosen, key=lambda one: one.group.number)

    def _settled(self, told: list[Answered]) -> list[Answered]:
        """With advantages; those without spread that stand in have none, whatever a reward that KL costs makes of them: a group's
        deviation would make the smallest difference as large as any."""
        settled = self.policy.settle(told)
        if not self.rules.filter_groups:
            return settled
        return [one if one.spread else without_advantages(one) for one in settled]

    def _told(self, answered: Sequence[Answered]) -> list[Answered]:
        """With the columns of the training's forwards, and how far the generator was from them where that can be compared."""
        groups = [one.group for one in answered]
        told = add_columns(groups, self.policy.tells, self.forwards, self.place, self.mesh)
        if any(DRAWN not in group.columns for group in told):
            return [replace(one, group=group) for one, group in zip(answered, told, strict=True)]
        means, largest = mismatch(told)
        marked = [
            with_stats(replace(group, stats=dict(group.stats) | {"mismatch": own}), mismatch_max=largest)
            for group, own in zip(told, means, strict=True)
        ]
        return [replace(one, group=group) for one, group in zip(answered, marked, strict=True)]

    def _filtered(self, answered: Sequence[Answered]) -> dict[str, float]:
        """The share of the groups without spread, where nothing is learned from them."""
        if not self.policy.by_group:
            return {}
        return {f"{ROUND}filtered_groups": 1 - sum(one.spread for one in answered) / len(answered)}

    def _share(self, seconds: float) -> float:
        """Of the time since the last round was ready, that of making this one; NaN for the first."""
        now, before = time.perf_counter(), self.made_at
        self.made_at = now
        return self.mesh.broadcast(float("nan") if before is None else min(seconds / (now - before), 1.0))


def _told_apart(rows: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """(row,), or (row, k) where it came k times before: a round over the end of an epoch may ask a prompt twice, for other answers."""
    seen: Counter[int] = Counter()
    for row in rows:
        yield (row, seen[row]) if seen[row] else (row,)
        seen[row] += 1


def _without_drawn(answered: Sequence[Answered]) -> list[Answered]:
    """Without the generator's log-probabilities."""
    return [
        replace(one, group=replace(one.group, columns={k: v for k, v in one.group.columns.items() if k != DRAWN}))
        for one in answered
    ]


def over_all(answered: Sequence[Answered]) -> dict[str, float]:
    """Means of the completions' own numbers, each as `round_<name>`: groups without spread, which nobody learns from, count.

    Without them the reward of what is left stays near one half however good the policy becomes.
    """
    columns: dict[str, list[float]] = {}
    for one in answered:
        for name, numbers in one.group.stats.items():
            columns.setdefault(f"{ROUND}{name}", []).extend(x for x in numbers if x == x)  # NaN: not known of it
    columns[f"{ROUND}reward_square"] = [x * x for x in columns[f"{ROUND}reward"]]
    return {name: fmean(numbers) for name, numbers in columns.items() if numbers}
