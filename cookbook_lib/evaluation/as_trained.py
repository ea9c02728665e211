"""Held-out rows as their run read them, so that its validation and what is measured afterwards speak of the same texts.

    fits data.max_length       as it is
    too long                   without the prompt's oldest turns, for all its answers alike                  counted
    too long even so           left out, as are answers that the template makes equal: training never saw them   counted

A judge scores conversations of any length; what it is worth on whole prompts is another figure.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.candidates import EncodeCandidates, TooLong
from cookbook_lib.data.reward.records import RewardRecord

Record = TypeVar("Record", bound=RewardRecord)
SHORTENED = "without their oldest turns"


def as_trained(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncation: TooLong,
    attributes: Sequence[str] = (),
    report: Report,
) -> list[Record]:
    """The records under the prompts that training leaves of them; `report` counts those shortened and those left out.

    max_length, truncation: data.max_length (tokens of a prompt with an answer) and data.truncation of the run. attributes:
    pointwise.attributes, for scored responses.
    """
    encode, found = EncodeCandidates(tokenizer, max_length, truncation, tuple(attributes)), list[Record]()
    for record in records:
        try:
            short = encode.shortened(record)
        except RowRefused as refusal:
            report.drop(record.origin, refusal.reason, why=str(refusal))
            continue
        if short is not record:
            report.repair(SHORTENED)
        found.append(short)
    return found


def left_out(report: Report) -> Iterator[str]:
    """What a reader must know of the rows: how many were left out, and why, and how many were shortened."""
    for reason, count in report.reasons.most_common():
        why = report.examples[reason][0].get("why")
        said = f"{reason}, as in training; the first: {why}" if why else reason
        yield f"left out, {count:,} of {report.counts['rows_read']:,} rows read: {said}"
    if shortened := report.repairs[SHORTENED]:
        yield f"{shortened:,} of {report.kept:,} prompts {SHORTENED}, as training reads them"
