"""Conversations and samples, as HTML and as text."""

from cookbook_lib.display import conversation, side_by_side

CALL = {"role": "assistant", "content": None, "reasoning_content": "look it up",
        "tool_calls": [{"function": {"name": "find", "arguments": {"q": "é"}}}]}  # fmt: skip


def test_every_turn_its_role_and_its_words():
    view = conversation([{"role": "user", "content": "a\nb"}, CALL, {"role": "tool", "content": "<hit>"}], "Row 3")
    assert view.text.splitlines() == [
        "Row 3",
        "     user  a",
        "           b",
        "assistant  [thinks] look it up",
        '           [calls] find({"q": "é"})',
        "     tool  <hit>",
    ]
    assert "&lt;hit&gt;" in view.html
    assert "<hit>" not in view.html


def test_only_an_answer_that_equals_the_expected_one_is_marked():
    view = side_by_side([{"prompt": "2+2?", "base": "5", "tuned": " 4\n", "expected": "4"}])
    assert view.text.count("✓") == 1
    assert view.html.count("✓") == 1
    assert "tuned   4" in view.text


def test_samples_may_lack_a_column():
    view = side_by_side([{"prompt": "x", "base": "y"}, {"prompt": "z", "tuned": "w"}], "Samples")
    assert view.text == "Samples\n\nprompt  x\n  base  y\n\nprompt  z\n tuned  w"
