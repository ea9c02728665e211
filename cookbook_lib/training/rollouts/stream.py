"""Rollouts behind the face of a loader, so that `fit` trains by reinforcement as it trains by anything.

    step s  ->  round k = s // updates,  mini-batch s % updates of it

    round k     weights to the engine -> prompts by the seed -> completions -> rewards          engine, answering, judging
                -> groups without spread left out, replaced by more prompts where that is asked for (DAPO)
                -> old and reference log-probabilities by the training's forward                columns
                -> advantages                                                                   settling
                -> a file                                                                       store
    mini-batch  some groups of the round -> balanced forwards, as many on every rank            forwards

Which prompts a round asks, and what each is answered, are functions of the seed and of the weights. So a round needs no state: a
run that goes on inside a round reads the round's file; one that goes on at its beginning makes it anew, or reads what it finds,
if that was made of the same weights by the same settings.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import CompletionBatch, Group
from cookbook_lib.data.loader import Loader
from cookbook_lib.data.packing import balance
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rollouts.answering import Asking, answer, seeds_of
from cookbook_lib.training.rollouts.columns import Place, Tell, add_columns, mismatch
from cookbook_lib.training.rollouts.engine import Engine
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.judging import Answered, Reward, TokenTask, judge, with_stats
from cookbook_lib.training.rollouts.settling import Settle, earned
from cookbook_lib.training.rollouts.store import Round, read_round, round_file, validation_file, write_round
from cookbook_lib.training.rollouts.weights import weights_sum

TRAINING, GREEDY, VALIDATION = 0, 1, 2  # what a seed is for
ANOTHER_ORDER = (
    1_000_003  # between the seeds of a round's first prompts and of those that replace groups without spread
)


class Tasks(Protocol):
    """Tokenised prompts: data.judge.tasks.TaskSet."""

    @property
    def lengths(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> TokenTask: ...


@dataclass(frozen=True)
class Rules:
    """What a round is. batch_size: prompts; n: completions of each; updates: optimizer steps made of it.

    Groups without spread are left out (filter_groups), and more prompts asked until there are batch_size groups with one, in at
    most max_batches rounds of asking. greedy: ask each prompt for the likeliest answer as well, for its reward (ReMax).
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


@dataclass(frozen=True)
class Policy:
    """Who answers and who learns. tells: the training's forwards over a round (columns.py), old_logps among them."""

    model: PackedModel
    engine: Engine
    tells: Sequence[Tell]
    settle: Settle


