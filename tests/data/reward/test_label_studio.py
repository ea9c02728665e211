"""Label Studio exports: three kinds of tag, several annotators, their conflicts, and what was cancelled or left empty."""

import dataclasses
import json

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.reward.answer_names import Answers
from cookbook_lib.data.reward.converters.label_studio import from_task
from cookbook_lib.data.reward.files import read_pairs
from cookbook_lib.data.reward.judgements import FIRST, SECOND, TIE, decide, judgements
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.data.reward.registry import RewardOptions

DATA = {"prompt": "Why?", "answer1": "Because.", "answer2": "So."}


def pairwise(side, name="pw"):
    return {"id": "r", "type": "pairwise", "from_name": name, "to_name": name, "value": {"selected": side}}


def choice(value, name="best_answer"):
    return {"type": "choices", "from_name": name, "to_name": "output_dialogue", "value": {"choices": [value]}}


def rating(value, name):
    return {"type": "rating", "from_name": name, "to_name": "output_dialogue", "value": {"rating": value}}


def annotation(*results, who=1, **fields):
    return {"id": who, "completed_by": who, "result": list(results), "was_cancelled": False} | fields


def task(*annotations, **data):
    return {"id": 7, "data": data or DATA, "annotations": list(annotations), "drafts": [], "predictions": []}


def convert(row, kind="pairs", **options):
    return list(from_task(row, kind, RewardOptions(**options)))


def seen(made):
    return [(pair.chosen, pair.rejected, pair.tie, pair.margin, pair.source.partition("/")[2]) for pair in made]


@pytest.mark.parametrize(
    ("result", "chosen"),
    [
        (pairwise("left"), "Because."),
        (pairwise("right"), "So."),
        (choice("answer_1"), "Because."),
        (choice("Answer 2"), "So."),
        (choice("answer2"), "So."),
        (choice("left"), "Because."),
        (choice("1>2", "answer_ranking"), "Because."),
        (choice("2>1", "answer_ranking"), "So."),
        (choice("1 < 2", "answer_ranking"), "So."),
    ],
)
def test_one_annotator_one_tag(result, chosen):
    (pair,) = convert(task(annotation(result)))
    assert pair.chosen == chosen
    assert (pair.tie, pair.margin, pair.source) == (False, None, "label_studio/single")
    assert pair.prompt == ({"role": "user", "content": "Why?"},)


@pytest.mark.parametrize("said", ["all_equal", "Tie", "Neither", "1=2", "All answers are of equal quality"])
def test_choices_that_are_ties(said):
    assert seen(convert(task(annotation(choice(said))))) == [("Because.", "So.", True, None, "single")]


@pytest.mark.parametrize(
    ("sides", "chosen", "tie", "agreement"),
    [
        ("left left", "Because.", False, "unanimous"),
        ("left right right", "So.", False, "majority"),
        ("left right", "Because.", True, "divided"),
        ("left left right right", "Because.", True, "divided"),
    ],
)
def test_the_majority_decides_and_a_conflict_is_a_tie(sides, chosen, tie, agreement):
    voters = [annotation(pairwise(side), who=n) for n, side in enumerate(sides.split())]
    (pair,) = convert(task(*voters))
    assert (pair.chosen, pair.tie, pair.source) == (chosen, tie, f"label_studio/{agreement}")


def test_min_agreement_leaves_out_what_is_contested():
    contested = task(*(annotation(pairwise(side), who=n) for n, side in enumerate(("left", "right", "right"))))
    assert len(convert(contested, min_agreement=0.66)) == 1
    with pytest.raises(RowSkipped, match=r"annotators agree by less than 0\.67"):
        convert(contested, min_agreement=0.67)


def test_cancelled_and_empty_annotations_do_not_count():
    left_out = [annotation(pairwise("right"), who=1, was_cancelled=True), annotation(who=2)]
    assert seen(convert(task(*left_out, annotation(pairwise("left"), who=3))))[0][0] == "Because."
    for nobody in (left_out, []):
        with pytest.raises(RowSkipped, match="nobody judged it"):
            convert(task(*nobody))


def test_the_last_annotation_of_an_annotator_counts():
    earlier = annotation(pairwise("left"), updated_at="2026-01-01T10:00:00Z")
    later = annotation(pairwise("right"), updated_at="2026-01-02T10:00:00Z")
    for order in ((earlier, later), (later, earlier)):
        assert seen(convert(task(*order))) == [("So.", "Because.", False, None, "single")]


def test_annotators_are_told_apart_however_they_are_written():
    people = [{"id": 1, "email": "a@b.c"}, {"id": 2, "email": "d@e.f"}, 3, None]
    voters = [annotation(pairwise("left")) | {"completed_by": who, "id": n} for n, who in enumerate(people)]
    said = judgements(task(*voters), Answers(2, ("answer1", "answer2")))
    assert [each.annotator for each in said] == ["a@b.c", "d@e.f", "3", "annotation 3"]


