"""transform_gym_to_sft: the documented command, on rollouts as they are."""

import json
import runpy
from pathlib import Path

import pytest

from cookbook_lib.data.records import read_conversations

ROOT = Path(__file__).resolve().parents[2]
main = runpy.run_path(str(ROOT / "scripts" / "transform_gym_to_sft.py"))["main"]
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "4 degrees"}]}
CALL = {"type": "function_call", "name": "weather", "arguments": '{"city": "Oslo", "unit": null}', "call_id": "c1"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "4"}
TOOLS = [{"type": "function", "name": "weather", "parameters": {"properties": {"city": {"default": None}}}}]


def rollouts(path, *rewards):
    row = {
        "responses_create_params": {"input": "Weather?", "tools": TOOLS},
        "response": {"output": [CALL, OUTPUT, ANSWER]},
    }
    path.write_text(
        "\n".join(json.dumps(row | {"reward": reward} if reward is not None else row) for reward in rewards)
    )
    return path


def transform(path, tmp_path, *more):
    output = tmp_path / "made" / "train.jsonl"
    code = main(["--input", str(path), "--output", str(output), *more])
    return code, output


def test_openai(tmp_path):
    path = rollouts(tmp_path / "rollouts.jsonl", 1.0, 0.5, None)
    code, output = transform(path, tmp_path, "--reward_threshold", "0.95", "--format", "openai")
    assert code == 0
    (line,) = map(json.loads, output.read_text().splitlines())
    assert [message["role"] for message in line["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert line["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo", "unit": None}
    assert line["tools"][0]["function"]["parameters"] == TOOLS[0]["parameters"]
    report = json.loads((output.parent / "train.jsonl.report.json").read_text())
    assert (report["rows_read"], report["kept"], report["rows_skipped"], report["rows_refused"]) == (3, 1, 1, 1)
    assert {entry["first"][0]["row"] for entry in report["dropped"].values()} == {2, 3}
    (conversation,) = read_conversations(output, tools_key="tools")
    assert list(conversation.messages) == line["messages"]
    assert list(conversation.tools) == line["tools"]


def test_simple(tmp_path):
    code, output = transform(rollouts(tmp_path / "rollouts.jsonl", 1.0), tmp_path, "--format", "simple")
    assert code == 0
    assert json.loads(output.read_text()) == {"input": "Weather?", "output": "4 degrees"}


@pytest.mark.parametrize(
    ("rewards", "more", "sentence"),
    [
        ((0.1, 0.2), (), "none of 2 rows was kept (reward below 0.95: 2)"),
        ((None,), (), "reward is missing"),
        ((2.0,), (), "the highest reward is taken to be 1"),
    ],
)
def test_nothing_written_is_status_2(tmp_path, capsys, rewards, more, sentence):
    code, output = transform(rollouts(tmp_path / "rollouts.jsonl", *rewards), tmp_path, *more)
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not output.exists()
    assert not list(output.parent.glob("*.partial"))


def test_an_environment_with_another_scale(tmp_path):
    code, output = transform(
        rollouts(tmp_path / "r.jsonl", 2.0, 1.0), tmp_path, "--reward_threshold", "1.9", "--max_reward", "2"
    )
    assert code == 0
    assert len(output.read_text().splitlines()) == 1
