"""Rollouts as NeMo Gym really writes them, not as its documentation shows them."""

import pytest

from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.origin import RowError, RowSkipped

TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}, "strict": True}
CALL = {"type": "function_call", "name": "get_weather", "arguments": '{"city":"Oslo"}', "call_id": "c1", "id": "f1"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": '{"t":4}'}
ANSWER = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "4 degrees", "annotations": []}],
}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look it up."}], "encrypted_content": None}


def rollout(output, given="Weather in Oslo?", reward=1.0, **params):
    return {"responses_create_params": {"input": given, **params}, "response": {"output": output}, "reward": reward}


def convert(row, **options):
    return converter_named("gym").convert(row, Options(**options))


def test_one_turn_is_one_message():
    before = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]}
    conversation = convert(rollout([THOUGHT, before, CALL, OUTPUT, ANSWER], tools=[TOOL], instructions="Be brief."))
    system, user, calling, tool, answer = conversation.messages
    assert system == {"role": "system", "content": "Be brief."}
    assert user == {"role": "user", "content": "Weather in Oslo?"}
    assert calling == {
        "role": "assistant",
        "content": "Wait.",
        "reasoning_content": "Look it up.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
        ],
    }
    assert tool == {"role": "tool", "content": '{"t":4}', "tool_call_id": "c1", "name": "get_weather"}
    assert answer == {"role": "assistant", "content": "4 degrees"}
    assert conversation.tools[0]["function"]["name"] == "get_weather"


def test_users_inside_the_output_and_steps_as_lists():
    again = {"type": "message", "role": "user", "content": "And now?"}
    conversation = convert(rollout([[ANSWER], [again], [ANSWER, CALL]]))
    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "user", "assistant"]


def test_what_the_policy_did_not_write_is_not_trained():
    given = [
        {"role": "developer", "content": "S"},
        {"role": "user", "content": "Q"},
        CALL,
        OUTPUT,
        ANSWER,
        {"role": "user", "content": "Q2"},
    ]
    conversation = convert(rollout([ANSWER], given=given))
    assert [message["role"] for message in conversation.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert [message.get("train") for message in conversation.messages] == [None, None, False, None, False, None, None]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"reward": 1.0}, "responses_create_params is missing"),
        (rollout([ANSWER], reward=None), "reward is None, but a rollout needs a number"),
        ({key: value for key, value in rollout([ANSWER]).items() if key != "reward"}, "reward is missing"),
        (rollout([ANSWER], reward=2.0), "reward is 2.0, but the highest reward is taken to be 1"),
        (rollout([]), "response.output is .*what the policy did"),
        (rollout([ANSWER], given=None), "input is None"),
        (rollout([{"type": "web_search_call"}]), "is 'web_search_call', but an item is one of message"),
        (rollout([OUTPUT]), "call_id is 'c1', but an output answers a call"),
        (rollout([CALL | {"arguments": "{city"}]), "must be JSON"),
        ({"responses_create_params": {"input": "x"}, "reward": 1.0}, "response.output is missing"),
    ],
)
def test_rollouts_that_cannot_be_used(row, sentence):
    with pytest.raises(RowError, match=sentence):
        convert(row)


def test_rewards():
    for reward in (-1.0, 0, 0.94):
        with pytest.raises(RowSkipped, match="reward below 0.95"):
            convert(rollout([ANSWER], reward=reward))
    assert convert(rollout([ANSWER], reward=2.0), reward_threshold=1.9, max_reward=2.0)
    assert convert(rollout([ANSWER], reward=1))
