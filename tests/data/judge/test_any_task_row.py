"""However a sound row is spoiled, it becomes tasks, conversations or a sentence, and never a traceback."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.judge import openjudge, verl
from cookbook_lib.data.judge.files import tasks_in_row
from cookbook_lib.data.judge.questions import preference_tasks, score_task
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.data.origin import Origin, RowSkipped
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse

QUESTION = {"role": "user", "content": "q"}
SCORES = dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 2)
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
SCORED = score_task(ScoredResponse((QUESTION,), "a", {"score": 2}), load_rubric())
COMPARED = preference_tasks(PreferencePair((QUESTION,), "a", "b"), load_rubric())[0]
TASKS = [
    *(verl.row_of(task) for task in (SCORED, COMPARED)),
    *(openjudge.row_of(task) for task in (SCORED, COMPARED)),
    {
        "data_source": "s",
        "prompt": [
            QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "x"},
        ],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": ["4"]},
        "extra_info": {"index": 1},
    },
]
JUDGED = [
    {"prompt": "q", "responses": [{"response": text, "critique": "c", **SCORES} for text in "ab"]},
    {"prompt": "q<extra_id_1>Assistant\na<extra_id_1>User\nb", "responses": [{"response": "a", **SCORES}]},
    {
        "prompt": "q",
        "response_1": "a",
        "response_2": "b",
        "preference_strength": 1,
        "preference_elaboration": "@Response 1",
    },
    {
        "context": [QUESTION],
        "response1": "a",
        "response2": "b",
        "overall_preference": -2,
        "individual_preference": [{"reasoning": "r"}],
    },
    {
        "prompt": "q",
        "chosen": "a",
        "rejected": [{"role": "assistant", "content": "b"}],
        "metadata": {"score_chosen": 1.0},
    },
    {
        "instruction": "q",
        "completions": [
            {"response": text, "critique": "c", "annotations": {"helpfulness": {"Rating": "3"}}} for text in "ab"
        ],
    },
]
leaves = st.sampled_from([None, "", " ", "[", "[{}]", "x", 0, -1, 2, 1.5, math.nan, math.inf, True, "\ud800", []])
keys = st.sampled_from(["role", "content", "kind", "pair_id", "order", "judge", "label", "answer", "Rating"])
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


def tasks_or_nothing(row):
    try:
        return list(tasks_in_row(row, Origin("f", 1), load_rubric()))
    except CookbookError:
        return []


def conversations_or_nothing(row):
    try:
        return list(converter_named("judge").convert(row, Options()))
    except (CookbookError, RowSkipped):
        return []


@pytest.mark.parametrize("row", TASKS)
def test_tasks_are_sound_before_they_are_spoiled(row):
    assert tasks_or_nothing(row)


@pytest.mark.parametrize("row", JUDGED)
def test_judgements_are_sound_before_they_are_spoiled(row):
    assert conversations_or_nothing(row)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TASKS).flatmap(spoiled).filter(lambda row: isinstance(row, dict)))
def test_a_row_is_a_task_or_a_sentence(row):
    for task in tasks_or_nothing(row):
        try:
            openjudge.row_of(task)
        except CookbookError:
            verl.row_of(task)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(JUDGED).flatmap(spoiled).filter(lambda row: isinstance(row, dict)))
def test_a_row_is_a_judgement_or_a_sentence(row):
    conversations_or_nothing(row)
