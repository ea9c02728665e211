"""Choosing a chat template: a preset, a file, the tokenizer's own, or a refusal that says which there are."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.templates import PRESETS, preset, resolve_template, strip_thinking, use_template


def test_a_preset_is_its_file_and_is_saved_with_the_tokenizer(style, tokenizer, tmp_path):
    assert tokenizer.chat_template == preset(style) == resolve_template(style, tokenizer)
    tokenizer.save_pretrained(tmp_path)
    reloaded = type(tokenizer).from_pretrained(tmp_path)
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    assert reloaded.apply_chat_template(chat)["input_ids"] == tokenizer.apply_chat_template(chat)["input_ids"]


def test_a_preset_opens_an_answer_as_it_prompts_for_one(style, tokenizer):
    asked = [{"role": "user", "content": "hi"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "yes"}], tokenize=False)
    assert whole.startswith(prompt)


@pytest.mark.parametrize("thinking", [True, False])
def test_qwen3_prompts_for_an_answer_without_thinking_as_it_writes_one(thinking, make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    asked = [{"role": "user", "content": "hi"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=thinking)
    assert prompt.endswith("<|im_start|>assistant\n" + ("" if thinking else "<think>\n\n</think>\n\n"))


def test_null_is_the_tokenizers_own(make_tokenizer):
    tokenizer = make_tokenizer("llama3")
    assert use_template(tokenizer, None).chat_template == preset("llama3")


def test_a_file(make_tokenizer, tmp_path):
    file = tmp_path / "my.jinja"
    file.write_text("{{ 'é' }}", encoding="utf-8")
    assert use_template(make_tokenizer("chatml"), str(file)).chat_template == "{{ 'é' }}"


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("lama3", r"data.chat_template is 'lama3'; it must be a preset \(chatml, qwen3, .*\), a .jinja file, or null"),
        ("none.jinja", "'none.jinja' and there is no such file; correct the path"),
    ],
)
def test_a_wrong_choice_is_refused(choice, says, make_tokenizer):
    with pytest.raises(CookbookError, match=says):
        use_template(make_tokenizer("chatml"), choice)


def test_no_template_at_all_is_refused(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = None
    with pytest.raises(CookbookError, match="set data.chat_template to a preset"):
        use_template(tokenizer, None)


def test_several_templates_of_a_tokenizer(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = {"default": "D", "rag": "R"}
    assert resolve_template(None, tokenizer) == "D"


def test_a_preset_whose_tokens_the_tokenizer_lacks_is_refused(tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(CookbookError, match=r"'llama3' and the tokenizer has no token <\|start_header_id\|>, .*family"):
        use_template(tokenizer, "llama3")


def test_every_preset_is_a_file_and_every_file_a_preset():
    from cookbook_lib.data.templates import FOLDER

    assert {file.stem for file in FOLDER.glob("*.jinja")} == set(PRESETS)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nhm\n</think>\n\nyes", "yes"),
        ("yes", "yes"),
        ("  <think>a</think>b</think>c", "b</think>c"),
        ("see <think>a</think>", "see <think>a</think>"),
        ("<think>never closed", "<think>never closed"),
    ],
)
def test_strip_thinking(text, answer):
    assert strip_thinking(text) == answer
