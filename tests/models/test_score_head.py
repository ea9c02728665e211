"""Score heads: what their numbers mean, zero at first, and the same from a saved folder in plain transformers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    T5Config,
)

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import load_tokenizer, load_weights
from cookbook_lib.models.score_head import ScoreHead, ScoreModel, build_score_model, choose_pad

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SHAPE),
    "qwen2, untied": Qwen2Config(**SHAPE, tie_word_embeddings=False),
    "mistral, window": MistralConfig(**SHAPE, sliding_window=4),
    "gemma2, window and caps": Gemma2Config(
        **SHAPE, sliding_window=4, attn_logit_softcapping=5.0, query_pre_attn_scalar=3
    ),
    "gemma3, text": Gemma3TextConfig(**SHAPE, sliding_window=4),
}
LEVELS = ScoreHead("ordinal", ("help", "tone"), lowest=1, highest=3)
CLASSES = ScoreHead("classification", ("help", "tone"), lowest=1, highest=3)
SCALED = ScoreHead("regression", ("help", "tone"), mean=(2.0, 3.0), scale=(0.5, 2.0))
# one row: a beginning of 6 tokens, continued by 3 and by 5; a conversation of 4
IDS = torch.randint(5, 300, (1, 18), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.tensor([[*range(6), *range(6, 9), *range(6, 11), *range(4)]])
BOUNDS, CONTINUES, ENDS = (0, 6, 9, 14, 18), (-1, 0, 0, -1), [8, 13, 17]
WHOLE = [[*range(9)], [*range(6), *range(9, 14)], [*range(14, 18)]]


def scored(model: ScoreModel) -> torch.Tensor:
    """(3, L): the head at the three ends of the row."""
    with torch.no_grad():
        return model(IDS, POSITIONS, BOUNDS, lambda hidden, head: head(hidden[0, ENDS]), CONTINUES)


def opened(folder: Path, head: ScoreHead | None) -> ScoreModel:
    model = build_score_model(folder, varlen_attention, load_tokenizer(folder), head)
    load_weights(model, folder, CPU)
    return model.eval()


def saved(model: ScoreModel, folder: Path, tokenizer_from: Path) -> Path:
    model.hf.save_pretrained(folder)
    load_tokenizer(tokenizer_from).save_pretrained(folder)
    return folder


# ------------------------------------------------------------------------------------------------- what the numbers mean


def test_labels_name_every_output():
    assert (ScoreHead().num_labels, ScoreHead().labels) == (1, ["score"])
    assert LEVELS.labels == ["help>1", "help>2", "tone>1", "tone>2"]
    assert CLASSES.labels == ["help=1", "help=2", "help=3", "tone=1", "tone=2", "tone=3"]
    assert SCALED.labels == ["help", "tone"]
    for head in (LEVELS, CLASSES, SCALED):
        assert len(head.labels) == head.num_labels


def test_a_head_says_what_its_outputs_mean():
    assert str(ScoreHead()) == "scalar head: score, of which only differences mean something"
    assert str(LEVELS) == "ordinal head: help, tone from 1 to 3, 4 outputs"
    assert str(SCALED) == "regression head: help = 2 + 0.5 × output, tone = 3 + 2 × output"


def test_scores_by_hand():
    assert ScoreHead().scores(torch.tensor([[1.5], [-2.0]])).tolist() == [[1.5], [-2.0]]
    assert SCALED.scores(torch.tensor([[1.0, 1.0], [0.0, -1.0]])).tolist() == [[2.5, 5.0], [2.0, 1.0]]
    ln3 = torch.log(torch.tensor(3.0)).item()  # sigma(ln 3) = 3/4, sigma(-ln 3) = 1/4
    levels = LEVELS.scores(torch.tensor([[ln3, -ln3, 0.0, 0.0]]))
    torch.testing.assert_close(levels, torch.tensor([[1 + 1.0, 1 + 1.0]]))
    sure = CLASSES.scores(torch.tensor([[0.0, 0.0, 50.0, ln3, 0.0, 0.0]]))
    torch.testing.assert_close(sure, torch.tensor([[3.0, 0.6 * 1 + 0.2 * 2 + 0.2 * 3]]))


@pytest.mark.parametrize("head", [LEVELS, CLASSES])
def test_scores_stay_on_the_scale(head):
    scores = head.scores(100 * torch.randn(50, head.num_labels, generator=torch.Generator().manual_seed(0)))
    assert scores.shape == (50, 2)
    assert scores.min() >= 1 and scores.max() <= 3


# ------------------------------------------------------------------------------------------------------------ a model


@pytest.mark.parametrize("head", [ScoreHead(), LEVELS, CLASSES, SCALED], ids=lambda head: head.kind)
def test_a_language_model_gets_a_head_of_zeros(tiny_folder, head):
    model = opened(tiny_folder, head)
    assert model.hf.score.weight.shape == (head.num_labels, model.hf.config.hidden_size)
    assert not model.hf.score.weight.any()
    assert scored(model).eq(0).all()
    body = AutoModelForCausalLM.from_pretrained(tiny_folder).state_dict()
    assert all(torch.equal(w, body[name]) for name, w in model.hf.state_dict().items() if name != "score.weight")


@pytest.mark.parametrize("family", [*FAMILIES, "the embedded one"])
@pytest.mark.parametrize("head", [ScoreHead(), CLASSES], ids=lambda head: head.kind)
def test_scores_equal_those_of_plain_transformers(tmp_path, tiny_folder, family, head):
    base = tiny_folder
    if family in FAMILIES:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(base := tmp_path / "base")
        load_tokenizer(tiny_folder).save_pretrained(base)
    model = opened(base, head)
    torch.nn.init.normal_(model.hf.score.weight, std=0.3)
    plain = AutoModelForSequenceClassification.from_pretrained(
        saved(model, tmp_path / "saved", tiny_folder), attn_implementation="eager"
    ).eval()
    width = max(map(len, WHOLE))
    pad = plain.config.pad_token_id
    padded = torch.tensor([[*IDS[0, places].tolist(), *[pad] * (width - len(places))] for places in WHOLE])
    with torch.no_grad():
        theirs = plain(padded, attention_mask=padded != pad).logits
    torch.testing.assert_close(scored(model), theirs, rtol=1e-5, atol=1e-5)
    assert theirs.abs().min() > 1e-3


def test_a_saved_folder_says_what_its_outputs_mean(tmp_path, tiny_folder):
    folder = saved(opened(tiny_folder, SCALED), tmp_path / "saved", tiny_folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert config["id2label"] == {"0": "help", "1": "tone"}
    for wanted in (None, SCALED, ScoreHead("regression", ("help", "tone"), mean=(9.0, 9.0), scale=(1.0, 1.0))):
        assert opened(folder, wanted).head == SCALED, "a trained head keeps the mean and scale that it was trained with"


def test_heads_that_others_trained(tmp_path, tiny_folder):
    for labels, expected in (
        (1, ScoreHead()),
        (2, ScoreHead("regression", ("LABEL_0", "LABEL_1"), mean=(0.0,) * 2, scale=(1.0,) * 2)),
    ):
        made = AutoModelForSequenceClassification.from_config(
            LlamaConfig(**SHAPE, num_labels=labels), dtype=torch.float32
        )
        made.save_pretrained(folder := tmp_path / str(labels))
        load_tokenizer(tiny_folder).save_pretrained(folder)
        model = opened(folder, None)
        assert model.head == expected
        assert torch.equal(model.hf.score.weight, made.score.weight)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_a_reward_model_that_lost_its_head_is_refused(tmp_path, tiny_folder):
    opened(tiny_folder, ScoreHead()).hf.save_pretrained(tmp_path)
    load_tokenizer(tiny_folder).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.pop("score.weight").shape[0] == 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for head in (None, ScoreHead()):  # to judge with, to go on from
        with pytest.raises(CookbookError, match=r"lacks 1 weights \(score\.weight"):
            opened(tmp_path, head)


def test_a_language_model_is_no_reward_model(tiny_folder):
    with pytest.raises(CookbookError, match="is a language model without a score head: give a trained reward model"):
        opened(tiny_folder, None)


@pytest.mark.parametrize(
    "wanted", [ScoreHead(), LEVELS, ScoreHead("regression", ("tone", "help"), mean=(0.0,) * 2, scale=(1.0,) * 2)]
)
def test_another_head_than_the_folder_has_is_refused(tmp_path, tiny_folder, wanted):
    folder = saved(opened(tiny_folder, SCALED), tmp_path / "saved", tiny_folder)
    sentence = rf"has the head regression with outputs help, tone, the recipe wants the head {wanted.kind} with outputs"
    with pytest.raises(CookbookError, match=sentence):
        opened(folder, wanted)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (GraniteConfig(**SHAPE), "transformers has no sequence classifier of GraniteConfig"),
        (T5Config(vocab_size=64, d_model=16, num_layers=1, num_heads=2), "is an encoder-decoder"),
    ],
)
def test_a_model_without_such_a_head_is_refused(tmp_path, tiny_folder, config, sentence):
    config.save_pretrained(tmp_path)
    with pytest.raises(CookbookError, match=sentence):
        build_score_model(tmp_path, varlen_attention, load_tokenizer(tiny_folder), ScoreHead())


# ---------------------------------------------------------------------------------------------------------------- pads


def test_the_pad_token_is_none_that_a_conversation_ends_with(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    own = tokenizer.pad_token_id
    assert choose_pad(tokenizer, 400) == own
    tokenizer.pad_token = tokenizer.eos_token
    assert choose_pad(tokenizer, 400) not in (tokenizer.eos_token_id, None)
    tokenizer.eos_token, tokenizer.pad_token = "<|endoftext|>", "<|im_end|>"  # a base model's, under a chat template
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    assert tokenizer.convert_ids_to_tokens(choose_pad(tokenizer, 400)) == "<|im_start|>"


def test_no_pad_token_at_all(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    with pytest.raises(CookbookError, match="no token to pad with beside its end token"):
        choose_pad(tokenizer, 0)
