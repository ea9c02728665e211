"""Which texts state which answers."""

import pytest

from cookbook_lib.data.truth import states_answer


@pytest.mark.parametrize(
    ("text", "answer", "states"),
    [
        ("So 48+24 = 72\n#### 72", "72", True),
        ("#### 1,080", "1080", True),
        ("It is 72, or rather 71.", "72", False),
        ("It costs $-5.50", "-5.5", True),
        ("No number", "72", False),
        ("The door is Teal.", "teal", True),
        ("The door is tealish.", "teal", False),
        ("No. Ada keeps a fox.", "no; fox", True),
        ("Yes. Ada keeps a fox.", "no; fox", False),
        ("**Preference: B**\n\nResponse A: wrong.", "Preference: B", True),
        ("**Preference: A**\n\nResponse B: wrong.", "Preference: B", False),
    ],
)
def test_states_answer(text, answer, states):
    assert states_answer(text, answer) is states
