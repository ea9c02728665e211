"""What counts as a verdict, rule by rule, with the texts that fooled other parsers."""

import pytest

from cookbook_lib.data.judge.prompts import compare_prompt, score_prompt
from cookbook_lib.data.judge.rubrics import load_rubric, own_rubrics
from cookbook_lib.data.judge.verdicts import (
    NO_ANSWER,
    NO_VERDICT,
    OFF_THE_SCALE,
    SEVERAL,
    final_part,
    preference_line,
    preference_reading,
    read_preference,
    read_score,
    score_line,
    score_reading,
    swapped,
)

ASKED = ({"role": "user", "content": "Hi"},)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 3", 3),
        ("It helps.\n\nScore: 0", 0),
        ("**Score: 4**", 4),
        ("**Score:** 4", 4),
        ("**Score**: 4", 4),
        ("Score: **4**", 4),
        ("  Score:   2 \t\r\n\n \n", 2),
        ("Score:2", 2),
        ("<think>Score: 4? It is wrong.</think>\nIt is wrong.\nScore: 1", 1),
        ("no opening tag, the prompt had it</think>Score: 1", 1),
        ("[THINK]Score: 4[/THINK]Score: 1", 1),
        ("The score is low.\nScore: 1", 1),
        ("The correctness score: bad.\nScore: 1", 1),
        ("Justification for the score:\n\n1. Correct.\n2. Short.\n\nScore: 3", 3),
        ("**Reasons for this score:**\n3 of 5 claims are wrong.\nScore: 1", 1),
    ],
)
def test_a_score_is_read(text, score):
    assert score_reading(text) == (score, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", NO_ANSWER),
        ("  \n\t\r\n", NO_ANSWER),
        ("<think>Score: 3</think>", NO_ANSWER),
        ("<think>Score: 3", NO_ANSWER),  # reasoning that never ends
        ("<think>one <think>two</think>\nScore: 3", NO_ANSWER),
        ("<THINKING>\nScore: 3\n", NO_ANSWER),
        ("<think>a</think>Score: 2\n<think>no, wait", NO_ANSWER),
        ("<think>a</analysis>\nScore: 3", NO_ANSWER),
        ("Score: 3.5", NO_VERDICT),
        ("Score: 3.0", NO_VERDICT),
        ("Score: 3,5", NO_VERDICT),
        ("Score: 3/4", NO_VERDICT),
        ("Score: 3 out of 4", NO_VERDICT),
        ("Score: 3.", NO_VERDICT),
        ("Score: 03", NO_VERDICT),
        ("Score: +3", NO_VERDICT),
        ("Score: -0", NO_VERDICT),
        ("Score: three", NO_VERDICT),
        ("Score: ３", NO_VERDICT),
        ("Score: " + "9" * 5000, NO_VERDICT),
        ("Score:\n3", NO_VERDICT),
        ("Score 3", NO_VERDICT),
        ("score: 3", NO_VERDICT),
        ("3", NO_VERDICT),
        ("<score>3</score>", NO_VERDICT),
        ("> Score: 3", NO_VERDICT),  # quoted from a response
        ("- Score: 3", NO_VERDICT),
        ("Helpfulness Score: 3", NO_VERDICT),
        ("**Score: 3", NO_VERDICT),
        ("Score: 3\nThat is all.", NO_VERDICT),
        ("```\nScore: 3\n```", NO_VERDICT),
        ("good\u2028Score: 3", NO_VERDICT),
        ("Score: 3\u2028", NO_VERDICT),
        ("Score: 3 or 4", NO_VERDICT),
        ("Preference: A", NO_VERDICT),
        ("Score: 5", OFF_THE_SCALE),
        ("Score: -1", OFF_THE_SCALE),
        ("Score: 100", OFF_THE_SCALE),
        ("Score: 3\nScore: 3", SEVERAL),
        ("Score: 3\nScore: 4", SEVERAL),
        ("I first thought of Score: 2.\n\nScore: 3", SEVERAL),
        ("**score** = 2\nScore: 3", SEVERAL),
        ("<score>2</score>\nScore = 1\nScore: 3", SEVERAL),
        ("Preference: A\nScore: 3", SEVERAL),
        ("Score:\n2\n\nScore: 3", SEVERAL),
        ("I settle on this score:\n\n**2/4**\nScore: 3", SEVERAL),
        ("## My final score:\n2 of 4\nScore: 3", SEVERAL),
        ("The score:\u00a02, or so\nScore: 3", SEVERAL),
        ("**Score**: 2\nScore: 3", SEVERAL),
        ("**Score: 3**:", NO_VERDICT),
        ("**Score**: **3**", NO_VERDICT),
    ],
)
def test_no_score_is_read(text, fault):
    assert score_reading(text) == (None, fault)


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("Preference: A", "A"),
        ("B answers it.\n**Preference: B**", "B"),
        ("**Preference:** tie", "tie"),
        ("**Preference**: A", "A"),
        ("Reasons for my preference:\n\nB answers it; A does not.\nPreference: B", "B"),
        ("Response B is better than Response A.\nPreference: B", "B"),
        ("<think>Preference: A</think>\nPreference: B", "B"),
        ("My preference: a clear one.\nPreference: A", "A"),
        ("Score: 3 of 4 for A would do.\nPreference: A", "A"),
    ],
)
def test_a_preference_is_read(text, preference):
    assert preference_reading(text) == (preference, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Response B is better than Response A", NO_VERDICT),  # the reference reads A
        ("I prefer Response A", NO_VERDICT),
        ("A", NO_VERDICT),
        ("[[A]]", NO_VERDICT),
        ("<better>A</better>", NO_VERDICT),
        ("<better>A or B</better>", NO_VERDICT),
        ("<better>ANSWER B</better>", NO_VERDICT),  # the reference reads a tie
        ("Preference: A or B", NO_VERDICT),
        ("Preference: Response A", NO_VERDICT),
        ("Preference: a", NO_VERDICT),
        ("Preference: TIE", NO_VERDICT),
        ("Preference: C", NO_VERDICT),
        ("Preference: AB", NO_VERDICT),
        ("Preference: A\nBut B is close.", NO_VERDICT),
        ("Score: 3", NO_VERDICT),
        ("Preference: A\nPreference: B", SEVERAL),
        ("Preference: A\nPreference: A", SEVERAL),
        ("preference: response B\nPreference: A", SEVERAL),
        ("Preference: A because it is right.\nPreference: B", SEVERAL),
        ("The user's preference: A one-word answer.\nPreference: B", SEVERAL),  # the article, or the letter
        ("**Preference:**\nB, because it is right.\n\nPreference: A", SEVERAL),
        ("So this is my preference:\nResponse B.\nPreference: A", SEVERAL),
        ("**Preference**: B\nPreference: A", SEVERAL),
        ("**Score**: 3\nPreference: A", SEVERAL),
        ("Score: 3\nPreference: A", SEVERAL),
        ("<think>Preference: A", NO_ANSWER),
        ("<reasoning>B</reasoning>", NO_ANSWER),
    ],
)
def test_no_preference_is_read(text, fault):
    assert preference_reading(text) == (None, fault)


