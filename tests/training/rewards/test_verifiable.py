"""Rewards of answers that can be checked: numbers, counts, words; and junk that states none."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.training.rewards import open_reward
from tests.training.rewards.samples import answer, score


def paid(name, text, truth):
    """What a text earns alone, None where no answer is read."""
    result = open_reward(RewardConfig(functions=[name]), max_new_tokens=8)([answer(text, truth)])
    assert result.parsed[0] or result.total[0] == 0
    return result.total[0] if result.parsed[0] else None


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("48 / 2 = <<48/2=24>>24\n48 + 24 = 72\n#### 72", "72"),
        ("So she has 72.\nA: 72", "72"),
        ("####72", "72"),
        ("#### 72.", "72"),
        ("#### $72", "72"),
        ("#### **72**", "72"),
        ("#### 72.0", 72),
        ("#### 1,450,000\n", "1450000"),
        ("#### 1450000", "1,450,000"),
        ("#### -5", "-5"),
        ("#### \u22125", -5),
        ("#### .5", 0.5),
        ("#### Step 1\n48 / 2 = 24\n#### Step 2\n48 + 24\n#### 72", "72"),
        ("Publisher A: 5000 cents\nA: 72", "72"),
        ("A: 5\nB: 7\n#### 72", "72"),
        ("A: $5\nB: 67 more\nB: $67\n5 + 67 = 72\n#### 72", "72"),
        ("B: who knows?\nA: 72", "72"),
        ("<think>\n#### 71\n</think>\n#### 72", "72"),
        ("#### 72\r\n", "72"),
        ("#### \\boxed{72}", "72"),
        ("So she has \n#### $\\boxed{72}$.\r\n", "72"),
    ],
)
def test_the_true_number(text, truth):
    assert paid("gsm8k", text, truth) == 1.0


@pytest.mark.parametrize("text", ["#### 71", "A: 7.2", "#### -72", "#### 720", "#### 7,200"])
def test_another_number(text):
    assert paid("gsm8k", text, "72") == 0.0


NO_NUMBER = {
    "nothing": "",
    "a number without a mark": "It is 72.",
    "every number": "\n".join(f"#### {n}" for n in range(100)),
    "every number on one line": "#### " + " ".join(map(str, range(100))),
    "two numbers, the true one last": "#### 71\n#### 72",
    "two marks": "A: 72\n#### 72",
    "two marks that disagree": "A: 71\n#### 72",
    "a list of names": "B: 71\nA: 72",
    "words behind the mark": "#### about 72",
    "a unit": "#### 72 apples",
    "a fraction": "#### 144/2",
    "digits grouped as no number is": "#### 7,2",
    "a range": "#### 70-74",
    "more text after it": "#### 72\nQ: And how many pears?",
    "inside the reasoning": "<think>\n#### 72\n</think>\nDone.",
    "reasoning that never ends": "<think>\n#### 72",
    "not a number": "#### nan",
    "infinity": "#### inf",
    "an exponent": "#### 7.2e1",
    "a box and more": "#### \\boxed{72} apples",
    "a sign before a box": "#### -\\boxed{72}",
    "two boxes": "#### \\boxed{72} \\boxed{72}",
}


@pytest.mark.parametrize("text", NO_NUMBER.values(), ids=NO_NUMBER)
def test_no_number_is_stated(text):
    assert paid("gsm8k", text, "72") is None


def test_a_long_number_takes_no_time_and_compares_exactly():
    assert paid("gsm8k", "#### " + "9" * 200_000, "9" * 200_000) == 1.0
    assert paid("gsm8k", "#### " + "9" * 200_000, "9" * 199_999) == 0.0
    assert paid("gsm8k", "#### 10000000000000000000000001", "10000000000000000000000000") == 0.0  # equal as floats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = n\ni != n\nn = n\ne != n\n\\boxed{2} n in n-i-n-e.", 1.0),
        ("\\boxed{2}", 1.0),
        ("\\boxed{3}", 0.0),
        ("2", None),
        ("\\boxed{2}\n\\boxed{3}", None),
        ("\\boxed{1} or \\boxed{2}", None),
        ("\\boxed{1, 2}", None),
        ("\\boxed{}", None),
        ("\\boxed{2}\nI am sure.", None),
        ("Answer: \\boxed{2}", 1.0),
        ("\\boxed{\\boxed{2}}", 1.0),
        ("<think>\n\\boxed{2}\n</think>\nThat many.", None),
    ],
)
def test_char_count(text, expected):
    assert paid("char_count", text, "2") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("teal", 1.0),
        (" Teal. ", 1.0),
        ("The walls are painted.\nAnswer: teal", 1.0),
        ("**Final answer:** TEAL", 1.0),
        ("Mixing both.\n#### teal", 1.0),
        ("So \\boxed{teal}.", 1.0),
        ("**Answer**: teal", 1.0),
        ("Answer: \\boxed{teal}", 1.0),
        ("Mixing both.\n**Final answer:** $\\boxed{teal}$.", 1.0),
        ("#### **\\boxed{Teal}**", 1.0),
        ("<think>\nRed? No.\n</think>\nteal", 1.0),
        ("red", 0.0),
        ("red, teal, blue", 0.0),  # a list of all candidates contains the answer
        ("It is teal", 0.0),
        ("Answer: teal or red", 0.0),
        ("Answer: \\boxed{red}", 0.0),
        ("Answer: teal or \\boxed{red}", None),
        ("Answer: red, no, \\boxed{teal}", None),
        ("Answer: \\boxed{teal} \\boxed{teal}", None),
        ("\\boxed{teal}\nAnswer: \\boxed{teal}", None),
        ("Answer: red\nAnswer: teal", None),
        ("The walls are\nteal", None),
        ("Answer: teal\nI think.", None),
        ("Answer:", None),
        ("", None),
        ("<think>teal", None),
    ],
)
def test_exact_match(text, expected):
    assert paid("exact_match", text, "teal") == expected


@pytest.mark.parametrize("formula", ["\\frac{1}{2}", "\\sqrt{\\frac{1}{2}}", "\\sqrt{\\frac{1}{2^{n}}}"])
@pytest.mark.parametrize("text", ["Thus \\boxed{%s}", "Halved.\nAnswer: $\\boxed{%s}$"])
def test_exact_match_of_a_formula(text, formula):
    assert paid("exact_match", text % formula, formula) == 1.0
    assert paid("exact_match", text % f"{formula}x", formula) == 0.0


@pytest.mark.parametrize(
    "truth", ["A*", "**bold**", "* b", "\\boxed{teal}", "two\n lines", "Answer: no", "c. *", 3.0, "$5"]
)
def test_a_truth_is_met_by_what_it_says(truth):
    """Marks that are no part of what is stated are none of the truth either."""
    open_reward(RewardConfig(functions=["exact_match"]), max_new_tokens=8).check([answer("", truth).task])
    assert paid("exact_match", "#### " + " ".join(str(truth).split()), truth) == 1.0


@pytest.mark.parametrize(
    ("name", "truth", "message"),
    [
        ("gsm8k", "teal", "truth is 'teal', but this reward compares numbers; take exact_match, or correct the row"),
        ("gsm8k", True, "truth is True, but this reward compares numbers"),
        ("gsm8k", [72], r"truth is \[72\], but this reward compares texts and numbers; take tool_call, or custom"),
        ("char_count", "nan", "truth is 'nan', but this reward compares numbers"),
        ("exact_match", " . ", "truth is ' . ', but no text can state it as its one answer; correct the row"),
        ("exact_match", "**", r"truth is '\*\*', but no text can state it"),
        ("exact_match", " \n** ", r"truth is .*, but no text can state it"),
        ("exact_match", "either \\boxed{a} or \\boxed{b}", "truth is .*, but no text can state it"),
        ("exact_match", "<think>teal", "truth is '<think>teal', but no text can state it"),
        ("exact_match", {"name": "x"}, "truth is {'name': 'x'}, but this reward compares texts and numbers"),
    ],
)
def test_a_truth_that_cannot_be_met(name, truth, message):
    reward = open_reward(RewardConfig(functions=[name]), max_new_tokens=8)
    with pytest.raises(CookbookError, match=f"^answers.jsonl row 5: {message}"):
        reward.check([answer("", "72").task, answer("", truth, row=5).task])


@pytest.mark.parametrize("name", ["gsm8k", "exact_match", "char_count", "tool_call"])
def test_a_task_of_another_kind(name):
    reward, sample = open_reward(RewardConfig(functions=[name]), max_new_tokens=8), score("Score: 3", 3)
    for judge in (lambda: reward([sample]), lambda: reward.check([sample.task])):
        with pytest.raises(CookbookError, match="scores.jsonl row 1: kind is 'score', but this reward is for answers"):
            judge()
