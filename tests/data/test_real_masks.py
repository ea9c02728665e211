"""The mask on published conversations with tools, calls and thinking (COOKBOOK_REAL_DATA)."""

import pytest

from cookbook_lib.data.masking import encode
from cookbook_lib.data.prepare import Job, prepare
from cookbook_lib.data.records import read_conversations
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import for_template

FILES = {
    "glaive_toolcall_en_demo.json.gz": "sharegpt",
    "reason_tool_use_demo_50.jsonl": "openai",
    "v1_sft_demo.jsonl": "openai",
}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("style", ["qwen3", "deepseek"])
def test_published_conversations(style, file, shared_tokenizer, real_data, tmp_path):
    tokenizer = shared_tokenizer(style)
    prepare(Job(FILES[file], tmp_path, inputs=(str(real_data / "llamafactory" / file),), test_ratio=0))
    kept = 0
    for conversation in read_conversations(str(tmp_path / "train.parquet"), limit=100):
        try:
            example = encode(conversation, tokenizer, max_length=100_000)
        except RowRefused as refusal:
            assert refusal.reason == "empty_answer"
            continue
        kept += 1
        messages, tools = for_template(conversation.messages), list(conversation.tools or ()) or None
        assert example.input_ids.tolist() == tokenizer.apply_chat_template(messages, tools=tools)["input_ids"]
        learned = tokenizer.decode(example.input_ids[example.weights > 0])
        for message in messages:
            if message["role"] == "assistant":
                assert (message.get("content") or "").strip() in learned
                assert all(call["function"]["name"] in learned for call in message.get("tool_calls", ()))
        assert learned.count(tokenizer.eos_token) == sum(message["role"] == "assistant" for message in messages)
    assert kept > 40
