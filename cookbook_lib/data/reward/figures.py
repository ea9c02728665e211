"""What a report says of the records themselves, gathered as they stream past: ties, margins, lengths that tell, scores.

    pairs     ties kept · margins (count, least, median, most) · share in which the longer answer was chosen
    scores    for each attribute: count, least, mean, most
    both      records of each source, which for label_studio says how far its annotators agreed

A judge that only prefers the longer answer reaches `longer_wins`; whatever is trained on the data has to beat it.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from statistics import fmean, median
from typing import Any

from cookbook_lib.data.reward.records import PreferencePair, RewardRecord, ScoredResponse


class Figures:
    """Eight bytes for each margin or score."""

    def __init__(self) -> None:
        self.ties = 0
        self._sources: Counter[str] = Counter()
        self._margins = array("d")
        self._scores: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._longer, self._unequal = 0, 0

    def add(self, record: RewardRecord) -> None:
        """Count one record."""
        self._sources[str(record.source)] += 1
        if isinstance(record, PreferencePair):
            self._add_pair(record)
        else:
            self._add_scores(record)

    def summary(self) -> dict[str, Any]:
        """What report.json says."""
        sources = dict(self._sources.most_common())
        if self._scores:
            return {
                "scores": {name: _spread(values, fmean) for name, values in self._scores.items()},
                "sources": sources,
            }
        share = round(self._longer / self._unequal, 4) if self._unequal else None
        margins = _spread(self._margins, median)
        return {"ties": self.ties, "margins": margins, "longer_wins": share, "sources": sources}

    def _add_pair(self, pair: PreferencePair) -> None:
        if pair.tie:
            self.ties += 1
            return
        if pair.margin is not None:
            self._margins.append(pair.margin)
        longer = len(pair.chosen) - len(pair.rejected)
        self._longer += longer > 0
        self._unequal += longer != 0

    def _add_scores(self, record: ScoredResponse) -> None:
        for name, value in record.scores.items():
            self._scores[name].append(value)


def _spread(values: array[float], middle: Any) -> dict[str, float]:
    if not values:
        return {"count": 0}
    named = "mean" if middle is fmean else "median"
    return {"count": len(values), "least": min(values), named: round(middle(values), 4), "most": max(values)}
