"""What is written comes back, byte for byte; what others write can be read."""

import json
import string

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.parquet import ConversationWriter
from cookbook_lib.data.records import Conversation, read_conversations
from cookbook_lib.data.report import Report

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_values, max_size=4)
calls = st.builds(
    lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": arguments}},
    text,
    objects | text,
)
plain = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "user", "assistant", "tool"]),
    text,
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "name": text,
        "reasoning_content": text | st.none(),
        "train": st.booleans(),
        "weight": st.floats(0, 10),
        "made_up": json_values,
    },
)
caller = st.builds(
    lambda said, asked, more: {"role": "assistant", "content": said, "tool_calls": asked, **more},
    text | st.none(),
    st.lists(calls, max_size=2),
    extras,
)
answer = st.just({"role": "assistant", "content": "yes"})
conversations = st.builds(
    lambda messages, tools, group, source, truth: Conversation(
        (*messages, {"role": "assistant", "content": "yes"}), tuple(tools) or None, None, group, source, truth
    ),
    st.lists(plain | caller | st.builds(lambda a, b: a | b, plain, extras), max_size=4),
    st.lists(objects, max_size=3),
    st.text(string.hexdigits, min_size=1, max_size=16),
    text | st.none(),
    text | st.none(),
)


def exact(conversation):
    return json.dumps(
        [conversation.messages, conversation.tools, conversation.group, conversation.source, conversation.answer]
    )


@settings(max_examples=60, deadline=None)
@given(written=st.lists(conversations, min_size=1, max_size=6))
def test_conversations_come_back_byte_for_byte(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("parquet") / "train.parquet"
    with ConversationWriter(path) as writer:
        for conversation in written:
            writer.write(conversation)
    back = list(read_conversations(path))
    assert [exact(conversation) for conversation in back] == [exact(conversation) for conversation in written]
    assert [conversation.origin for conversation in back] == [Origin(str(path), n + 1) for n in range(len(written))]


def test_pandas_sees_the_messages_column_of_the_seeds(tmp_path):
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    with ConversationWriter(tmp_path / "train.parquet") as writer:
        writer.write(Conversation(turns))
        writer.write(Conversation((turns[0], turns[1] | {"weight": 0.5})))
    frame = pd.read_parquet(tmp_path / "train.parquet")
    assert [list(messages) for messages in frame["messages"]] == [list(turns), list(turns)]
    assert frame["messages_json"].isna().tolist() == [True, False]


def test_two_tools_do_not_lend_each_other_keys(tmp_path):
    def calling(**arguments):
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": arguments}}],
        }

    tools = (
        {"type": "function", "function": {"name": "f", "parameters": {"a": None}}},
        {"type": "function", "function": {"name": "g"}},
    )
    written = [
        Conversation(({"role": "user", "content": "go"}, calling(**given)), tools) for given in ({"a": 1}, {"b": None})
    ]
    with ConversationWriter(tmp_path / "train.parquet") as writer:
        for conversation in written:
            writer.write(conversation)
    back = list(read_conversations(tmp_path / "train.parquet"))
    assert [(conversation.messages, conversation.tools) for conversation in back] == [
        (c.messages, c.tools) for c in written
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_files_written_by_others(tmp_path, as_json):
    tools = [{"type": "function", "function": {"name": "look"}}]
    row = {
        "chat": [
            {"role": "user", "content": "Hi", "name": None},
            {"role": "assistant", "content": "Hello", "name": None},
        ],
        "functions": json.dumps(tools) if as_json else tools,
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "theirs.parquet")
    (conversation,) = read_conversations(tmp_path / "theirs.parquet", messages_key="chat", tools_key="functions")
    assert conversation.messages == ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    assert conversation.tools == tuple(tools)
    assert conversation.group


def test_a_frame_of_the_seed_document(tmp_path):
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    pd.DataFrame({"messages": [messages]}).to_parquet(tmp_path / "train.parquet")
    (conversation,) = read_conversations(str(tmp_path / "train.parquet"))
    assert list(conversation.messages) == messages


def test_wrong_columns_are_named(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"text": "Hi"}]), tmp_path / "theirs.parquet")
    with pytest.raises(RowError, match=r"theirs.parquet row 1: messages is missing.*columns here: text"):
        list(read_conversations(tmp_path / "theirs.parquet"))
    with pytest.raises(CookbookError, match="every one of its 1 rows cannot be used"):
        list(read_conversations(tmp_path / "theirs.parquet", report=Report()))


def test_limit_and_report(tmp_path):
    lines = [
        {"messages": [{"role": role, "content": "x"}]}
        for role in ("assistant", "user", "assistant", "bot", "assistant")
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = Report()
    assert len(list(read_conversations(tmp_path / "rows.jsonl", report=report))) == 3
    assert report.counts["rows_refused"] == 2
    assert len(list(read_conversations(tmp_path / "rows.jsonl", limit=2, report=Report()))) == 2


def test_no_half_file_is_left_behind(tmp_path):
    def interrupted():
        with ConversationWriter(tmp_path / "train.parquet") as writer:
            writer.write(Conversation(({"role": "assistant", "content": "x"},)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_json_cannot_say_is_refused(tmp_path):
    infinite = Conversation(({"role": "assistant", "content": "x", "made_up": float("inf")},))
    with (
        pytest.raises(RowError, match="messages.* it must be JSON"),
        ConversationWriter(tmp_path / "train.parquet") as writer,
    ):
        writer.write(infinite)
