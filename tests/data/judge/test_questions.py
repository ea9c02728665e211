"""Scores and pairs as questions: the truth follows the responses into either order, and orders tell nothing."""

from dataclasses import replace

import pytest

from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.questions import Scale, answer_task, preference_tasks, score_task
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.records import Conversation, chat
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse

ASKED = ({"role": "user", "content": "Hi"},)
TALK = ({"role": "system", "content": "Be kind."}, *ASKED, {"role": "assistant", "content": "Yes?"}, *ASKED)
TEN = Rubric("ten", 1, "Rate it.", (), {level: str(level) for level in range(1, 11)})
HERE = Origin("f.jsonl", 7)


def pair(n, **fields):
    return PreferencePair(TALK, f"good {n}", f"bad {n}", source="s", **fields)


def test_both_orders_of_a_pair():
    forth, back = preference_tasks(pair(1, origin=HERE, group="g"), load_rubric())
    assert (forth.order, back.order) == ("ab", "ba")
    assert forth.pair_id == back.pair_id != preference_tasks(pair(2), load_rubric())[0].pair_id
    assert quoted(forth.prompt) == (TALK, quoted(back.prompt).responses[::-1])
    for task in (forth, back):
        assert quoted(task.prompt).responses["AB".index(task.truth)] == "good 1"
        assert (task.kind, task.data_source, task.origin, task.group) == ("preference", "s", HERE, "g")
        assert task.extra == {"rubric": "helpfulness 1", "prompt_version": 1}


def test_an_order_says_nothing_about_the_truth():
    forth = [preference_tasks(pair(n), load_rubric())[0].truth for n in range(2000)]
    assert abs(forth.count("A") - 1000) < 4 * 500**0.5
    assert forth == [preference_tasks(pair(n), load_rubric())[0].truth for n in range(2000)]


def test_ties_and_opposite_judgements():
    tie = preference_tasks(pair(1, tie=True), load_rubric())
    assert [task.truth for task in tie] == ["tie", "tie"]
    turned = replace(pair(1, tie=True), chosen="bad 1", rejected="good 1")
    assert preference_tasks(turned, load_rubric())[0].pair_id == tie[0].pair_id
    opposite = replace(pair(1), chosen="bad 1", rejected="good 1")
    assert preference_tasks(opposite, load_rubric())[0].pair_id != preference_tasks(pair(1), load_rubric())[0].pair_id


@pytest.mark.parametrize(
    ("scale", "rubric", "value", "truth"),
    [
        (None, load_rubric(), 3.0, 3),
        (Scale(0, 4), load_rubric(), 3.0, 3),
        (Scale(1, 5), load_rubric(), 4.0, 3),
        (Scale(1, 10), load_rubric(), 5.5, 2),
        (Scale(0, 1), load_rubric(), 1.0, 4),
        (Scale(1, 5), TEN, 3.0, 6),  # 5.5: a half goes up
        (Scale(0, 1), load_rubric(), 0.3 + 0.075, 2),  # 1.5 but for rounding
        (Scale(-3, 3), load_rubric(), -3.0, 0),
    ],
)
def test_scores_are_put_on_the_rubrics_scale(scale, rubric, value, truth):
    task = score_task(ScoredResponse(TALK, "x", {"score": value}), rubric, scale)
    assert (task.kind, task.truth, type(task.truth)) == ("score", truth, int)
    assert quoted(task.prompt) == (TALK, ("x",))


@pytest.mark.parametrize(
    ("scale", "value", "sentence"),
    [
        (
            None,
            2.5,
            r"f.jsonl row 7: score is 2.5, but rubric 'helpfulness' has the whole numbers from 0 to 4; give the range",
        ),
        (None, 5.0, "score is 5.0, but rubric 'helpfulness' has the whole numbers from 0 to 4"),
        (Scale(0, 1), 3.0, "score is 3.0, but the scores of this source lie between 0 and 1; correct the row"),
    ],
)
def test_a_score_off_the_scale(scale, value, sentence):
    with pytest.raises(RowError, match=sentence):
        score_task(ScoredResponse(TALK, "x", {"score": value}, origin=HERE), load_rubric(), scale)


def test_which_of_several_scores():
    scored = ScoredResponse(ASKED, "x", {"score": 3.0, "correctness": 1.0})
    assert score_task(scored, load_rubric()).truth == 3
    assert score_task(ScoredResponse(ASKED, "x", {"correctness": 1.0}), load_rubric()).truth == 1
    with pytest.raises(RowError, match="score is missing, but it is what is learned"):
        score_task(ScoredResponse(ASKED, "x", {"a": 1.0, "b": 1.0}), load_rubric())


def test_a_known_answer():
    task = answer_task(chat("2+2?", "It is 4.", answer="4", source="sums"))
    assert (task.kind, task.truth, task.data_source, task.ability) == ("answer", "4", "sums", "answer")
    assert task.prompt == ({"role": "user", "content": "2+2?"},)
    told = answer_task(chat("2+2?", "It is 4.", answer="4", system="Be brief."), "End with ####.")
    assert [message["content"] for message in told.prompt] == ["Be brief.", "2+2?\nEnd with ####."]
    alone = Conversation(({"role": "assistant", "content": "4"},), answer="4")
    with pytest.raises(RowError, match="a conversation has at least one message"):
        answer_task(alone, "End with ####.")
    with pytest.raises(RowError, match="answer is missing, but only a known answer can be checked"):
        answer_task(chat("2+2?", "It is 4."))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": ()}, "a conversation has at least one message"),
        (
            {"prompt": (*ASKED, {"role": "assistant", "content": "x"})},
            r"prompt\[1\].role is 'assistant', but a prompt ends",
        ),
        ({"kind": "scores"}, "kind is 'scores', but a task is one of score, preference, answer"),
        ({"truth": "3"}, "truth is '3', but a score is a whole number"),
        ({"truth": True}, "truth is True, but a score is a whole number"),
        ({"truth": 3.0}, "truth is 3.0, but a score is a whole number"),
        ({"kind": "preference"}, "truth is 3, but a preference is one of A, B, tie"),
        ({"kind": "preference", "truth": ["A"]}, r"truth is \['A'\], but a preference"),
        ({"kind": "answer", "truth": ""}, "truth is '', but an answer can only be checked against one"),
        ({"kind": "answer", "truth": None}, "truth is None, but an answer can only be checked against one"),
        (
            {"pair_id": "x", "order": "ab"},
            r"pair_id and order is \('x', 'ab'\), but a preference that is asked in both orders",
        ),
        ({"kind": "preference", "truth": "A", "pair_id": "x"}, r"pair_id and order is \('x', None\)"),
        ({"kind": "preference", "truth": "A", "pair_id": "x", "order": "AB"}, r"pair_id and order is \('x', 'AB'\)"),
    ],
)
def test_what_is_no_task(fields, sentence):
    sound = {"prompt": ASKED, "kind": "score", "truth": 3, "data_source": "s", "origin": HERE}
    JudgeTask(**sound)
    with pytest.raises(RowError, match=f"f.jsonl row 7: .*{sentence}"):
        JudgeTask(**(sound | fields))