def test_ground_truth_overrules():
    crowd = [annotation(pairwise("left"), who=n) for n in range(3)]
    expert = annotation(pairwise("right"), who=9, ground_truth=True)
    assert seen(convert(task(*crowd, expert))) == [("So.", "Because.", False, None, "single")]


def test_ratings_make_pairs_with_margins_and_mean_scores():
    voters = [
        annotation(rating(5, "answer1_rating"), rating(2, "answer2_rating"), who=1),
        annotation(rating(4, "answer1_rating"), rating(3, "answer2_rating"), who=2),
        annotation(rating(2, "answer1_rating"), rating(3, "answer2_rating"), who=3),
    ]
    assert seen(convert(task(*voters))) == [("Because.", "So.", False, 1.0, "majority")]
    first, second = convert(task(*voters), "scores")
    assert first.scores["score"] == pytest.approx(11 / 3)
    assert second.scores == {"score": pytest.approx(8 / 3)}
    assert first.group == second.group


def test_attributes_by_tag_and_their_mix():
    tags = {"answer1_helpfulness": 4, "answer1_verbosity": 1, "answer2_helpfulness": 3, "answer2_verbosity": 3}
    row = task(annotation(*(rating(value, name) for name, value in tags.items())))
    aspect = (("helpfulness", 1.0), ("verbosity", -1.0))
    first, second = convert(row, "scores", aspect=aspect)
    assert first.scores == {"helpfulness": 4, "verbosity": 1, "score": 3}
    assert second.scores == {"helpfulness": 3, "verbosity": 3, "score": 0}
    assert seen(convert(row, aspect=aspect)) == [("Because.", "So.", False, 3.0, "single")]
    assert seen(convert(row, control="verbosity")) == [("So.", "Because.", False, 2.0, "single")]
    with pytest.raises(RowError, match="one of these must be the score; say which .* with --aspect"):
        convert(row, "scores")


def test_four_answers_in_one_field_with_ranks_best_and_ratings():
    """RM-Gallery's RewardBench 2 interface: the answers are numbered in their text, and ranks say the most."""
    outputs = [{"role": "assistant", "content": f"Answer {n}: {text}"} for n, text in enumerate("abcd", start=1)]
    data = {"input_messages": [{"role": "user", "content": "Why?"}], "output_messages": outputs}
    fields = {"prompt_field": "input_messages", "answer_fields": ("output_messages",)}
    best = task(annotation(choice("answer_2"), rating(5, "answer1_rating")), **data)
    assert [(pair.chosen, pair.rejected) for pair in convert(best, **fields)] == [("b", "a"), ("b", "c"), ("b", "d")]
    ranks = [choice(str(rank), f"answer{n}_rank") for n, rank in enumerate((2, 1, 2, 4), start=1)]
    made = convert(task(annotation(choice("answer_2"), *ranks), **data), **fields)
    assert [(pair.chosen + pair.rejected, pair.tie) for pair in made] == [
        ("ba", False),
        ("ac", True),
        ("ad", False),
        ("bc", False),
        ("bd", False),
        ("cd", False),
    ]
    assert len(convert(task(annotation(choice("all_equal")), **data), **fields)) == 6


def test_a_question_about_something_else_is_not_a_verdict():
    row = task(annotation(choice("mathematics", "domain"), rating(3, "difficulty"), pairwise("right")))
    assert seen(convert(row)) == [("So.", "Because.", False, None, "single")]
    both = task(annotation(pairwise("right", "shorter"), pairwise("left", "better")))
    assert convert(both, control="shorter")[0].chosen == "So."
    assert convert(both, control="better")[0].chosen == "Because."
    with pytest.raises(RowError, match=r"\['better', 'shorter'\], but one tag says which answer is better; name it"):
        convert(both)
    ranks = {"answer1_rank": "1", "answer2_rank": "2", "answer1_tone": "2", "answer2_tone": "1"}
    row = task(annotation(*(choice(rank, tag) for tag, rank in ranks.items())))
    assert convert(row, control="tone")[0].chosen == "So."
    with pytest.raises(RowError, match=r"\['rank', 'tone'\], but one tag"):
        convert(row)


def test_a_prompt_of_messages_and_equal_answers():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    (pair,) = convert(
        task(annotation(pairwise("left")), prompt=messages, answer1={"content": "x"}, answer2={"text": "y"})
    )
    assert pair.prompt == tuple(messages)
    (error,) = convert(task(annotation(pairwise("left")), prompt="p", answer1="x", answer2="x"))
    assert isinstance(error, RowError)
    assert error.rule == "the two answers of a pair differ"


