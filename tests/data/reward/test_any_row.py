"""However a sound row is spoiled, a reward converter answers with records or with a sentence, and never with a traceback."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.reward.converters import REWARD_CONVERTERS
from cookbook_lib.data.reward.records import RewardRecord
from cookbook_lib.data.reward.registry import RewardOptions

QUESTION, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}
TURNS = [{"from": "human", "value": "q"}]
GOOD, BAD = {"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}
REPLIES = [{"role": "assistant", "text": text, "rank": rank, "replies": []} for text, rank in (("a", 0), ("b", 1))]
SCORES = dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 2)
RATED = [{"answer": {"role": "assistant", "content": text, "label": {"helpfulness": n}}} for n, text in enumerate("ab")]
CHOSEN = [
    {"answer": {"role": "assistant", "content": text, "label": {"preference": "A", "preference_strength": 1}}}
    for text in "ab"
]
RESULTS = [
    {"type": "pairwise", "from_name": "pw", "value": {"selected": "left"}},
    {"type": "choices", "from_name": "best", "value": {"choices": ["answer_1"]}},
    {"type": "choices", "from_name": "answer1_rank", "value": {"choices": ["1"]}},
    {"type": "rating", "from_name": "answer1_rating", "value": {"rating": 3}},
]
ANNOTATED = [
    {"completed_by": {"id": n}, "was_cancelled": False, "updated_at": "2026", "result": RESULTS[n:]} for n in range(4)
]
OPINION = {"annotations": {"helpfulness": {"Rating": "3"}, "honesty": {"Rating": "N/A"}}, "overall_score": 7.0}
SOLUTIONS = {f"{n}b": {"is_correct": n == 6, "solution": f"A: {n}"} for n in (6, 175)}
SOUND = {
    "gsm8k": [{"question": "q", "ground_truth": "1", **SOLUTIONS}],
    "helpsteer2": [
        {"prompt": "q", "response": "a", **SCORES},
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1},
    ],
    "helpsteer2-preference": [{"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1}],
    "helpsteer3": [{"context": [QUESTION], "response1": "a", "response2": "b", "overall_preference": -2}],
    "hh": [{"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}],
    "kto": [
        {"messages": [QUESTION, ANSWER], "label": True, "tools": "[]"},
        {"conversations": [*TURNS, GOOD], "label": False, "system": "s"},
        {"prompt": [QUESTION], "completion": [ANSWER], "label": True},
    ],
    "label_studio": [{"data": {"prompt": "q", "answer1": "a", "answer2": "b"}, "annotations": ANNOTATED}],
    "oasst": [{"prompt": {"role": "prompter", "text": "q", "lang": "en", "replies": REPLIES}}],
    "openjudge": [
        {"chosen": json.dumps([QUESTION, ANSWER]), "rejected": json.dumps([QUESTION, OTHER])},
        {"input": [QUESTION], "output": RATED, "source": "s"},
        {"input": [QUESTION], "output": CHOSEN},
    ],
    "preferences": [
        {"prompt": "q", "chosen": [ANSWER], "rejected": "b", "score_chosen": 2, "score_rejected": 1, "system": "s"},
        {"instruction": "q", "input": "i", "history": [["a", "b"]], "chosen": "a", "rejected": "b", "margin": 1},
        {"conversations": TURNS, "chosen": GOOD, "rejected": BAD},
        {
            "context": [QUESTION],
            "completions": [{"rank": n, "completion": [answer]} for n, answer in enumerate((ANSWER, OTHER))],
        },
    ],
    "ultrafeedback": [
        {"instruction": "q", "completions": [{"response": text, **OPINION} for text in "ab"]},
        {
            "prompt": "q",
            "chosen": [QUESTION, ANSWER],
            "rejected": [QUESTION, OTHER],
            "score_chosen": 3.0,
            "score_rejected": 3.0,
        },
    ],
}

leaves = st.sampled_from([None, "", " ", "[", "[{}]", "x", 0, -1, 2, 1.5, math.nan, math.inf, True, "\ud800", []])
keys = st.sampled_from(["role", "content", "text", "type", "from", "value", "id", "annotations", "Rating"])
anything = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2))


@st.composite
def spoiled(draw, value):
    """The value with something else in one place, at any depth."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(anything)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(spoiled(value[place])), *value[place + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: inner for name, inner in value.items() if name != key}
    return rest if draw(st.integers(0, 5)) == 0 else rest | {key: draw(spoiled(value[key]))}


def records_or_nothing(name, kind, row):
    """What the converter makes of a row; nothing where it refuses, skips, or cannot make this kind of it."""
    try:
        made = REWARD_CONVERTERS[name].convert(row, kind, RewardOptions())
        return [made] if isinstance(made, RewardRecord) else list(made)
    except (CookbookError, RowSkipped):
        return []


def test_every_converter_is_tried():
    assert SOUND.keys() == REWARD_CONVERTERS.keys()


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in SOUND.items() for row in rows])
def test_rows_are_sound_before_they_are_spoiled(name, row):
    made = [each for kind in REWARD_CONVERTERS[name].kinds for each in records_or_nothing(name, kind, row)]
    assert made
    assert all(isinstance(each, RewardRecord) for each in made)


@pytest.mark.parametrize("name", sorted(REWARD_CONVERTERS))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_row_is_a_record_or_a_sentence(name, data):
    row = data.draw(st.sampled_from(SOUND[name]).flatmap(spoiled).filter(lambda row: isinstance(row, dict)))
    for kind in REWARD_CONVERTERS[name].kinds:
        assert all(isinstance(each, RewardRecord | RowError) for each in records_or_nothing(name, kind, row))
