"""Samples for the tests of rewards: a text, and a task of each kind whose truth is given."""

from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.origin import Origin
from cookbook_lib.training.rewards import Sample

ASKED = ({"role": "user", "content": "?"},)


def score(text, truth, row=1, **fields):
    return Sample(text, JudgeTask(ASKED, "score", truth, "test", origin=Origin("scores.jsonl", row)), **fields)


def preference(text, truth, pair=None, order=None, row=1, **fields):
    origin = Origin("pairs.jsonl", row)
    task = JudgeTask(ASKED, "preference", truth, "test", pair_id=pair, order=order, origin=origin)
    return Sample(text, task, **fields)


def answer(text, truth, row=1, **fields):
    return Sample(text, JudgeTask(ASKED, "answer", truth, "test", origin=Origin("answers.jsonl", row)), **fields)
