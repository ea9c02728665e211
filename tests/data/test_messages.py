"""What messages may hold, and how published spellings become ours."""

import pytest

from cookbook_lib.data.messages import check, normalise, normalise_tools, require_answer
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


def test_content_parts_become_content_reasoning_and_calls():
    parts = [
        {"type": "reasoning", "value": "Look up."},
        {"type": "text", "text": "I will "},
        {"type": "output_text", "text": "look."},
        {"type": "tool_call", "value": '{"name": "look", "arguments": {"at": "sky"}}'},
    ]
    user, assistant = normalise(
        [{"role": "user", "content": [{"type": "text", "value": "Hi"}]}, {"role": "assistant", "content": parts}]
    )
    assert user == USER
    assert assistant == {
        "role": "assistant",
        "content": "I will look.",
        "reasoning_content": "Look up.",
        "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}],
    }


def test_an_image_part_is_refused():
    with pytest.raises(RowError, match="only text can be learned"):
        normalise([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_call_arguments_become_objects_and_keep_their_id():
    flat = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "name": "look", "arguments": '{"at": "sky"}'}],
    }
    assert normalise([flat])[0]["tool_calls"] == [CALL]
    for arguments in ("{broken", "[1]"):
        broken = {"role": "assistant", "content": "", "tool_calls": [{"name": "look", "arguments": arguments}]}
        with pytest.raises(RowError, match="arguments"):
            normalise([broken])


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [("loss_weight", 1.0, {}), ("weight", 0, {"weight": 0}), ("loss_weight", 0.5, {"weight": 0.5})],
)
def test_a_weight_is_kept_only_where_it_says_something(key, value, kept):
    assert normalise([ANSWER | {key: value}]) == (ANSWER | kept,)
    assert normalise([USER | {"loss_weight": 0.0}]) == (USER,)


def test_null_keys_and_the_developer_role():
    raw = {"role": "developer", "content": "Be brief.", "tool_calls": None, "name": None}
    assert normalise([raw]) == ({"role": "system", "content": "Be brief."},)


def test_tools_are_nested_whether_flat_nested_or_json():
    nested = ({"type": "function", "function": {"name": "look", "parameters": {}}},)
    assert normalise_tools([{"type": "function", "name": "look", "parameters": {}}]) == nested
    assert normalise_tools('[{"name": "look", "parameters": {}}]') == nested
    assert normalise_tools(list(nested)) == nested
    assert normalise_tools("[]") is normalise_tools("") is normalise_tools(None) is None
    with pytest.raises(RowError, match="it must be JSON"):
        normalise_tools("[{")
