"""How published spellings of messages and tools become ours."""

import pytest

from cookbook_lib.data.origin import RowError
from cookbook_lib.data.spellings import normalise, normalise_tools

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}


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
    assert normalise([USER | {"loss_weight": 0.0}]) == (USER | {"weight": 0.0},)  # silences it under train_on=all


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


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"type": []}, "only text can be learned"),
        ({"type": "reasoning"}, r"content\[0\].value is None, but reasoning is text"),
    ],
)
def test_parts_that_are_none(part, sentence):
    with pytest.raises(RowError, match=sentence):
        normalise([{"role": "assistant", "content": [part]}])
