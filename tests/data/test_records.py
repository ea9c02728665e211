"""Conversations: checked when made, labelled without being checked again, grouped by their prompt."""

import pytest

from cookbook_lib.data.origin import Origin
from cookbook_lib.data.records import Conversation, RowError, chat, group_of, opening_group


def test_a_broken_conversation_tells_its_place():
    with pytest.raises(
        RowError, match=r"^train.jsonl row 17: messages\[0\].role is 'bot', but a role is one of"
    ) as caught:
        Conversation(({"role": "bot", "content": "x"},), origin=Origin("train.jsonl", 17))
    error = caught.value
    assert (error.file, error.row, error.field, error.found) == ("train.jsonl", 17, "messages[0].role", "bot")


def test_labels_change_nothing_else():
    conversation = chat("Hi", "Hello", system="Be kind.", source="s", answer="hello")
    labelled = conversation.labelled(Origin("f", 3), "g")
    assert labelled == Conversation(conversation.messages, None, Origin("f", 3), "g", "s", "hello")
    assert conversation.origin is None


def test_groups_depend_on_words_alone():
    assert group_of("What is  a bond?\n") == group_of("what is a bond?") != group_of("What is a bund?")
    assert (
        opening_group(chat("Hi", "a", system="x").messages) == opening_group(chat("Hi", "b").messages) == group_of("Hi")
    )
    assert len(group_of("half \ud83d")) == 16