class RolloutStream:
    """The batches of reinforcement learning, with a loader's face: step, steps, rows, layout, epoch.

    folder: the run's, where rounds are kept; None keeps nothing, and a run that goes on inside a round makes the round anew with
    the weights that it has by then. settings: further things that a round depends on (the reward's config), for knowing one's
    own rounds again. reuse=False: never read a round at whose beginning the run stands. Every method is collective.
    """

    max_rows: int | None = None  # of a step's forwards the token budget decides, in either form

    def __init__(
        self,
        tasks: Tasks,
        tokenizer: Any,
        reward: Reward,
        policy: Policy,
        mesh: Mesh,
        rules: Rules,
        forwards: Forwards,
        *,
        place: Place = lambda batch: batch,
        folder: Path | None = None,
        settings: object = None,
        reuse: bool = True,
        step: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.tasks, self.tokenizer, self.reward, self.policy, self.mesh = tasks, tokenizer, reward, policy, mesh
        self.rules, self.forwards, self.place, self.folder, self.reuse = rules, forwards, place, folder, reuse
        self.say = say if mesh.is_main else lambda news: None
        self.now = step or (lambda: 0)
        self.units = _units(tasks)
        self.settings = _digest([repr(rules), getattr(tasks, "fingerprint", len(tasks)), settings])
        self.batch_size = max(rules.batch_size // rules.updates, 1)  # prompts of a step
        self.max_tokens, self.quadratic = forwards.max_tokens, forwards.quadratic
        self.round: Round | None = None
        self._made_at: float | None = None
        self._orders: dict[int, Loader] = {}
        _check(tasks, rules, forwards)

    # -- a loader's face ---------------------------------------------------------------------------------------------------

    @property
    def examples(self) -> "Longest":
        """The prompts, each as long as its group can become."""
        return Longest(self.tasks, self.rules)

    def steps(self, epochs: float) -> int:
        """Steps in which every prompt is asked `epochs` times, at least."""
        return self._order(0).steps(epochs) * self.rules.updates

    def rows(self, step: int) -> NDArray[np.int64]:
        """Prompts of the round that step `step` belongs to, the first ones if more are asked."""
        return self._rows(step // self.rules.updates, 0)

    def layout(self, step: int) -> list[list[list[int]]]:
        """[rank][forward] -> prompts, as the step would be divided if all groups became as long as they can."""
        rows = np.array_split(self.rows(step), self.rules.updates)[step % self.rules.updates]
        lengths = [min(int(n), self.max_tokens) for n in self.examples.lengths[rows]]
        parts = balance(lengths, self.forwards.ranks, max_tokens=self.max_tokens, quadratic=self.quadratic)
        return [[[int(rows[i]) for i in forward] for forward in rank] for rank in parts]

    def positions(self, rows: list[int]) -> int:
        """Positions that a forward over these prompts computes, likewise."""
        width = max(int(self.examples.lengths[rows].sum()), 1)
        return -(-width // self.forwards.multiple) * self.forwards.multiple

    def step(self, step: int) -> list[CompletionBatch]:
        """This rank's forwards of one optimizer step; every rank gets the same number."""
        number, update = divmod(step, self.rules.updates)
        if self.round is None or self.round.number != number:
            self.round = self._found(number, update) or self._make(number)
        groups = self.round.groups
        places = np.array_split(np.arange(len(groups)), self.rules.updates)[update]
        return self._batches([groups[i] for i in places])

    def epoch(self) -> Iterator[CompletionBatch]:
        """Every prompt once (n completions of each), in the file's order, in forwards of equal number on every rank: validation."""
        begin = time.perf_counter()
        self.policy.engine.refresh(self.policy.model)
        rows = range(len(self.tasks))
        answered = earned(self._told(self._answered(rows, VALIDATION, 0, 0)))
        if self.folder is not None:
            made = Round(0, tuple(one.group for one in answered), time.perf_counter() - begin)
            path = validation_file(self.folder, self.now())
            self.mesh.on_main(lambda: write_round(path, made, answered))
        for start in range(0, len(answered), self.rules.batch_size):
            yield from self._batches([one.group for one in answered[start : start + self.rules.batch_size]])

    # -- a round -----------------------------------------------------------------------------------------------------------

    def _make(self, number: int) -> Round:
        begin = time.perf_counter()
        weights = self._weights()
        self.policy.engine.refresh(self.policy.model)
        answered, batches = self._asked(number)
        chosen = self._chosen(answered)
        settled = self.policy.settle(self._told(chosen))
        seconds = self.mesh.broadcast(time.perf_counter() - begin)
        facts = {
            "filtered_groups": 1 - sum(one.spread for one in answered) / len(answered),
            "generation_batches": batches,
            "rollout_seconds": seconds / self.rules.updates,
            "rollout_share": self._share(seconds),
        }
        groups = tuple(with_stats(one.group, **facts) for one in settled)
        made = Round(number, groups, seconds, self.settings, weights)
        if self.folder is not None:
            path = round_file(self.folder, number)
            self.mesh.on_main(lambda: write_round(path, made, answered))
        return made

    def _asked(self, number: int) -> tuple[list[Answered], int]:
        """Prompts until enough have groups with spread, and how many batches of them it took."""
        answered: list[Answered] = []
        for batch in range(self.rules.max_batches if self.rules.filter_groups else 1):
            before = {one.group.row for one in answered}
            rows = [row for row in self._rows(number, batch).tolist() if row not in before]
            if not rows:
                return answered, batch
            answered += self._answered(rows, TRAINING, number, len(answered))
            if sum(one.spread for one in answered) >= self.rules.batch_size:
                break
        return answered, batch + 1

    def _answered(self, rows: Sequence[int], purpose: int, number: int, first: int) -> list[Answered]:
        rules, tasks = self.rules, [self.tasks[int(row)] for row in rows]
        prompts = [task.ids.tolist() for task in tasks]
        seeds = [seeds_of(rules.seed, purpose, number, int(row), n=rules.n) for row in rows]
        what = "validation" if purpose == VALIDATION else f"round {number}"
        made = answer(self.policy.engine, self.mesh, prompts, seeds, rules.asking, f"answers, {what}")
        answered = judge(self.mesh, self.tokenizer, rows, tasks, made, self.reward, first=first)
        if not rules.greedy or purpose != TRAINING:
            return answered
        likeliest = replace(rules.asking, how=Sampling())
        one_each = [seeds_of(rules.seed, GREEDY, number, int(row), n=1) for row in rows]
        made = answer(self.policy.engine, self.mesh, prompts, one_each, likeliest, f"greedy answers, {what}")
        greedy = judge(self.mesh, self.tokenizer, rows, tasks, made, self.reward, first=first)
        return [replace(one, greedy=other.totals[0]) for one, other in zip(answered, greedy, strict=True)]

    def _chosen(self, answered: list[Answered]) -> list[Answered]:
        """Those that are learned from. Where too few have spread to give each update one, some without stand in: they change
        nothing by their reward, and the step is what it is."""
        if not self.rules.filter_groups:
            return answered
        useful = [one for one in answered if one.spread][: self.rules.batch_size]
        others = [one for one in answered if not one.spread]
        chosen = useful + others[: max(self.rules.updates - len(useful), 0)]
        return sorted(chosen, key=lambda one: one.group.number)

    def _told(self, answered: Sequence[Answered]) -> list[Answered]:
        """With the columns of the training's forwards, and how far the generator was from them."""
        groups = [one.group for one in answered]
        told = add_columns(groups, self.policy.tells, self.forwards, self.place, self.mesh)
        means, largest = mismatch(told)
        marked = [
            with_stats(replace(group, stats=dict(group.stats) | {"mismatch": own}), mismatch_max=largest)
            for group, own in zip(told, means, strict=True)
        ]
        return [replace(one, group=group) for one, group in zip(answered, marked, strict=True)]

    def _batches(self, groups: list[Group]) -> list[CompletionBatch]:
        mine = self.forwards.divide(groups)[self.mesh.dp_rank]
        return [self.place(self.forwards.batch(groups, parts)) for parts in mine]

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _found(self, number: int, update: int) -> Round | None:
        """The round's file, where it may be taken up; says so."""
        if self.folder is None or not (self.reuse or update):
            return None
        path = round_file(self.folder, number)
        made = self.mesh.on_main(lambda: read_round(path))
        known = made is not None and made.settings == self.settings
        if update == 0 and not (known and made is not None and made.weights == self._weights()):
            return None
        if not known:
            self.say(
                f"{path} is not there, or was made by other settings: round {number} is made anew, by the weights of now."
            )
            return None
        self.say(f"round {number} goes on from {path}")
        return made

    def _weights(self) -> int:
        return int(self.mesh.sum(float(weights_sum(self.policy.model)))) % 2**31

    def _share(self, seconds: float) -> float:
        """Of the time since the last round was made, that of making this one; NaN for the first."""
        now, before = time.perf_counter(), self._made_at
        self._made_at = now
        return self.mesh.broadcast(float("nan") if before is None else min(seconds / (now - before), 1.0))

    def _rows(self, number: int, batch: int) -> NDArray[np.int64]:
        chosen = self._order(batch).rows(number)
        return np.array([row for unit in chosen for row in self.units[unit]], np.int64)

    def _order(self, batch: int) -> Loader:
        """Whose steps are rounds, and whose rows are units: prompts, or both orders of a pair."""
        if batch not in self._orders:
            size = max(self.rules.batch_size // max(map(len, self.units)), 1)
            seed = self.rules.seed + ANOTHER_ORDER * batch
            units = Longest(self.tasks, self.rules, self.units)
            self._orders[batch] = Loader(
                units, batch_size=size, max_tokens=self.max_tokens, seed=seed, shuffle=self.rules.shuffle
            )
        return self._orders[batch]


@dataclass(frozen=True)
class Longest:
    """Prompts, or units of several, as a loader's examples: the tokens of each group at most."""

    tasks: Tasks
    rules: Rules
    units: Sequence[Sequence[int]] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        rules = self.rules
        each = np.asarray(self.tasks.lengths, np.int64) + rules.n * rules.asking.max_new_tokens
        return each if self.units is None else np.array([each[list(unit)].sum() for unit in self.units])

    def __len__(self) -> int:
        return len(self.tasks if self.units is None else self.units)

    def __getitem__(self, i: int) -> Any:
        return self.tasks[i] if self.units is None else [self.tasks[row] for row in self.units[i]]


def _units(tasks: Tasks) -> list[list[int]]:
    """Rows that are asked together: both orders of a pair, which a reward may compare; else each by itself."""
    units: dict[Any, list[int]] = {}
    for row in range(len(tasks)):
        units.setdefault(tasks[row].task.pair_id or row, []).append(row)
    return list(units.values())


def _digest(things: list[Any]) -> str:
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _check(tasks: Tasks, rules: Rules, forwards: Forwards) -> None:
    if not len(tasks):
        raise CookbookError("there are no prompts: data.train_files hold none that fits; look at what was left out.")
    longest, room = int(max(tasks.lengths)), forwards.max_tokens - rules.asking.max_new_tokens
    if longest > room:
        raise CookbookError(
            f"a prompt of {longest} tokens and rollout.max_new_tokens={rules.asking.max_new_tokens} do not fit into one forward of "
            f"{forwards.max_tokens} tokens (data.micro_batch_size x data.max_length): raise one of them, or leave long prompts out."
        )
    if min(rules.batch_size, rules.n, rules.updates, rules.max_batches) < 1 or rules.batch_size < rules.updates:
        raise CookbookError(
            f"a round of data.train_batch_size={rules.batch_size} prompts, rollout.n={rules.n} completions of each and "
            f"rollout.updates={rules.updates} steps cannot be: each is at least 1, and there are no more steps than prompts."
        )