@pytest.mark.parametrize(
    ("row", "kind", "options", "sentence"),
    [
        ({"prompt": "Why?", "answer1": "x"}, "pairs", {}, "data is missing, but a task holds its data; export as JSON"),
        (
            task(annotation(pairwise("left")), question="q"),
            "pairs",
            {},
            r"data.prompt is missing.*it has: question.*--prompt-field",
        ),
        (
            task(annotation(pairwise("left")), prompt="q", a="x"),
            "pairs",
            {},
            "data.answer1 is missing.*--answer-fields",
        ),
        (
            task(annotation(pairwise("left")), prompt="q", answer1="x", answer2=3),
            "pairs",
            {},
            "data.answer2 is 3, but it must be",
        ),
        ({"data": DATA}, "pairs", {}, "annotations is missing, but a task lists who said what; export as JSON"),
        (
            task(annotation(pairwise("middle"))),
            "pairs",
            {},
            "selected is 'middle', but a pairwise tag selects left or right",
        ),
        (
            task(annotation(choice("maths", "domain"))),
            "pairs",
            {},
            r"'domain \(choices\)', but .* name the tag with --control",
        ),
        (
            task(annotation(choice("first", "best"))),
            "pairs",
            {"control": "best"},
            "best.choices is 'first', but a choice names one",
        ),
        (
            task(annotation(rating("4", "answer1_rating"))),
            "scores",
            {},
            "answer1_rating.rating is '4', but a rating is a number",
        ),
        (task(annotation(rating(4, "answer1_rating"))), "pairs", {}, "an annotator compares two answers"),
        (task(annotation(pairwise("left"))), "scores", {}, "scores are made of rating tags"),
        (
            task(annotation(pairwise("left"))),
            "pairs",
            {"answer_fields": ("answer1",)},
            "1 answer', but a pair needs two",
        ),
        (
            task(annotation(rating(4, "answer1_rating"))),
            "scores",
            {"aspect": (("tone", 1.0),)},
            "an answer is rated in tone; say which",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(row, kind, options, sentence):
    with pytest.raises(RowError, match=sentence):
        convert(row, kind, **options)


def test_an_idle_option_is_an_error():
    with pytest.raises(CookbookError, match="--min-agreement has no effect on scores"):
        convert(task(annotation(rating(4, "answer1_rating"))), "scores", min_agreement=0.5)


@pytest.mark.parametrize(
    ("votes", "verdict", "share"),
    [
        ((FIRST,), FIRST, 1),
        ((FIRST, SECOND, TIE), TIE, 1 / 3),
        ((TIE, TIE, FIRST), TIE, 2 / 3),
        ((FIRST, TIE), TIE, 0.5),
    ],
)
def test_decisions(votes, verdict, share):
    assert decide(votes)[:2] == (verdict, share)


@pytest.mark.parametrize(
    ("tag", "about"),
    [
        ("answer1_rating", (0, "rating")),
        ("rating_2", (1, "rating")),
        ("answer2", (1, "")),
        ("helpfulness of response 1", (0, "helpfulness of")),
        ("q1_best", None),
        ("answer12_rating", None),
        ("best_answer", None),
    ],
)
def test_tags_name_their_answer(tag, about):
    assert Answers(2, ("answer1", "answer2")).named_in(tag) == about
    assert Answers(2, ()).named_in(tag) == about


def test_an_export_becomes_a_file_and_the_report_says_how_much_was_agreed(tmp_path):
    sides = ["left", "left left", "left left right", "left right", "", "right"]
    voted = [[annotation(pairwise(side), who=n) for n, side in enumerate(said.split())] for said in sides]
    tasks = [task(*votes, **DATA | {"prompt": f"Question {n}?"}) for n, votes in enumerate(voted)]
    tasks[5]["annotations"][0]["was_cancelled"] = True
    (tmp_path / "export.json").write_text(json.dumps(tasks))

    def prepared(**options):
        job = RewardJob("label_studio", tmp_path, inputs=(str(tmp_path / "export.json"),), test_ratio=0)
        return prepare_reward(dataclasses.replace(job, options=RewardOptions(**options)))

    report = prepared()
    assert report["sources"] == dict.fromkeys([f"label_studio/{how}" for how in ("single", "unanimous", "majority")], 1)
    assert {reason: entry["count"] for reason, entry in report["dropped"].items()} == {
        "nobody judged it (no annotation, or only cancelled and empty ones)": 2,
        "a tie: neither answer is better": 1,
    }
    assert prepared(ties="keep")["sources"]["label_studio/divided"] == 1
    assert [pair.tie for pair in read_pairs(str(tmp_path / "train.parquet"))] == [False, False, False, True]
