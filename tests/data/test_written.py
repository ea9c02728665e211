"""Texts of completions: special tokens go, but for the tags of reasoning and of tool calls."""

from types import SimpleNamespace

import pytest
from tokenizers import AddedToken

from cookbook_lib.data.judge.verdicts import read_score
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.written import texts_of
from cookbook_lib.evaluation import answers
from cookbook_lib.models.generate import Completion
from cookbook_lib.training.rewards.tool_calls import read_calls

TAGS = ["[THINK]", "[/THINK]", "<seed:think>", "</seed:think>", "<reasoning>", "</reasoning>"]
SAID = {
    "[THINK]Score: 3": None,
    "[THINK]It lacks a point.[/THINK]\nScore: 3": 3,
    "[THINK]Score: 4[/THINK]Fair.\nScore: 2": 2,
    "<seed:think>Score: 3": None,
    "<reasoning>Score: 1\n</reasoning>": None,
    "<think>Score: 3": None,
    "Grüße 🦉.\nScore: 3": 3,
}


@pytest.fixture
def tokenizer(make_tokenizer):
    made = make_tokenizer("chatml")
    made.add_tokens([AddedToken(tag, special=True) for tag in TAGS])
    return made


@pytest.mark.parametrize(("text", "score"), SAID.items())
def test_reasoning_s_tags_stay(tokenizer, text, score):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    (read,) = texts_of(tokenizer, [[*ids, tokenizer.eos_token_id]])
    assert read == text, "and the end token goes"
    assert read_score(read) == score


def test_a_tool_call_s_tags_stay(tokenizer):
    """Where they are special tokens, its text without them is no call."""
    tokenizer.add_tokens(
        [AddedToken(tag, special=True) for tag in ("<think>", "</think>", "<tool_call>", "</tool_call>")]
    )
    text = '<think>Look it up.</think><tool_call>{"name": "find", "arguments": {"word": "owl"}}</tool_call>'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    (read,) = texts_of(tokenizer, [[*ids, tokenizer.eos_token_id]])
    assert read == text
    assert read_calls(read) == read_calls(text) is not None


def test_without_tags_texts_are_the_tokenizer_s_own(tokenizer):
    several = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (" the cat", "", "12 + 30? 42.\n")]
    assert texts_of(tokenizer, several) == [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in several]


def test_an_evaluated_model_s_reasoning_keeps_its_tags(tokenizer, monkeypatch):
    written = tokenizer("[THINK]It is 41.[/THINK]It is 42.", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(answers, "generate", lambda *args, **options: [Completion(tuple(written), True)])
    question = answers.question_of(
        Conversation(({"role": "user", "content": "12 + 30?"}, {"role": "assistant", "content": "42"}))
    )
    (answer,) = answers.ask(SimpleNamespace(), tokenizer, [question], max_new_tokens=9)
    assert answer.text == "[THINK]It is 41.[/THINK]It is 42."
