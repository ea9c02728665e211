"""What earned full reward in the reference implementation and is no verdict: here it earns the lowest there is.

Each text stands with the truth for which the reference paid it 1 (scores: its first integer, or 0 where it found none;
preferences: the letter that it thought it saw).
"""

import pytest

from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.training.rewards import begun_by, open_reward
from tests.training.rewards.samples import preference, score

SCORE_JUNK = {
    "no score at all, which counted as 0": ("It is a fine answer.", 0),
    "nothing": ("", 0),
    "blank lines": ("\n \n", 0),
    "above the scale, which counted as 0": ("Score: 5", 0),
    "far above the scale": ("Score: 40", 4),
    "below the scale, read without its sign": ("Score: -1", 1),
    "a decimal, cut": ("Score: 3.5", 3),
    "a decimal, not rounded": ("Score: 3.9", 3),
    "a fraction": ("Score: 4/5", 4),
    "a score of so many": ("Score: 2 of 4", 2),
    "a range": ("Score: 1-4", 1),
    "the format, echoed": ("Score: <a whole number from 0 to 4>", 0),
    "the format of the reference, echoed": ("<score>a number from 0 to 4</score>", 0),
    "the tag of the reference": ("<score>0</score>", 0),
    "a score inside the reasoning": ("<think>\nScore: 3\n</think>\nIt is good.", 3),
    "reasoning that never ends": ("<think>\nLet me see.\nScore: 2", 2),
    "reasoning begun again after the score": ("</think>\nScore: 2\n<think>\nScore: 4", 2),
    "two scores": ("Score: 0\nScore: 4", 0),
    "the same score twice": ("Score: 1\nScore: 1", 1),
    "every score": ("Score: 0\nScore: 1\nScore: 2\nScore: 3\nScore: 4", 0),
    "more words after the score": ("Score: 4\nI hope that this helps.", 4),
    "a sentence about it": ("I would give this a score of 3.", 3),
    "the number alone": ("2", 2),
    "a preference beside the score": ("Preference: A\nScore: 1", 1),
}
PREFERENCE_JUNK = {
    "the better one named after the worse one": ("Response B is better than Response A", "A"),
    "a sentence": ("Response B is better", "B"),
    "the letter A in ANSWER": ("<better>ANSWER B</better>", "tie"),
    "the format of the reference, echoed": ("<better>A or B</better>", "tie"),
    "the tag of the reference": ("<better>A</better>", "A"),
    "the format, echoed": ("Preference: <A, B or tie>", "tie"),
    "a refusal": ("I cannot choose between them.", "tie"),
    "nothing": ("", "tie"),
    "a letter somewhere": ("A fine pair of texts", "A"),
    "the letter alone": ("B", "B"),
    "a choice of both": ("Preference: A or B", "A"),
    "both": ("Preference: A\nPreference: B", "A"),
    "the same one twice": ("Preference: B\nPreference: B", "B"),
    "inside the reasoning": ("<think>\nPreference: A\n</think>\nBoth have merit.", "A"),
    "reasoning that never ends": ("<think>\nPreference: B", "B"),
    "more words after it": ("Preference: A\nbecause it is longer", "A"),
    "a score beside it": ("Score: 4\nPreference: A", "A"),
}


def table(junk):
    return pytest.mark.parametrize(("text", "paid_for"), junk.values(), ids=junk)


@pytest.mark.parametrize("name", ["exact", "distance", "exponential"])
@table(SCORE_JUNK)
def test_a_text_without_a_score_pays_nothing_whatever_the_truth(name, text, paid_for):
    assert paid_for in range(5)
    for truth in range(5):
        result = open_reward(RewardConfig(functions=[name]), max_new_tokens=8)([score(text, truth)])
        assert (result.total.tolist(), result.parsed.tolist()) == ([0.0], [False])


@table(PREFERENCE_JUNK)
def test_a_text_without_a_preference_pays_nothing_whatever_the_truth(text, paid_for):
    assert paid_for in ("A", "B", "tie")
    for truth in ("A", "B", "tie"):
        result = open_reward(RewardConfig(functions=["correct"]), max_new_tokens=8)([preference(text, truth)])
        assert (result.total.tolist(), result.parsed.tolist()) == ([0.0], [False])


@table(SCORE_JUNK)
def test_what_else_a_text_is_does_not_make_up_for_the_score_that_it_lacks(text, paid_for):
    """Short, where being long costs; and beside a wrong score at full length it earns no more."""
    reward = open_reward(RewardConfig(functions=["exact", "format"], overlong_buffer=4), max_new_tokens=8)
    result = reward([score(text, paid_for, tokens=1), score(f"Score: {(paid_for + 1) % 5}", paid_for, tokens=8)])
    assert result.total.tolist() == [-1.0, 0.0]
    assert result.total[0] == reward.lowest


def test_a_verdict_that_was_cut_at_the_longest_length_is_none():
    """It may have gone on: 3.5, or a second thought."""
    reward = open_reward(RewardConfig(functions=["exact"]), max_new_tokens=8)
    assert reward([score("Score: 3", 3), score("Score: 3", 3, finished=False)]).total.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("prompt", "begun"),
    [
        ("<|im_start|>assistant\n", ""),
        ("<|im_start|>assistant\n<think>\n", "<think>\n"),
        ("Assistant: [THINK]", "[THINK]\n"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("Say <think> first.\nAssistant:", ""),
    ],
)
def test_reasoning_that_the_prompt_began_is_reasoning(prompt, begun):
    """It has no opening tag of its own; a score inside it, never closed, was taken for the verdict."""
    assert begun_by(prompt) == begun
    reward = open_reward(RewardConfig(functions=["exact"]), max_new_tokens=8)
    texts = ["I could say\nScore: 3", "I could say\nScore: 1\n</think>\nScore: 3"]
    paid = reward([score(text, 3, begun=begun_by(prompt)) for text in texts]).total.tolist()
    assert paid == [0.0 if begun else 1.0, 0.0 if "[" in begun else 1.0]


def test_a_judge_that_goes_by_the_place_earns_half_and_nothing_for_consistency():
    both = [preference("Preference: A", "A", "p", "ab"), preference("Preference: A", "B", "p", "ba")]
    paid = {
        name: open_reward(RewardConfig(functions=[name]), max_new_tokens=8)(both).total.tolist()
        for name in ("correct", "swap_consistent")
    }
    assert paid == {"correct": [1.0, 0.0], "swap_consistent": [0.0, 0.0]}


def test_a_group_without_spread_is_a_group_of_zeros_when_normalised():
    """Half of the groups at n = 4 and p = 0.85; exact zeros, so that they are found and left out."""
    config = RewardConfig(functions=["distance", "format"], weights=[0.1, 0.3], combine="normalise")
    group = [score("Score: 3", 4, group=7) for _ in range(3)]
    assert open_reward(config, max_new_tokens=8)(group).total.tolist() == [0.0, 0.0, 0.0]
