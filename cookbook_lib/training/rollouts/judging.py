"""From completions to groups that can be learned from: text, reward, spread.

    Generated ──▶ text ──▶ Sample ──▶ reward(samples of all prompts) ──▶ Group(stats: reward, parsed, finished, ...)

The reward sees everything that was answered together: both orders of a pair, groups whole. It runs on rank 0 alone (it may be a
user's own code, or slow), and every rank gets what it said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import Group
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.written import texts_of
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.rewards.base import RewardResult, Sample, begun_by
from cookbook_lib.training.rollouts.engine import Generated
from cookbook_lib.training.rollouts.prompts import TokenTask

Reward = Callable[[Sequence[Sample]], RewardResult]


@dataclass(frozen=True)
class Answered:
    """One prompt of a round, what was answered to it, and what that earned. n completions."""

    group: Group
    task: JudgeTask
    prompt: str
    texts: tuple[str, ...]
    totals: tuple[float, ...]  # what advantages are made of
    greedy: float | None = None  # what the greedy answer earned

    @property
    def spread(self) -> bool:
        """Whether its completions earned different rewards: without, they have no advantage over one another."""
        return max(self.totals) > min(self.totals)


def judge(
    mesh: Mesh,
    tokenizer: Any,
    rows: Sequence[int],
    tasks: Sequence[TokenTask],
    made: Sequence[Generated],
    reward: Reward,
    *,
    first: int = 0,
) -> list[Answered]:
    """The prompts `rows` with their answers and rewards, groups numbered from `first`. Collective.

    Raises CookbookError for a reward function that fails or does not give one number for each completion.
    """
    texts = [tuple(texts_of(tokenizer, _said(one))) for one in made]
    prompts = [str(tokenizer.decode(list(map(int, task.ids)))) for task in tasks]
    samples = [
        Sample(text, task.task, finished=finished, tokens=len(ids), group=first + number, begun=begun_by(prompt))
        for number, (task, prompt, one, own) in enumerate(zip(tasks, prompts, made, texts, strict=True))
        for text, ids, finished in zip(own, one.completions, one.finished, strict=True)
    ]
    result = mesh.on_main(lambda: _checked(reward(samples), len(samples)))
    answered, place = [], 0
    for number, (row, task, prompt, one, own) in enumerate(zip(rows, tasks, prompts, made, texts, strict=True)):
        part = slice(place, place + len(own))
        place = part.stop
        group = Group(
            row=int(row),
            prompt=np.asarray(task.ids, np.int32),
            completions=one.completions,
            finished=one.finished,
            number=first + number,
            columns={"rollout_logps": one.logps},
            stats=_stats(one, result, part),
        )
        answered.append(Answered(group, task.task, prompt, own, tuple(result.total[part].tolist())))
    return answered


def with_stats(group: Group, **numbers: float) -> Group:
    """The group with numbers that hold for all of its completions."""
    n = len(group.completions)
    return replace(group, stats=dict(group.stats) | {name: (float(x),) * n for name, x in numbers.items()})


def _said(one: Generated) -> list[list[int]]:
    """Ids without the stop token, whatever it is: some vocabularies do not call it special."""
    return [ids[: len(ids) - finished].tolist() for ids, finished in zip(one.completions, one.finished, strict=True)]


def _stats(one: Generated, result: RewardResult, part: slice) -> dict[str, tuple[float, ...]]:
    stats: dict[str, Any] = {
        "reward": result.plain[part],
        "parsed": result.parsed[part],
        "finished": one.finished,
        "length": [len(ids) for ids in one.completions],
        "group_std": [float(np.std(result.plain[part]))] * len(one.completions),
    }
    if len(result.parts) > 1:
        stats |= {f"reward_{name}": numbers[part] for name, numbers in result.parts.items()}
    return {name: tuple(float(x) for x in numbers) for name, numbers in stats.items()}


def _checked(result: RewardResult, count: int) -> RewardResult:
    columns = {"total": result.total, "plain": result.plain, "parsed": result.parsed, **result.parts}
    for name, numbers in columns.items():
        if len(numbers) != count or not np.isfinite(np.asarray(numbers, np.float64)).all():
            raise CookbookError(
                f"the reward's {name!r} has {len(numbers)} values for {count} completions, or some that are not finite: "
                "it gives one finite number for each."
            )
    return result
