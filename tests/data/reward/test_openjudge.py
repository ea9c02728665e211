"""OpenJudge's three layouts, RM-Gallery's two habits, and the sentence for labels that say nothing."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import RowError
from cookbook_lib.data.reward.converters.openjudge import from_openjudge
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.data.reward.registry import RewardOptions

USER = {"role": "user", "content": "Why?"}


def output(text, **label):
    return {"answer": {"role": "assistant", "content": text, "label": label}}


def row(*outputs, **fields):
    return {"input": [USER], "output": list(outputs), "source": "rewardbench2"} | fields


def convert(given, kind="pairs", **options):
    return list(from_openjudge(given, kind, RewardOptions(**options)))


def seen(made):
    return [(pair.chosen + pair.rejected, pair.margin, pair.tie) for pair in made]


def test_conversations_as_json_strings():
    whole = {name: json.dumps([USER, {"role": "assistant", "content": name}]) for name in ("chosen", "rejected")}
    (pair,) = convert(whole)
    assert (pair.prompt, pair.chosen, pair.rejected, pair.source) == ((USER,), "chosen", "rejected", "openjudge")


def test_pointwise_labels_are_scores():
    (made,) = convert(row(output("a", helpfulness=3, verbosity=1, preference=None)), "scores")
    assert (made.prompt, made.response) == ((USER,), "a")
    assert made.scores == {"helpfulness": 3, "verbosity": 1, "score": 3}
    assert made.source == "openjudge/rewardbench2"
    (mixed,) = convert(row(output("a", helpfulness=3, verbosity=1)), "scores", aspect=(("verbosity", -1.0),))
    assert mixed.scores["score"] == -1


def test_scores_of_several_answers_are_pairs_too():
    made = convert(row(*(output(text, helpfulness=score) for text, score in (("a", 1), ("b", 4), ("c", 1)))))
    assert seen(made) == [("ba", 3, False), ("bc", 3, False), ("ac", None, True)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"preference": "A"}, {"preference": "A"}, ("ab", None, False)),
        ({"preference": "B"}, {"preference": "B"}, ("ba", None, False)),
        (
            {"preference": "B", "preference_strength": 3},
            {"preference": "B", "preference_strength": 3},
            ("ba", 3, False),
        ),
        ({"preference": "A", "preference_strength": -2}, {"preference": "A"}, ("ab", 2, False)),
        ({"preference": "tie"}, {"preference": "tie"}, ("ab", None, True)),
        ({"preference": "chosen"}, {"preference": "rejected"}, ("ab", None, False)),
        ({"preference": "rejected"}, {"preference": "chosen"}, ("ba", None, False)),
    ],
)
def test_preferences(first, second, expected):
    assert seen(convert(row(output("a", **first), output("b", **second)))) == [expected]


def test_input_and_output_as_json_strings():
    given = row(output("a", helpfulness=2))
    given |= {name: json.dumps(given[name]) for name in ("input", "output")}
    assert convert(given, "scores")[0].scores["score"] == 2


def test_equal_answers_are_the_pair_s_error_alone():
    made = convert(row(output("a", helpfulness=1), output("a", helpfulness=2), output("b", helpfulness=3)))
    assert [isinstance(each, RowError) for each in made] == [False, False, True]


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"messages": [USER]}, "pairs", "input is missing, but a row has chosen and rejected, or input and output"),
        (row(), "pairs", r"output is \[\], but a row has"),
        (row("a"), "scores", r"output\[0\].answer is 'a', but an output holds an answer"),
        (row({"answer": {"content": 3}}), "scores", r"output\[0\].answer.content is 3, but it must be a string"),
        (row({"answer": {"content": "a", "label": 3}}), "scores", r"answer.label is 3, but a label holds"),
        (row(output("a")), "scores", r"answer.label is \{\}, but scores are made of labels"),
        (row(output("a", helpfulness="3")), "scores", "label.helpfulness is '3', but a score is a number"),
        (row(output("a", helpfulness=3)), "pairs", "a pair needs two; make scores of this file: --kind scores"),
        (row(output("a", preference="A")), "pairs", "a preference is between two"),
        (row(output("a", preference="A"), output("b", preference="B")), "pairs", "both labels say A, both B"),
        (row(output("a", preference="C"), output("b", preference="C")), "pairs", "is \\('C', 'C'\\), but both labels"),
        (
            row(output("a", preference="A", preference_strength="2"), output("b", preference="A")),
            "pairs",
            "preference_strength is '2', but a strength is a number",
        ),
        (row(output("a", preference="A"), output("b", preference="A")), "scores", "leave --kind out to make pairs"),
        ({"chosen": "[]", "rejected": "[]"}, "scores", "this layout holds pairs; leave --kind out"),
        ({"chosen": "no JSON", "rejected": "x"}, "pairs", "prompt is missing"),
        (row(output("a", helpfulness=1), input="[{"), "scores", "input is '\\[\\{', but it must be JSON"),
    ],
)
def test_rows_that_break_the_format(given, kind, sentence):
    with pytest.raises(RowError, match=sentence):
        convert(given, kind)


def test_an_unknown_aspect_is_named():
    with pytest.raises(CookbookError, match="aspect 'tone' is not scored here; choose from helpfulness"):
        convert(row(output("a", helpfulness=1)), "scores", aspect=(("tone", 1.0),))


def test_parquet_files_of_both_layouts_become_files_of_ours(tmp_path):
    """Parquet gives all labels of a column the same keys, and nulls for those that a label does not have."""
    labels = [{"preference": "B", "preference_strength": 2}, {"preference": "A", "preference_strength": None}]
    compared = [row(output("a", **label), output(f"b{n}", **label)) for n, label in enumerate(labels)]
    scored = [row(output(text, helpfulness=score, preference=None)) for text, score in (("a", 0), ("b", 4))]
    for kind, rows in (("pairs", compared), ("scores", scored)):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{kind}.parquet")
        job = RewardJob(
            "openjudge", tmp_path / kind, inputs=(str(tmp_path / f"{kind}.parquet"),), kind=kind, test_ratio=0
        )
        assert prepare_reward(job)["kept"] == 2
    pairs = read_pairs(str(tmp_path / "pairs/train.parquet"))
    assert [(pair.chosen, pair.rejected, pair.margin) for pair in pairs] == [("b0", "a", 2.0), ("a", "b1", None)]
    assert [made.scores for made in read_scores(str(tmp_path / "scores/train.parquet"))] == [
        {"score": 0.0},
        {"score": 4.0},
    ]
