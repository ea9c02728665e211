"""Rewards of a preference between two answers, A and B.

    correct            1 if the verdict is the true one (A, B or tie) else 0
    swap_consistent    correct · share of correct verdicts on the same pair in the other order

    order ab:  A = first, B = second      truth A        "Preference: A"  right ─┐
    order ba:  A = second, B = first      truth B        "Preference: A"  wrong ─┴─▶  swap_consistent 0: it likes A

The same answer is preferred in both orders and it is the right one, or nothing is earned: a judge that goes by the place
earns half of `correct` and nothing here. Its expectation over a pair is the product of both orders' accuracies, the
swap-consistent accuracy of two independent verdicts. It needs both orders in the same call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.records import ORDERS, JudgeTask
from cookbook_lib.data.judge.verdicts import read_preference, swapped
from cookbook_lib.training.rewards.base import Sample, refuse_task, said


def correct(samples: Sequence[Sample]) -> list[float | None]:
    """1 for the true verdict, 0 for another, None where none can be read."""
    return [_right(read_preference(said(sample)), true_preference(sample.task)) for sample in samples]


def swap_consistent(samples: Sequence[Sample]) -> list[float | None]:
    """`correct`, times how often the pair's other order is answered correctly (unread verdicts are not).

    Raises RowError for a sample that belongs to no pair, CookbookError for a pair asked in one order only.
    """
    verdicts = correct(samples)
    right = np.array([verdict or 0.0 for verdict in verdicts])
    pairs, orders = places([sample.task for sample in samples])
    paid = right * share_in_other_order(right, pairs, orders)
    return [None if verdict is None else value for verdict, value in zip(verdicts, paid.tolist(), strict=True)]


def share_in_other_order(right: np.ndarray, pairs: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """For each sample the mean of `right` over its pair's samples in the other order; arguments and result (C,).

    right: 0 or 1; pairs: number of the pair; orders: 0 or 1.
    """
    slot = 2 * pairs + orders
    size = 2 * (int(pairs.max(initial=-1)) + 1)
    total, count = np.bincount(slot, right, size), np.bincount(slot, minlength=size)
    other = slot ^ 1
    return total[other] / count[other]


def places(tasks: Sequence[JudgeTask]) -> tuple[np.ndarray, np.ndarray]:
    """Number of each task's pair and of its order, int64 (C,) each. Raises as swap_consistent does."""
    orders = np.array([_order_of(task) for task in tasks], dtype=np.int64)
    names, pairs = np.unique(np.array([task.pair_id for task in tasks], dtype=object), return_inverse=True)
    counts = np.bincount(2 * pairs + orders, minlength=2 * len(names)).reshape(-1, 2)
    lonely = np.flatnonzero((counts == 0).any(axis=1))
    if len(lonely):
        order = ORDERS[int(counts[lonely[0]].argmax())]
        raise CookbookError(
            f"{len(lonely)} of {len(names)} pairs are asked in one order only ({names[lonely[0]]!r} only as {order}), but "
            f"swap_consistent compares both; keep both orders, in the data and in every round, or take correct."
        )
    return pairs, orders


def check_preferences(tasks: Sequence[JudgeTask]) -> None:
    """Raises RowError for a task that is no preference."""
    for task in tasks:
        true_preference(task)


def check_pairs(tasks: Sequence[JudgeTask]) -> None:
    """Raises RowError or CookbookError unless every task is one order of a pair, the other is there as often, and they agree."""
    check_preferences(tasks)
    pairs, orders = places(tasks)
    _check_copies(tasks, np.bincount(2 * pairs + orders).reshape(-1, 2)[pairs])
    first: dict[str | None, JudgeTask] = {}
    for task in tasks:
        other = first.setdefault(task.pair_id, task)
        if task.truth != (other.truth if task.order == other.order else swapped(other.truth)):
            rule = f"pair {task.pair_id!r} has {other.truth} in order {other.order}; swapped answers swap the verdict"
            refuse_task(task, f"truth in order {task.order}", task.truth, rule, "correct the pair")


def _check_copies(tasks: Sequence[JudgeTask], counts: np.ndarray) -> None:
    """counts (C, 2): how often each task's pair is there in either order; a copy too many would be asked without the other."""
    uneven = np.flatnonzero(counts[:, 0] != counts[:, 1])
    if len(uneven):
        task, (ab, ba) = tasks[uneven[0]], counts[uneven[0]]
        rule = f"it is there {ab} times in order ab and {ba} times in order ba, and both are asked together"
        refuse_task(task, "pair_id", task.pair_id, rule, "leave out files or rows that are given twice")


def true_preference(task: JudgeTask) -> str:
    """The verdict that a task knows to be right, in its own order. Raises RowError for another kind of task."""
    if task.kind != "preference":
        refuse_task(task, "kind", task.kind, "this reward is for preferences", "set reward.functions to what is asked")
    return str(task.truth)


def _right(verdict: str | None, truth: str) -> float | None:
    return None if verdict is None else float(verdict == truth)


def _order_of(task: JudgeTask) -> int:
    if task.order is None:
        rule = "swap_consistent is for pairs that are asked in both orders"
        refuse_task(task, "order", None, rule, "prepare the pairs anew, or take correct")
    return ORDERS.index(task.order)
