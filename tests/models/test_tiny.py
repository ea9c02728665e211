"""The embedded model is a Hugging Face folder like any other, the same on every machine."""

import os

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cookbook_lib.models.tiny import END_OF_TEXT, END_OF_TURN, build_tiny, random_model

TEXTS = ["What is the colour of the box?", "The box is teal."] * 5
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_plain_transformers_loads_and_generates(tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert tokenizer.eos_token == END_OF_TURN
    assert tokenizer.pad_token == END_OF_TEXT != tokenizer.eos_token
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] <= ids["input_ids"].shape[1] + 3
    assert model.config.vocab_size % 64 == 0
    assert model.config.vocab_size >= len(tokenizer)


@pytest.mark.parametrize("text", ["The box is teal.", "naïve 東京 🙂 \t\n  tail ", "<b>&amp;</b>", ""])
def test_any_text_encodes_and_decodes_to_itself(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_two_builds_are_equal_byte_for_byte(tmp_path):
    first, second = (build_tiny(tmp_path / name, TEXTS, TEMPLATE, vocab_size=300) for name in "ab")
    for file in sorted(os.listdir(first)):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_an_existing_folder_is_left_alone(tmp_path):
    folder = build_tiny(tmp_path / "m", TEXTS, TEMPLATE, vocab_size=300)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert build_tiny(folder, ["other words"], TEMPLATE) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        build_tiny(tmp_path / "m", [3], TEMPLATE)  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_the_weights_and_the_world_s_random_state_is_untouched(tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (random_model(tokenizer, seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_other_shapes(tokenizer):
    config = random_model(tokenizer, 0, num_attention_heads=8, num_key_value_heads=2, head_dim=8, hidden_size=64).config
    assert (config.num_attention_heads, config.num_key_value_heads, config.hidden_size) == (8, 2, 64)
