"""The published files, where they are at hand (COOKBOOK_REAL_DATA): counts in, kept and dropped are known."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options
from cookbook_lib.data.prepare import Job, prepare
from cookbook_lib.data.records import read_conversations
from cookbook_lib.data.rollouts import transform_rollouts

DATA = os.environ.get("COOKBOOK_REAL_DATA")
UNANSWERED = "a conversation needs an assistant message with content or a tool call"
pytestmark = pytest.mark.skipif(not DATA, reason="COOKBOOK_REAL_DATA names no folder of published files")


def real(name):
    return str(Path(DATA or "") / name)


@pytest.mark.parametrize(
    ("source", "name", "read", "kept", "dropped"),
    [
        ("sharegpt", "fastchat/dummy_conversation.json", 500, 500, {}),
        ("sharegpt", "llamafactory/glaive_toolcall_en_demo.json.gz", 300, 265, {"exact duplicate": 35}),
        ("openai", "llamafactory/reason_tool_use_demo_50.jsonl", 50, 50, {}),
        ("openai", "llamafactory/v1_sft_demo.jsonl", 500, 499, {"exact duplicate": 1}),
        ("openai", "llamafactory/kto_en_demo.json.gz", 300, 300, {}),
        ("alpaca", "gpteacher", 4535, 4535, {}),
        ("gsm8k", "gsm8k/train.jsonl.gz", 7473, 7473, {}),
        ("gsm8k", "gsm8k/test.jsonl.gz", 1319, 1319, {}),
        ("gym", "nemo_gym", 50, 32, {"reward below 0.95": 18}),
        ("judge", "ultrafeedback/train_clean.jsonl.gz", 1000, 1000, {}),
        ("sharegpt", "llamafactory/dpo_en_demo.json.gz", 300, 103, {UNANSWERED: 194, "exact duplicate": 3}),
    ],
)
def test_counts(tmp_path, source, name, read, kept, dropped):
    summary = prepare(Job(source, tmp_path, inputs=(real(name),)))
    written = [c for split in ("train", "test") for c in read_conversations(tmp_path / f"{split}.parquet")]
    assert len(written) == summary["kept"] == summary["splits"]["train"]["rows"] + summary["splits"]["test"]["rows"]
    assert (summary["rows_read"], summary["kept"]) == (read, kept)
    assert {reason: entry["count"] for reason, entry in summary["dropped"].items()} == dropped


def conversations(tmp_path, source, name, **job):
    prepare(Job(source, tmp_path, inputs=(real(name),), test_ratio=0, **job))
    return list(read_conversations(tmp_path / "train.parquet"))


def test_sharegpt_tools_are_not_users(tmp_path):
    """A one-line mapping that others print made 422 tool messages of this file into user turns."""
    made = conversations(tmp_path, "sharegpt", "llamafactory/glaive_toolcall_en_demo.json.gz", keep_duplicates=True)
    messages = [message for conversation in made for message in conversation.messages]
    roles = [message["role"] for message in messages]
    assert {role: roles.count(role) for role in sorted(set(roles))} == {"assistant": 957, "tool": 211, "user": 746}
    assert sum("tool_calls" in message for message in messages) == 211
    assert sum(conversation.tools is None for conversation in made) == 109


def test_reasoning_and_calls_come_back_as_published(tmp_path):
    name = "llamafactory/reason_tool_use_demo_50.jsonl"
    made = conversations(tmp_path, "openai", name)
    published = [json.loads(line) for line in Path(real(name)).read_text(encoding="utf-8").split("\n") if line]
    assert [conversation.tools for conversation in made] == [
        tuple(json.loads(row["tools"])) or None for row in published
    ]
    for conversation, row in zip(made, published, strict=True):
        for message, raw in zip(conversation.messages, row["messages"], strict=True):
            parts = {
                kind: [p["value"] for p in raw["content"] if p["type"] == kind]
                for kind in ("text", "reasoning", "tool_call")
            }
            assert message["content"] == "".join(parts["text"])
            assert message.get("reasoning_content", "") == "".join(parts["reasoning"])
            calls = [call["function"] for call in message.get("tool_calls", ())]
            assert calls == [json.loads(value) for value in parts["tool_call"]]


def test_gsm8k_answers_and_marks(tmp_path):
    made = conversations(tmp_path, "gsm8k", "gsm8k/test.jsonl.gz")
    assert not any("<<" in conversation.messages[-1]["content"] for conversation in made)
    assert all(conversation.answer and conversation.answer.lstrip("-").isdigit() for conversation in made)


def test_ultrafeedback_ties_are_ties(tmp_path):
    made = conversations(tmp_path, "judge", "ultrafeedback/train_clean.jsonl.gz")
    assert sum(conversation.answer == "Preference: tie" for conversation in made) == 111


@pytest.mark.parametrize(("form", "written"), [("openai", 50), ("simple", 50)])
def test_every_real_rollout_converts(tmp_path, form, written):
    output = tmp_path / "train.jsonl"
    summary = transform_rollouts([real("nemo_gym")], output, form=form, options=Options(reward_threshold=-1))
    assert summary["kept"] == len(output.read_text(encoding="utf-8").splitlines()) == written
    if form == "openai":
        messages = [
            message
            for line in output.read_text(encoding="utf-8").split("\n")[:-1]
            for message in json.loads(line)["messages"]
        ]
        assert sum(len(message.get("tool_calls", ())) for message in messages) == 83
        assert sum(message["role"] == "tool" for message in messages) == 83
        assert all(message["tool_call_id"] for message in messages if message["role"] == "tool")
        assert not any(a["role"] == b["role"] == "assistant" for a, b in pairwise(messages))


def test_files_of_another_format_are_named(tmp_path):
    with pytest.raises(CookbookError, match=r"example_model_solutions.*answer is missing.*175b_finetuning"):
        prepare(Job("gsm8k", tmp_path, inputs=(real("gsm8k"),)))
    with pytest.raises(CookbookError, match=r"kto_en_demo.*conversations is missing"):
        prepare(Job("sharegpt", tmp_path, inputs=(real("llamafactory/kto_en_demo.json.gz"),)))
