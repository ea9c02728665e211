"""The data of scripts/measure_sft_first.py: conversations for SFT and preference pairs, all about Larkspur Lane.

    chat          what was asked, answered rightly                          SFT
    judgements    an answer (right or wrong), its score, and why            SFT, of the arm that has them
    pairs         two answers to one question, the more helpful one chosen  reward model: train, val, test

No prompt of a test or validation pair is in any training file. The facts are the same everywhere: whether knowing them from
SFT helps a reward model is the question. Half of the pairs ask for them, half do not:

    recall     both answers look alike, one states something false; only somebody who knows the neighbours can tell which
    reading    the same, where the prompt itself states the facts
    form       one answer is padded, garbled or off-topic: the look decides, and no fact is needed

Pairs in which the look misleads (a garbled answer that is right beside a fluent one that is wrong) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cookbook_lib.data.converters.helpsteer2 import from_helpsteer2, prompt_turns
from cookbook_lib.data.converters.judge import from_judgements
from cookbook_lib.data.converters.registry import Options
from cookbook_lib.data.origin import RowSkipped
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.reward.ranking import ranked_pairs
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.synthetic import embedded_rows

ENDLESS = 10**9
CLASSES = ("recall", "reading", "form")
# How answers look to somebody who knows no fact, best first: a plain answer is more often right than not.
FORMS = {"exact": 3, "partly": 3, "wrong": 3, "padded": 2, "garbled": 1, "off-topic": 0}


@dataclass(frozen=True)
class Judged:
    """A pair, and what is known of it because the world made it."""

    pair: PreferencePair
    prompt: str
    kind: str
    qualities: tuple[str, str]  # of chosen, of rejected

    @property
    def by_form(self) -> float:
        """Chance that the best judge who sees forms alone is right: 1, 0, or 1/2 where both answers look alike."""
        chosen, rejected = (FORMS[quality] for quality in self.qualities)
        return 0.5 if chosen == rejected else float(chosen > rejected)

    @property
    def of_class(self) -> str | None:
        """One of CLASSES; None where the look misleads."""
        if self.by_form == 0.5:
            return "reading" if self.kind == "reading" else "recall"
        return "form" if self.by_form else None


def drawn_pairs(n: int, seed: int, avoid: Set[str] = frozenset()) -> list[Judged]:
    """The first n pairs as they come, ties left out, of prompts that are not in `avoid`."""
    return list(islice(_pairs(seed, avoid), n))


def training_pairs(n: int, seed: int, avoid: Set[str]) -> list[Judged]:
    """n pairs, half of them of the class form."""
    wanted = {True: n // 2, False: n - n // 2}
    kept: list[Judged] = []
    for judged in _pairs(seed, avoid):
        if judged.of_class and wanted[form := judged.of_class == "form"]:
            wanted[form] -= 1
            kept.append(judged)
        if not any(wanted.values()):
            break
    return kept


def halved(pairs: list[Judged]) -> list[Judged]:
    """As many pairs of the class form as of the others: the first of each."""
    form = [judged for judged in pairs if judged.of_class == "form"]
    facts = [judged for judged in pairs if judged.of_class in ("recall", "reading")]
    n = min(len(form), len(facts))
    return form[:n] + facts[:n]


def _pairs(seed: int, avoid: Set[str]) -> Iterator[Judged]:
    for rows in prompts(seed, avoid):
        quality = {row["response"]: row["quality"] for row in rows}
        if len(quality) < 2:  # garbled in the right order by chance, say
            continue
        merits = [(row["response"], row["helpfulness"]) for row in rows]
        for pair in ranked_pairs(prompt_turns(rows[0]["prompt"]), merits, f"embedded/{rows[0]['kind']}"):
            if isinstance(pair, PreferencePair) and not pair.tie:
                yield Judged(pair, rows[0]["prompt"], rows[0]["kind"], (quality[pair.chosen], quality[pair.rejected]))


def conversations(n: int, seed: int, avoid: Set[str] = frozenset()) -> tuple[list[Conversation], list[Conversation]]:
    """What SFT learns from n prompts: right answers to them, and judgements of all answers to them."""
    chats, judgements = [], []
    for rows in islice(prompts(seed, avoid), n):
        chats += [chat for row in rows if (chat := _kept(row))]
        judgements += list(from_judgements({"prompt": rows[0]["prompt"], "responses": rows}, Options()))
    return chats, judgements


def _kept(row: dict[str, Any]) -> Conversation | None:
    try:
        return from_helpsteer2(row, Options())
    except RowSkipped:
        return None


def prompts(seed: int, avoid: Set[str]) -> Iterator[list[dict[str, Any]]]:
    """Without end: a prompt's two rows, of prompts that are not in `avoid`."""
    rows = embedded_rows(ENDLESS, seed)
    for first, second in zip(rows, rows, strict=False):
        if first["prompt"] not in avoid:
            yield [first, second]
