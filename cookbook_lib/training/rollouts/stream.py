"""Rollouts behind the face of a loader, so that `fit` trains by reinforcement as it trains by anything.

    step s  ->  round k = s // updates,  mini-batch s % updates of it

    round k     made by the weights of its first step (rounds.py), kept as a file (store.py)
    mini-batch  some groups of the round -> balanced forwards, as many on every rank (forwards.py)

Which prompts a round asks, and what each is answered, are functions of the seed and of the weights. So a round needs no state but
the sum of those weights, by which a checkpoint knows its round again: a run that goes on inside a round reads the round's file, if
no other run has made another since; one that goes on at its beginning makes it anew, or reads what it finds, if that was made of
the same weights by the same settings.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import CompletionBatch, Group
from cookbook_lib.data.loader import Load
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rollouts.columns import Place
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.judging import Answered, Reward
from cookbook_lib.training.rollouts.prompts import Longest, Order, Tasks
from cookbook_lib.training.rollouts.rounds import Policy, RoundMaker, Rules
from cookbook_lib.training.rollouts.store import Round, read_round, round_file, validation_file, write_round
from cookbook_lib.training.rollouts.weights import weights_sum


class RolloutStream:
    """The batches of reinforcement learning, with a loader's face: step, steps, rows, loads, epoch.

    folder: the run's, where rounds are kept; None keeps nothing, and a run that goes on inside a round makes the round anew with
    the weights that it has by then. settings: further things that a round depends on (the reward's config, and the version of
    its functions), for knowing one's own rounds again. reuse=False: never read a round at whose beginning the run stands. Every
    method is collective. Raises CookbookError for prompts that do not fit.
    """

    max_rows: int | None = None  # the token budget decides how many forwards a step has, in either form

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
        say: Callable[[str], None] = print,
    ) -> None:
        _check(tasks, rules, forwards, policy)
        _check_updates(tasks, rules)
        self.rules, self.forwards, self.place, self.mesh = rules, forwards, place, mesh
        self.maker = RoundMaker(tasks, tokenizer, reward, policy, mesh, rules, forwards, place)
        self.examples = Longest(tasks, rules.n * rules.asking.max_new_tokens)
        self.folder, self.reuse, self.policy = folder, reuse, policy
        self.settings = _digest([_told(rules), getattr(tasks, "fingerprint", len(tasks)), settings])
        self.say = say if mesh.is_main else lambda news: None
        self.batch_size = max(rules.batch_size // rules.updates, 1)  # prompts of a step
        self.pieces = self.maker.order.least // rules.updates * rules.n
        self.max_tokens, self.quadratic = forwards.max_tokens, forwards.quadratic
        self.unread = False  # nothing of the last round could be read
        self.round: Round | None = None  # the one that the last step was of
        self.recalled: dict[str, Any] = {}  # facts of the round that the checkpoint stood in

    # -- a loader's face ---------------------------------------------------------------------------------------------------

    def steps(self, epochs: float) -> int:
        """Steps in which every prompt is asked `epochs` times, at least."""
        return self.maker.order.rounds(epochs) * self.rules.updates

    def rows(self, step: int) -> NDArray[np.int64]:
        """Prompts of the round that step `step` belongs to; the first ones, if more are asked."""
        return self.maker.order.rows(step // self.rules.updates)

    def loads(self, step: int) -> list[list[Load]]:
        """[rank][forward], as the step would be divided if all groups became as long as they can."""
        rows = np.array_split(self.rows(step), self.rules.updates)[step % self.rules.updates]
        groups = [self._longest(int(row)) for row in rows]
        return [[self.forwards.load(groups, parts) for parts in rank] for rank in self.forwards.divide(groups)]

    def step(self, step: int) -> list[CompletionBatch]:
        """This rank's forwards of one optimizer step; every rank gets the same number."""
        number, update = divmod(step, self.rules.updates)
        if self.round is None or self.round.number != number:
            self.round = self._found(number, update) or self._made(number)
        groups = self.round.groups
        places = np.array_split(np.arange(len(groups)), self.rules.updates)[update]
        return self._batches([groups[i] for i in places])

    def epoch(self, done: int = 0) -> Iterator[CompletionBatch]:
        """Every prompt once (n completions of each), in the file's order, in forwards of equal number on every rank: validation,
        after `done` optimizer steps, by which its file is named."""
        begin = time.perf_counter()
        answered = self.maker.validation()
        groups = [one.group for one in answered]
        if self.folder is not None:
            made = Round(0, tuple(groups), time.perf_counter() - begin)
            path = validation_file(self.folder, done)
            self.mesh.on_main(lambda: write_round(path, made, answered))
        for start in range(0, len(groups), self.rules.batch_size):
            yield from self._batches(groups[start : start + self.rules.batch_size])

    def facts(self) -> dict[str, Any]:
        """Which round a checkpoint of now stands in, and the sum of the weights that made it."""
        return {"round": self.round.number, "weights": self.round.weights} if self.round else self.recalled

    def recall(self, facts: dict[str, Any]) -> None:
        """Take up the facts that a checkpoint kept; {}: it is of before there were any, and whatever fits is its round.

        A round that somebody looked at before, by the weights of then, stays only where it is the checkpoint's.
        """
        if self.facts() != facts:
            self.round = None
        self.recalled = facts

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _longest(self, row: int) -> Group:
        """The prompt with n completions, none of which ended by itself."""
        n, answer = self.rules.n, np.zeros(self.rules.asking.max_new_tokens, np.int32)
        return Group(row, self.examples[row].ids, (answer,) * n, (False,) * n)

    def _made(self, number: int) -> Round:
        weights = self._weights()
        chosen, answered, seconds = self.maker.make(number)
        self._warn(number, answered)
        made = Round(number, tuple(one.group for one in chosen), seconds, self.settings, weights)
        if self.folder is not None:
            path = round_file(self.folder, number)
            self.mesh.on_main(lambda: write_round(path, made, answered))
        return made

    def _warn(self, number: int, answered: Sequence[Answered]) -> None:
        """Once, of a round in which nothing can be read: all earn the same, and nothing is learned."""
        read = any(any(one.group.stats.get("parsed", (1.0,))) for one in answered)
        if not read and not self.unread:
            self.say(
                f"round {number}: none of {sum(len(one.texts) for one in answered)} completions ends in what the reward can read, so "
                "nothing is learned from it: start from a model that was taught so (SFT on --source judge, for verdicts)."
            )
        self.unread = not read

    def _found(self, number: int, update: int) -> Round | None:
        """The round's file, where it may be taken up; says so."""
        if self.folder is None or not (self.reuse or update):
            return None
        path = round_file(self.folder, number)
        made, against = self.mesh.on_main(lambda: self._read(path, number, update))
        if made is None or (update == 0 and made.weights != self._weights()):
            if update:
                self.say(f"{path} {against}: round {number} is made anew, by the weights of now.")
            return None
        self.say(f"round {number} goes on from {path}")
        return made

    def _read(self, path: Path, number: int, update: int) -> tuple[Round | None, str]:
        """The round's file, or what speaks against it. One rank's to say: another node may have other settings, of its own files."""
        made = read_round(path)
        if made is None:
            return None, "is not there, or not whole"
        if made.settings != self.settings:
            return None, "was made by other settings"
        if update and self.recalled.get("round") == number and self.recalled["weights"] != made.weights:
            return None, "was made by other weights than the checkpoint goes on from"
        return made, ""

    def _weights(self) -> int:
        return int(self.mesh.sum(float(weights_sum(self.policy.model)))) % 2**31

    def _batches(self, groups: Sequence[Group]) -> list[CompletionBatch]:
        mine = self.forwards.divide(groups)[self.mesh.dp_rank]
        return [self.place(self.forwards.batch(groups, parts)) for parts in mine]


