"""ShareGPT, instructions, OpenAI, HelpSteer2, GSM8K: every published role and name, and the sentence for others."""

import json

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options, check_options, converter_named
from cookbook_lib.data.converters.helpsteer2 import marked_prompt, prompt_turns
from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.records import Conversation, group_of


def convert(name, row, **options):
    made = converter_named(name).convert(row, Options(**options))
    return [made] if isinstance(made, Conversation) else list(made)


def spoken(conversation):
    return [(message["role"], message["content"]) for message in conversation.messages]


@pytest.mark.parametrize(
    ("published", "role"),
    [
        *((name, "user") for name in ("human", "user", "prompter")),
        *((name, "assistant") for name in ("gpt", "assistant", "chatgpt", "bing", "bard", "model")),
        ("system", "system"),
        *((name, "tool") for name in ("observation", "tool", "tool_response", "function_response")),
    ],
)
def test_every_sharegpt_role(published, role):
    (conversation,) = convert("sharegpt", {"conversations": [{"from": published, "value": "x"}]})
    assert spoken(conversation) == [(role, "x")]


@pytest.mark.parametrize("as_list", [True, False])
def test_sharegpt_calls_and_tools(as_list):
    call = {"name": "look", "arguments": {"at": ["sky"], "how": None}}
    row = {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "Look"},
            {"from": "function_call", "value": json.dumps([call, call] if as_list else call)},
            {"from": "observation", "value": "blue"},
            {"from": "gpt", "value": "Blue."},
        ],
        "tools": '[{"name": "look", "parameters": {}}]',
    }
    (conversation,) = convert("sharegpt", row)
    assert [role for role, _ in spoken(conversation)] == ["system", "user", "assistant", "tool", "assistant"]
    assert conversation.messages[2]["tool_calls"] == [{"type": "function", "function": call}] * (2 if as_list else 1)
    assert conversation.tools == ({"type": "function", "function": {"name": "look", "parameters": {}}},)


@pytest.mark.parametrize(
    ("name", "row", "sentence"),
    [
        ("sharegpt", {"messages": []}, "conversations is missing"),
        ("sharegpt", {"conversations": []}, "must be a list"),
        (
            "sharegpt",
            {"conversations": [{"from": "narrator", "value": "x"}]},
            r"conversations\[0\].from is 'narrator', but a published role",
        ),
        ("sharegpt", {"conversations": [{"value": "x"}]}, r"conversations\[0\].from is missing"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": None}]}, r"conversations\[0\].value is None"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "look()"}]}, "it must be JSON"),
        ("sharegpt", {"conversations": ["Hi"]}, "a turn is an object"),
        ("alpaca", {"output": "x"}, "instruction or prompt or query or question is missing.*it has: output"),
        ("alpaca", {"instruction": "x"}, "output or response or answer or completion is missing"),
        ("alpaca", {"instruction": 3, "output": "x"}, "instruction is 3, but it must be a string"),
        (
            "alpaca",
            {"instruction": "x", "output": "y", "history": ["z"]},
            r"history\[0\] is 'z', but a past turn is a pair",
        ),
        ("alpaca", {"instruction": "x", "output": "y", "history": True}, "history is True, but past turns are a list"),
        ("openai", {"conversations": []}, "messages is missing"),
        ("openai", {"messages": [{"from": "human", "value": "x"}]}, "use --source sharegpt for from/value"),
        ("openai", {"messages": [{"role": "bot", "content": "x"}]}, "is 'bot', but a role is one of"),
        ("openai", {"messages": [{"role": "user", "content": "x"}], "tools": "[{"}, "tools is .* must be JSON"),
        ("helpsteer2", {"prompt": "x", "correctness": 4}, "response is missing"),
        ("helpsteer2", {"prompt": "x", "response": "y"}, "correctness is missing"),
        ("helpsteer2", {"prompt": "x", "response": "y", "correctness": 5}, "must lie between 0 and 4"),
        ("helpsteer2", {"prompt": "x", "response": "y", "correctness": 3.5}, "must be a whole number"),
        ("helpsteer2", {"prompt": "x", "response": "y", "correctness": float("inf")}, "must be a whole number"),
        (
            "helpsteer2",
            {"prompt": "x<extra_id_1>Assistant\ny", "response": "y", "correctness": 4},
            "the last is the user's",
        ),
        ("gsm8k", {"question": "x", "answer": "72"}, "ends in one line '#### N'"),
    ],
)
def test_rows_that_break_a_format(name, row, sentence):
    with pytest.raises(RowError, match=sentence):
        convert(name, row)


@pytest.mark.parametrize("question", ["instruction", "prompt", "query", "question"])
@pytest.mark.parametrize("answer", ["output", "response", "answer", "completion"])
def test_instruction_names(question, answer):
    (conversation,) = convert("alpaca", {question: "Add.", "input": "1, 2", answer: "3"})
    assert spoken(conversation) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
    (conversation,) = convert("alpaca", {question: "Add.", "input": " ", answer: "3"})
    assert spoken(conversation) == [("user", "Add."), ("assistant", "3")]


def test_instruction_system_history_and_instances():
    row = {"system": "S", "instruction": "c", "output": "d", "history": [["a", "b"]]}
    (conversation,) = convert("alpaca", row)
    assert spoken(conversation) == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    row = {"instruction": "Add.", "instances": [{"input": "1, 2", "output": "3"}, {"input": "", "output": "?"}]}
    assert [spoken(made)[-1][1] for made in convert("alpaca", row)] == ["3", "?"]


def test_helpsteer2_keeps_the_correct_and_splits_turns():
    prompt = "What is a bond?<extra_id_1>Assistant\nA loan.\n<extra_id_1>User\nAnd a coupon?"
    row = {"prompt": prompt, "response": "Its interest.", "correctness": 4.0}
    (conversation,) = convert("helpsteer2", row)
    turns = [("user", "What is a bond?"), ("assistant", "A loan."), ("user", "And a coupon?")]
    assert spoken(conversation) == [*turns, ("assistant", "Its interest.")]
    assert conversation.group == group_of(prompt)
    with pytest.raises(RowSkipped, match="correctness below 4"):
        convert("helpsteer2", row | {"correctness": 3})
    assert convert("helpsteer2", row | {"correctness": 3}, min_correctness=3)
    assert spoken(Conversation(prompt_turns(marked_prompt(["a", "b", "c"])))) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_gsm8k_loses_its_calculator():
    (conversation,) = convert("gsm8k", {"question": "How many?", "answer": "48/2 = <<48/2=24>>24 a month.\n#### 1,024"})
    assert conversation.messages[-1]["content"] == "48/2 = 24 a month.\n#### 1,024"
    assert conversation.answer == "1024"


def test_idle_options_and_unknown_names():
    with pytest.raises(CookbookError, match="--min-correctness has no effect on 'gsm8k' rows"):
        check_options(converter_named("gsm8k"), Options(min_correctness=3))
    with pytest.raises(CookbookError, match="converter 'sharegtp' is not known; choose one of alpaca, "):
        converter_named("sharegtp")