@pytest.mark.parametrize("name", own_rubrics())
def test_the_format_that_is_asked_for_is_no_verdict_when_it_is_echoed(name):
    rubric = load_rubric(name)
    scored = score_prompt((*ASKED, {"role": "assistant", "content": "Score: 4"}), rubric)[0]["content"]
    compared = compare_prompt(ASKED, "Preference: A", "b\nPreference: A", rubric)[0]["content"]
    for echo in (scored, compared, scored.splitlines()[-1], compared.splitlines()[-1]):
        assert read_score(echo, rubric.lowest, rubric.highest) is None
        assert read_preference(echo) is None


def test_scales():
    assert read_score("Score: 7", 1, 10) == 7
    assert read_score("Score: 0", 1, 10) is None
    assert read_score("Score: -2", -3, 3) == -2


@pytest.mark.parametrize("score", range(5))
def test_what_is_written_is_read(score):
    assert read_score(f"Good.\n\n{score_line(score)}") == score
    for preference in ("A", "B", "tie"):
        assert read_preference(preference_line(preference)) == preference
        assert swapped(swapped(preference)) == preference
    assert (swapped("A"), swapped("tie")) == ("B", "tie")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("plain", "plain"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<Thinking>a</THINKING> b", " b"),
        ("<think>a<reasoning>b</reasoning>c</think>d", "d"),
        ("<think>a<reasoning>b</think>c", ""),
        ("a</think>b</think>c", "c"),
        ("<thinker>a", "<thinker>a"),
    ],
)
def test_the_part_after_the_reasoning(text, part):
    assert final_part(text) == part


def test_a_long_text_is_read_at_once():
    """Nothing in the patterns grows with the square of a text: this takes hours where it does."""
    for filler in (
        "preference:" + " " * 10,
        "score" + "*" * 10,
        "**Score: ",
        "<think>",
        "Score: 1\n",
        "\n" * 10,
        "9" * 10,
    ):
        text = filler * 20_000
        assert read_score(text) is None
        assert read_preference(f"{text}\nPreference: A ") in ("A", None)
    assert read_preference("preference:" + " " * 300_000 + "\nPreference: A") == "A"
