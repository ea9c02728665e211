"""How a judge writes: what could be read, whether it agrees with itself, and the habits of reward hacking."""

import pytest

from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.transcripts import Statement
from cookbook_lib.evaluation.writing import habits, length_drift, writing
from tests.evaluation.scripted import Scripted, asked

REASON = "It answers what was asked, though at some length."


def statement(text, *, parsed=3, number=0, kind="score", finished=True, vote=0):
    prompt = ({"role": "user", "content": f"Judge how helpful the answer number {number} is to the one who asked."},)
    return Statement(kind, prompt, "", vote, text, parsed, None if parsed is not None else "no verdict", finished)


def test_what_could_be_read_and_why_not():
    said = {"a": "Score: 3", "b": "Score: 9", "c": ("Score: 1", False), "d": "Score: 3"}
    judge = GenerativeJudge(Scripted(lambda judged, seed: said[judged.responses[0]]))
    judge.score([answered(asked("q"), text) for text in said])
    found = writing(judge)
    assert found["verdicts that could be read"].value == 1 / 2
    assert "a score off the scale: 1" in found["verdicts that could be read"].note
    assert found["texts cut at max_new_tokens"].value == 1 / 4
    assert found["characters a text"].value == 8
    commonest = found["scores that are the commonest one"]
    assert (commonest.value, commonest.rows, commonest.note) == (1, 2, "it is 3")
    assert "votes that say what most say" not in found


def test_votes_and_orders():
    judge = GenerativeJudge(Scripted(lambda judged, seed: f"Preference: {'AB'[seed % 2]}"), votes=8)
    judge.preferences([asked(str(n)) for n in range(20)], ["a"] * 20, ["b"] * 20)
    found = writing(judge)
    assert 0.5 <= found["votes that say what most say"].value < 0.85
    stubborn = GenerativeJudge(Scripted(lambda judged, seed: "Preference: A"))
    stubborn.preferences([asked(str(n)) for n in range(20)], ["a"] * 20, ["b"] * 20)
    found = writing(stubborn)
    assert found["same verdict both ways round"].value == 0
    assert found["prefers the place shown first"].value == 1
    assert found["preferences that are the commonest one"].value == 1


def test_pairs_of_one_prompt_are_drawn_together():
    """Ten prompts with four pairs each, whose verdicts are all alike in a prompt: ten know something, not forty."""
    judge = GenerativeJudge(Scripted(lambda judged, seed: f"Preference: {'AB'[len(judged.prompt[-1]['content']) % 2]}"))
    prompts = [asked("q" * n) for n in range(1, 11) for _ in range(4)]
    judge.preferences(prompts, [f"a{n}" for n in range(40)], [f"b{n}" for n in range(40)])
    found = writing(judge)["prefers the place shown first"]
    assert (found.value, found.rows) == (0.5, 80)
    assert found.interval.high - found.interval.low > 0.5


def test_what_was_said_since_a_mark():
    judge = GenerativeJudge(
        Scripted(lambda judged, seed: "hm" if judged.responses[0] == "a" else "Score: 2"), keep=True
    )
    judge.score([answered(asked("q"), "a")])
    mark = judge.mark()
    judge.score([answered(asked("q"), text) for text in ("a", "b", "c")])
    assert writing(judge)["verdicts that could be read"].value == pytest.approx(2 / 3)
    later = writing(judge, since=mark)
    assert (later["verdicts that could be read"].value, later["no reasons given"].rows) == (1, 2)


def test_a_judge_that_was_never_asked_has_no_figures():
    (figure,) = writing(GenerativeJudge(Scripted(lambda judged, seed: ""))).values()
    assert (figure.value, figure.note) == (None, "nothing was asked")


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("Score: 3", False),
        ("<think>\n\n</think>\n\nScore: 3", False),
        ("**Good.**\n\nScore: 3", False),
        (f"{REASON}\nScore: 3", True),
        (f"<think>{REASON}</think>\n\nScore: 3", True),
    ],
)
def test_reasons_are_words_beside_the_verdict(text, reasons):
    assert habits([statement(text)])["no reasons given"].value == float(not reasons)


def test_a_prompt_repeated():
    own = "Judge how helpful the answer number 0 is to the one who asked."
    assert habits([statement(f"{own}\nScore: 3")])["the prompt repeated"].value == 1
    assert habits([statement(f"{REASON}\nScore: 3")])["the prompt repeated"].value == 0


def test_length_that_buys_scores():
    kept = [statement("x" * (10 + 10 * score), parsed=score, number=score) for score in range(5)]
    assert habits(kept)["score and length of its text, spearman"].value == pytest.approx(1)
    assert habits([])["no reasons given"].value is None


def test_length_drift_of_two_checkpoints():
    before = [statement("x" * 100, number=n) for n in range(10)]
    after = [statement("x" * 150, number=n, parsed=None if n == 0 else 3) for n in range(11)]
    found = length_drift(before, after)
    assert found["longer by"].value == pytest.approx(0.5)
    assert (found["longer by"].rows, found["longer by"].note) == (10, "1 text answers prompts of one side only")
    assert found["more verdicts that could be read"].value == pytest.approx(-0.1)
    assert length_drift(before, [])["longer by"].note == "the two transcripts have no prompt in common"


def test_the_votes_on_one_prompt_drift_together():
    before = [statement("x" * 100, number=n, vote=vote) for n in range(10) for vote in range(8)]
    after = [statement("x" * (120 + 20 * (n % 5)), number=n, vote=vote) for n in range(10) for vote in range(8)]
    one = [[one for one in side if one.vote == 0] for side in (before, after)]
    for name, figure in length_drift(before, after).items():
        assert figure.interval.as_dict() == pytest.approx(length_drift(*one)[name].interval.as_dict()), name
    assert length_drift(before, after)["longer by"].rows == 80
