"""Train and test: by group, in proportion, by the seed alone.

    group     all conversations on one prompt go to one side; a split by row would test on prompts seen in training
    stratum   source x user turns x tools: each is divided in the same ratio
    seed      groups of a stratum stand in the order of hash(seed, group), and test takes the first of them

So the result depends neither on the order of rows nor on how often it was computed. Memory: 24 bytes a conversation.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field

from cookbook_lib.config import CookbookError
from cookbook_lib.data.records import Conversation


def stratum_of(conversation: Conversation) -> str:
    """What must be represented on both sides: where it is from, how long the talk is, whether tools are used."""
    asked = sum(message["role"] == "user" for message in conversation.messages)
    return f"{conversation.source}/{min(asked, 3)}/{'tools' if conversation.tools else 'plain'}"


@dataclass
class Groups:
    """Counts conversations by group as they stream past, then says which groups are the test set."""

    strata: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    stratum: dict[str, str] = field(default_factory=dict)

    def add(self, group: str, stratum: str) -> None:
        """One more conversation of this group; a group in several strata belongs to the first by name."""
        self.rows[group] = self.rows.get(group, 0) + 1
        self.stratum[group] = min(stratum, self.stratum.get(group, stratum))

    def test_groups(self, ratio: float, seed: int) -> set[str]:
        """The groups of the test set: as near to `ratio` of each stratum's rows as whole groups allow.

        Small strata share their remainders, so the whole also comes near to ratio. At least one group goes to each
        side where there are two. Raises CookbookError for a ratio outside [0, 1).
        """
        check_ratio(ratio)
        if ratio == 0 or len(self.rows) < 2:
            return set()
        chosen, owed = set(), 0.0
        for groups in self._ordered(seed):
            for group in groups:
                owed += ratio * self.rows[group]
            taken = 0
            for group in groups:
                if self.rows[group] / 2 <= owed - taken:  # a group too large for what is owed is passed over
                    chosen.add(group)
                    taken += self.rows[group]
            owed -= taken
        return self._both_sides(chosen, seed)

    def _ordered(self, seed: int) -> list[list[str]]:
        by_stratum: dict[str, list[str]] = defaultdict(list)
        for group, stratum in self.stratum.items():
            by_stratum[stratum].append(group)
        return [sorted(by_stratum[name], key=lambda group: _rank(seed, group)) for name in sorted(by_stratum)]

    def _both_sides(self, chosen: set[str], seed: int) -> set[str]:
        in_order = sorted(self.rows, key=lambda group: _rank(seed, group))
        if not chosen:
            return {min(in_order, key=lambda group: self.rows[group])}
        return chosen - {in_order[-1]} if len(chosen) == len(in_order) else chosen


def check_ratio(ratio: float) -> None:
    """Raise CookbookError unless 0 <= ratio < 1."""
    if not 0 <= ratio < 1:
        raise CookbookError(f"test ratio is {ratio}, but it must lie in [0, 1); 0.1 puts a tenth of the prompts aside")


def _rank(seed: int, group: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
