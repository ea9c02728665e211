"""Filters say why; repairs say what; duplicates say of what."""

import pytest

from cookbook_lib.data import quality
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.records import Conversation, chat


def talk(*roles, content="x", row=1):
    return Conversation(tuple({"role": role, "content": content} for role in roles), origin=Origin("f.jsonl", row))


def test_empty_messages():
    assert quality.not_empty(chat("Hi", "Hello")) is None
    assert quality.not_empty(chat("Hi", " \n")) == "empty assistant message"
    assert quality.not_empty(chat("", "Hello")) == "empty user message"
    assert quality.not_empty(Conversation((*chat("a", "b").messages, {"role": "tool", "content": ""}))) is None


def test_length_and_turns():
    assert quality.length(most=4)(chat("Hi", "Hey")) == "longer than 4 characters"
    assert quality.length(least=6)(chat("Hi", "Hey")) == "shorter than 6 characters"
    assert quality.length(most=5, least=5)(chat("Hi", "Hey")) is None
    assert quality.turns(most=1)(talk("user", "assistant", "user", "assistant")) == "more than 1 user turns"
    assert quality.turns(least=1)(talk("system", "assistant")) == "fewer than 1 user turns"


def test_duplicates_tell_the_first_place():
    duplicates = quality.Duplicates()
    assert duplicates(talk("user", "assistant", row=3)) is None
    again = talk("user", "assistant", row=9)
    assert duplicates(again) == "exact duplicate"
    assert duplicates.first_place(again) == "f.jsonl row 3"
    assert duplicates.found == 1


@pytest.mark.parametrize(
    "other",
    [
        chat("ab", "c"),
        chat("a", "b"),
        chat("a", "bc", system=""),
        Conversation(chat("a", "bc").messages, tools=({"type": "function"},)),
        Conversation(({"role": "user", "content": "a"}, {"role": "assistant", "content": "bc", "train": False})),
    ],
)
def test_what_differs_is_no_duplicate(other):
    same = quality.digest_of(other) == quality.digest_of(chat("a", "bc"))
    assert same == (other.messages == chat("a", "bc").messages and other.tools is None)


def test_ends_are_trimmed_and_said():
    trimmed, what = quality.trim_ends(talk("system", "assistant", "user", "assistant", "user", "tool"))
    assert [message["role"] for message in trimmed.messages] == ["system", "user", "assistant"]
    assert what == "without the question or answer that had no counterpart at an end"
    whole = talk("user", "assistant")
    assert quality.trim_ends(whole) == (whole, None)
