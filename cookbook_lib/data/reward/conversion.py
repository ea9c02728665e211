"""Rows through a reward converter: pairs or scores out, and everything else into the report.

    rows ─▶ gather ─▶ convert ─▶ contamination ─▶ ties, gaps ─▶ records
              │          │             │              │
              └──────────┴─ report ────┴──────────────┘      refused, skipped or dropped, each with its place

Ties are decided here and in one way for all sources: dropped, or kept with `tie` set. Either way they are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from cookbook_lib.data.origin import Origin, RowError, RowSkipped, shown
from cookbook_lib.data.records import opening_group
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.decontamination import Contamination
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord
from cookbook_lib.data.reward.registry import Kind, Made, RewardConverter, RewardOptions
from cookbook_lib.data.sources import Row

TIE = "a tie: neither answer is better"


def converted_rewards(
    rows: Iterable[Row], converter: RewardConverter, kind: Kind, options: RewardOptions, report: Report
) -> Iterator[RewardRecord]:
    """Rows -> records with origin and group; what cannot be converted goes to the report."""
    for origin, row in converter.gather(rows) if converter.gather and kind == "pairs" else rows:
        try:
            made = converter.convert(row, kind, options)
            listed = [made] if isinstance(made, RewardRecord) else list(made)
        except RowError as error:
            report.refuse(error.at(origin))
        except RowSkipped as skipped:
            report.skip(origin, skipped.reason)
        else:
            yield from _labelled(listed, origin, report)


def uncontaminated(
    records: Iterable[RewardRecord], contamination: Contamination, report: Report
) -> Iterator[RewardRecord]:
    """The records that are in none of the benchmarks (decontamination.py)."""
    for record in records:
        reason = contamination(record)
        if reason:
            report.drop(record.origin, reason, same_as=contamination.place(record))
        else:
            yield record


def kept_pairs(records: Iterable[RewardRecord], options: RewardOptions, report: Report) -> Iterator[RewardRecord]:
    """The records without the ties and the narrow pairs that `options` leave out."""
    for record in records:
        reason = _left_out(record, options) if isinstance(record, PreferencePair) else None
        if reason:
            report.drop(record.origin, reason)
        else:
            yield record


def _left_out(pair: PreferencePair, options: RewardOptions) -> str | None:
    if pair.tie:
        return TIE if options.ties == "drop" else None
    if pair.margin is not None and pair.margin < options.min_gap:
        return f"a margin below {options.min_gap:g}"
    return None


def _labelled(made: Iterable[Made], origin: Origin, report: Report) -> Iterator[RewardRecord]:
    for record in made:
        if isinstance(record, RowError):
            detail: Mapping[str, str] = {"field": record.field, "found": shown(record.found), "fix": record.fix}
            report.drop(origin, record.rule, **detail)
        else:
            yield replace(record, origin=origin, group=record.group or opening_group(record.prompt))
