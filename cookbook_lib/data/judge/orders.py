"""Which response of a pair is shown first, the name that both orders share, and which rows are a pair.

    (prompt, chosen, rejected) ─▶ a coin of its texts ─▶ a, b      order "ab" shows a as A, order "ba" shows b as A

The coin is a digest: the same in every run, and, as nobody chose it, it says nothing about which response is better.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.messages import Message


def swaps(prompt: str, first: str, second: str) -> bool:
    """Whether the coin of these texts has the second response shown as A."""
    return _digest(prompt, first, second)[0] % 2 == 1


def pair_name(prompt: Sequence[Message], chosen: str, rejected: str, tie: bool) -> str:
    """16 hex digits for this judgement of this pair; the opposite judgement has another name, a tie has one."""
    chosen, rejected = sorted((chosen, rejected)) if tie else (chosen, rejected)
    return _digest(prompt_text(prompt), chosen, rejected, str(tie)).hex()


def prompt_text(prompt: Sequence[Message]) -> str:
    """A prompt as one text, different for different prompts."""
    return json.dumps(list(prompt), ensure_ascii=False, sort_keys=True)


def asked_together(tasks: Iterable[JudgeTask]) -> list[list[int]]:
    """Row numbers of both orders of each pair, and every other row alone, in the order of their first rows.

    A pair that is there twice (files that overlap) is two: no unit has more than its two orders.
    """
    copies: Counter[tuple[str, str | None]] = Counter()
    units: dict[Hashable, list[int]] = {}
    for row, task in enumerate(tasks):
        name: Hashable = row
        if task.pair_id is not None:
            copies[task.pair_id, task.order] += 1
            name = (task.pair_id, copies[task.pair_id, task.order])
        units.setdefault(name, []).append(row)
    return list(units.values())


def _digest(*texts: str) -> bytes:
    lengths = ",".join(str(len(text)) for text in texts)  # so that no text can borrow from its neighbour
    return hashlib.blake2b("\x1f".join([lengths, *texts]).encode("utf-8", "replace"), digest_size=8).digest()