def _told(rules: Rules) -> str:
    """A set has no order of its own, so its text may differ where it does not."""
    return repr(replace(rules, asking=replace(rules.asking, stop_ids=sorted(rules.asking.stop_ids))))


def _digest(things: list[Any]) -> str:
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _check(tasks: Tasks, rules: Rules, forwards: Forwards, policy: Policy) -> None:
    if not len(tasks):
        raise CookbookError("there are no prompts: data.train_files hold none that fits; look at what was left out.")
    longest, asked = int(max(tasks.lengths)), rules.asking.max_new_tokens
    what = f"a prompt of {longest} tokens and rollout.max_new_tokens={asked} do not fit into"
    if longest + asked > forwards.max_tokens:
        raise CookbookError(
            f"{what} one forward of {forwards.max_tokens} tokens (data.micro_batch_size x data.max_length): raise one of them, or "
            "leave long prompts out."
        )
    window = getattr(policy.model.hf.config.get_text_config(), "max_position_embeddings", None)
    if window is not None and longest + asked > window:
        raise CookbookError(
            f"{what} the model's {window} positions: lower data.max_length, which leaves long prompts out, or max_new_tokens."
        )
    if min(rules.batch_size, rules.n, rules.updates, rules.max_batches) < 1 or rules.batch_size < rules.updates:
        raise CookbookError(
            f"a round of data.train_batch_size={rules.batch_size} prompts, rollout.n={rules.n} completions of each and "
            f"rollout.updates={rules.updates} steps cannot be: each is at least 1, and there are no more steps than prompts."
        )


def _check_updates(tasks: Tasks, rules: Rules) -> None:
    least = Order(tasks, rules.batch_size).least
    if least < rules.updates:
        raise CookbookError(
            f"a round may have {least} of the {len(tasks)} prompts, which are fewer than rollout.updates={rules.updates}, and each of "
            "its steps learns from one at least: lower rollout.updates, or give more prompts."
        )
