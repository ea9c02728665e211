"""What messages may hold."""

import pytest

from cookbook_lib.data.messages import check, require_answer
from cookbook_lib.data.origin import RowError

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}


@pytest.mark.parametrize(
    ("messages", "field", "rule"),
    [
        ([], "messages", "at least one message"),
        (["Hi"], r"messages\[0\]", "object with role and content"),
        ([{"role": "bot", "content": "Hi"}], r"messages\[0\].role", "one of system, user, assistant, tool"),
        ([{"role": ["user"], "content": "Hi"}], r"messages\[0\].role", "one of system, user, assistant, tool"),
        ([USER, {"role": "assistant"}], r"messages\[1\].content", "a string"),
        ([{"role": "user", "content": None}], r"messages\[0\].content", "a string"),
        ([{"role": "user", "content": 7}], r"messages\[0\].content", "a string"),
        ([{"role": "user", "content": "half \ud83d"}], r"messages\[0\].content", "half a surrogate"),
        ([USER, ANSWER | {"weight": -1}], r"messages\[1\].weight", "0 or more"),
        ([USER, ANSWER | {"weight": float("nan")}], r"messages\[1\].weight", "finite"),
        ([USER, ANSWER | {"train": "yes"}], r"messages\[1\].train", "true or false"),
        ([USER, ANSWER | {"tool_calls": [{"name": "look"}]}], r"tool_calls\[0\]", "needs function.name"),
        ([USER, {"role": "tool", "content": "", "tool_call_id": "c9"}], r"messages\[1\].tool_call_id", "earlier call"),
        ([USER, {"role": "tool", "content": "", "tool_call_id": [1]}], r"messages\[1\].tool_call_id", "earlier call"),
        ([USER, ANSWER | {"tool_calls": [CALL | {"id": [1]}]}], r"tool_calls\[0\].id", "text or a number"),
    ],
)
def test_broken_messages_name_the_field_and_the_rule(messages, field, rule):
    with pytest.raises(RowError, match=f"{field} is .*{rule}"):
        check(messages)


def test_sound_messages_pass_as_they_are():
    answered = {"role": "tool", "content": "blue", "tool_call_id": "c1"}
    check([USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, answered, ANSWER | {"weight": 0.5}])


def test_a_conversation_must_have_an_answer():
    require_answer([USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}])
    with pytest.raises(RowError, match="needs an assistant message"):
        require_answer([USER, {"role": "assistant", "content": ""}])
