"""Pairs as most people publish them, and answers marked one by one."""

import json
from collections import Counter

import pytest

from cookbook_lib.data.json_rows import json_rows
from cookbook_lib.data.origin import RowError
from cookbook_lib.data.reward.converters.kto import from_label
from cookbook_lib.data.reward.converters.preferences import from_preference
from cookbook_lib.data.reward.registry import RewardOptions

USER, ASSISTANT = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
OTHER = {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "S"}


def pairs(row):
    return list(from_preference(row, "pairs", RewardOptions()))


def scored(row):
    return from_label(row, "scores", RewardOptions())


def turn(who, text):
    return {"from": who, "value": text}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Why?", "chosen": "Because.", "rejected": "So."}, [USER]),
        ({"question": "Why?", "chosen": "Because.", "rejected": "So.", "system": "S"}, [SYSTEM, USER]),
        ({"prompt": [SYSTEM, USER], "chosen": [ASSISTANT], "rejected": [OTHER], "system": "T"}, [SYSTEM, USER]),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, OTHER]}, [USER]),
        ({"chosen": json.dumps([USER, ASSISTANT]), "rejected": json.dumps([USER, OTHER])}, [USER]),
        (
            {
                "conversations": [turn("system", "S"), turn("human", "Why?")],
                "chosen": turn("gpt", "Because."),
                "rejected": turn("gpt", "So."),
            },
            [SYSTEM, USER],
        ),
        ({"instruction": "Why?", "input": "", "chosen": "Because.", "rejected": "So."}, [USER]),
        (
            {
                "instruction": "c",
                "input": "d",
                "history": [["a", "b"]],
                "system": "S",
                "chosen": "Because.",
                "rejected": "So.",
            },
            [
                SYSTEM,
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c\n\nd"},
            ],
        ),
    ],
)
def test_every_published_form(row, prompt):
    (pair,) = pairs(row)
    assert list(pair.prompt) == prompt
    assert (pair.chosen, pair.rejected, pair.margin, pair.tie) == ("Because.", "So.", None, False)
    assert pair.source == "preferences"


@pytest.mark.parametrize(
    "names",
    [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating")],
)
def test_scores_make_margins_and_ties(names):
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "So."}
    (pair,) = pairs(row | dict(zip(names, (4.5, 3), strict=True)))
    assert (pair.margin, pair.tie) == (1.5, False)
    (pair,) = pairs(row | dict(zip(names, (3, 3), strict=True)))
    assert (pair.margin, pair.tie) == (None, True)
    with pytest.raises(RowError, match=rf"{names[0]} is 2, but the chosen answer has no lower score .* \(3\); swap"):
        pairs(row | dict(zip(names, (2, 3), strict=True)))
    assert pairs(row | {"margin": 2})[0].margin == 2


def test_ranked_completions_make_every_pair():
    """NeMo RL: ranks may repeat, and the lowest is best."""
    ranks = {"a": 1, "b": 0, "c": 1}
    completions = [
        {"rank": rank, "completion": [{"role": "assistant", "content": text}]} for text, rank in ranks.items()
    ]
    made = pairs({"context": [USER], "completions": completions})
    assert [(pair.chosen + pair.rejected, pair.margin, pair.tie) for pair in made] == [
        ("ba", 1, False),
        ("bc", 1, False),
        ("ac", None, True),
    ]
    assert all(pair.prompt == (USER,) for pair in made)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "Why?", "chosen": "x"}, "rejected is missing, but the row must have it"),
        ({"chosen": "x", "rejected": "y"}, "prompt is missing, but answers that are text need a prompt"),
        ({"prompt": "Why?", "chosen": "x", "rejected": "x"}, "the two answers of a pair differ"),
        ({"prompt": "Why?", "chosen": " ", "rejected": "x"}, "chosen is ' ', but an answer is not empty"),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, USER, OTHER]}, "both answers must continue the same"),
        (
            {"conversations": [turn("human", "Why?")], "chosen": "x", "rejected": "y"},
            r"chosen is 'x', but .* \{from, value\}",
        ),
        (
            {"conversations": [turn("human", "q")], "chosen": turn("gpt", "x"), "rejected": turn("narrator", "y")},
            "from is 'narrator'",
        ),
        ({"conversations": None, "chosen": turn("gpt", "x"), "rejected": turn("gpt", "y")}, "conversations is None"),
        ({"prompt": "Why?", "chosen": "x", "rejected": "y", "tools": [{"name": "look"}]}, "no descriptions of tools"),
        ({"prompt": "Why?", "chosen": "x", "rejected": "y", "margin": "2"}, "margin is '2', but it must be a number"),
        ({"prompt": "Why?", "chosen": "x", "rejected": "y", "margin": -1}, "margin is -1.0, but a margin is 0 or more"),
        ({"context": "Why?", "completions": [{"rank": 0}]}, "completions is .* but there are two or more"),
        ({"context": "Why?", "completions": ["x", "y"]}, r"completions\[0\] is 'x', but it is an object"),
        ({"context": "Why?", "completions": [{"completion": "x"}] * 2}, r"completions\[0\].rank is missing"),
    ],
)
def test_rows_that_are_no_pairs(row, sentence):
    with pytest.raises(RowError, match=sentence):
        pairs(row)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ASSISTANT]},
        {"conversations": [turn("human", "Why?"), turn("gpt", "Because.")]},
        {"prompt": "Why?", "completion": "Because."},
        {"prompt": [USER], "completion": [ASSISTANT]},
    ],
)
@pytest.mark.parametrize(("label", "score"), [(True, 1.0), (False, 0.0)])
def test_marked_answers(row, label, score):
    made = scored(row | {"label": label})
    assert (made.prompt, made.response, made.scores) == ((USER,), "Because.", {"score": score})


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"messages": [USER, ASSISTANT]}, "label is missing, but a label is true or false"),
        ({"messages": [USER, ASSISTANT], "label": "true"}, "label is 'true', but"),
        ({"messages": [USER], "label": True}, r"messages\[0\].role is 'user', but the last message is the answer"),
        ({"messages": [ASSISTANT], "label": True}, "prompt is missing"),
        ({"label": True}, "completion is missing"),
        ({"conversations": [], "label": True}, "conversations is .* but it must be a list"),
    ],
)
def test_rows_that_mark_no_answer(row, sentence):
    with pytest.raises(RowError, match=sentence):
        scored(row)


def rows_of(path):
    return [row for _, row in json_rows(path, on_bad_row=lambda error: pytest.fail(str(error)))]


def test_the_published_pairs(real_data):
    """80 of 300 have a system message; none is broken."""
    made = [pair for row in rows_of(real_data / "llamafactory/dpo_en_demo.json.gz") for pair in pairs(row)]
    assert len(made) == 300
    assert Counter(pair.prompt[0]["role"] for pair in made) == {"user": 220, "system": 80}
    assert {pair.prompt[-1]["role"] for pair in made} == {"user"}


def test_the_published_labels(real_data):
    made = [scored(row) for row in rows_of(real_data / "llamafactory/kto_en_demo.json.gz")]
    assert Counter(each.scores["score"] for each in made) == {1.0: 150, 0.0: 150}
    assert Counter(len(each.prompt) for each in made)[1] == 223
