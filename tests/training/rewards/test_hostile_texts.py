"""Texts that nobody foresaw: no function raises, none is slow, and what cannot be read never earns more than what can."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.training.rewards import open_reward
from tests.training.rewards.samples import answer, preference, score

PIECES = [
    "Score:", "Score: 3", "Score: 3.5", "score: 2", "**Score: 1**", "Preference: A", "Preference: tie", "Preference: A or B",
    "Response B is better than Response A", "<think>", "</think>", "####", "#### 72", "A: 72", "Answer:", "Answer: teal",
    "\\boxed{", "\\boxed{2}", "}", "{", "[", "<tool_call>", "</tool_call>", '{"name": "f", "arguments": {}}', "\n", "\r\n",
    "\u2028", "\x00", "-", "\u2212", ",", ".", "0", "4", "72", "\u0663", "\ufeff", "\U0001f600", " ", "*",
]  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
TEXTS = st.one_of(TEXTS, st.tuples(TEXTS, TEXTS).map("\n".join))
ASKED = {
    "score": (lambda text, **fields: score(text, 3, **fields), ["exact", "distance", "exponential"]),
    "preference": (lambda text, **fields: preference(text, "A", "p", **fields), ["correct", "swap_consistent"]),
    "answer": (lambda text, **fields: answer(text, "72", **fields), ["gsm8k", "exact_match", "char_count"]),
    "calls": (lambda text, **fields: answer(text, CALL, **fields), ["tool_call"]),
}
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def sampled(kind, text, i, **fields):
    """A sample of this kind; those of a pair in alternating orders, so that both are there from two on."""
    order = {"order": ("ab", "ba")[i % 2]} if kind == "preference" else {}
    return ASKED[kind][0](text, **order, **fields)


@pytest.mark.parametrize("kind", ASKED)
@given(texts=st.lists(st.tuples(TEXTS, st.integers(1, 8), st.booleans()), min_size=2, max_size=8), data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_unread_text_earns_more_than_any_that_is_read(kind, texts, data):
    """Whatever the functions, their weights and how they are combined; within a group where they are normalised."""
    names = [data.draw(st.sampled_from(ASKED[kind][1])), *data.draw(st.sampled_from([[], ["format"]]))]
    config = RewardConfig(
        functions=names,
        weights=data.draw(st.lists(st.floats(1e-3, 1e3), min_size=len(names), max_size=len(names))),
        combine=data.draw(st.sampled_from(["sum", "normalise"])),
        overlong_buffer=data.draw(st.integers(0, 8)),
        overlong_penalty=data.draw(st.floats(1e-3, 1e3)),
    )
    reward = open_reward(config, max_new_tokens=8)
    samples = [sampled(kind, text, i, tokens=n, finished=end) for i, (text, n, end) in enumerate(texts)]
    result = reward(samples)
    assert np.isfinite(result.total).all()
    assert result.plain.min() >= np.float32(reward.lowest) or np.isclose(result.plain.min(), reward.lowest, rtol=1e-6)
    if not result.parsed.all() and result.parsed.any():
        assert result.total[~result.parsed].max() <= result.total[result.parsed].min()
    assert len(set(result.total[~result.parsed].tolist())) <= 1


@pytest.mark.parametrize("kind", ASKED)
@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_what_was_cut_earns_what_nothing_earns(kind, text):
    reward = open_reward(RewardConfig(functions=[ASKED[kind][1][0], "format"]), max_new_tokens=8)
    cut, empty = sampled(kind, text, 0, finished=False), sampled(kind, "", 1)
    assert reward([cut, empty]).total.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
def test_a_piece_repeated_without_end_costs_no_time(kind, piece):
    """Completions repeat themselves; a reader that is quadratic in them stops the training. 20,000 pieces a text."""
    text = piece * 20_000
    samples = [sampled(kind, text, i) for i in range(2)]
    started = time.process_time()
    for name in [*ASKED[kind][1], "format"]:
        open_reward(RewardConfig(functions=[name]), max_new_tokens=8)(samples)
    assert time.process_time() - started < 5


def test_every_pair_of_pieces_is_read_or_not_and_raises_nothing():
    texts = [between.join(pair) for pair in product(PIECES, repeat=2) for between in ("", "\n")]
    for kind, (_, names) in ASKED.items():
        samples = [sampled(kind, text, i) for i, text in enumerate(texts)]
        for name in [*names, "format"]:
            assert set(open_reward(RewardConfig(functions=[name]), max_new_tokens=8)(samples).parts) == {name}


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_format_reads_what_any_reward_of_answers_reads(text):
    read = {
        name: open_reward(RewardConfig(functions=[name]), max_new_tokens=8)([answer(text, truth)]).parsed[0]
        for names, truth in ((ASKED["answer"][1], "72"), (ASKED["calls"][1], CALL), (["format"], "72"))
        for name in names
    }
    assert read.pop("format") == any(read.values())
