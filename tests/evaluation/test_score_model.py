"""Scores are those of plain transformers, whoever shares the forward; what cannot be scored says why, alone."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import encode
from cookbook_lib.data.records import Conversation, chat
from cookbook_lib.data.reward.documents import DocumentReader
from cookbook_lib.evaluation import scorers
from cookbook_lib.evaluation.score_model import Scored, ScoringModel
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.models.score_head import ScoreHead
from tests.evaluation.reward_folders import foreign_model, mixed_conversations, reward_model

CLOSE = dict(rel=0, abs=1e-5)
HEADS = {
    "regression": ScoreHead("regression", ("helpfulness", "verbosity"), mean=(2.5, 1.5), scale=(1.2, 0.7)),
    "ordinal": ScoreHead("ordinal", ("score",), 0, 4),
    "classification": ScoreHead("classification", ("helpfulness", "score"), 1, 5),
}


@pytest.fixture(scope="session")
def model(reward_folder):
    return ScoringModel(reward_folder)


def plain_scores(folder, conversations, side: str, rows: int = 16) -> list[list[float]]:
    """Head outputs by plain transformers, in padded batches."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
    hf = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(conversations), rows):
        batch = tokenizer.apply_chat_template(
            conversations[start : start + rows], padding=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            found += hf(**batch).logits.tolist()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_scores_are_those_of_plain_transformers(model, reward_folder, side):
    conversations = mixed_conversations(200)
    plain = [value for (value,) in plain_scores(reward_folder, conversations, side)]
    assert max(plain) - min(plain) > 0.3
    assert model.score(conversations) == pytest.approx(plain, **CLOSE)


def test_the_pad_token_ends_no_document(reward_folder):
    config = json.loads((reward_folder / "config.json").read_text())
    tokenizer = load_tokenizer(reward_folder)
    assert config["pad_token_id"] == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_tokenizer_that_pads_with_its_end_token(base, tmp_path):
    """As Llama's users do. The model gets another pad token, and reads the same scores in every batch."""
    tokenizer = load_tokenizer(base)
    tokenizer.pad_token = tokenizer.eos_token
    own = shutil.copytree(base, tmp_path / "base")
    tokenizer.save_pretrained(own)
    folder = reward_model(own, tmp_path / "reward", ScoreHead())
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] != tokenizer.eos_token_id
    conversations = mixed_conversations(12)
    plain = [value for (value,) in plain_scores(folder, conversations, "right", rows=4)]
    assert ScoringModel(folder).score(conversations) == pytest.approx(plain, **CLOSE)


def test_a_foreign_folder_whose_tokenizer_pads_with_its_end_token(reward_folder, tmp_path, model):
    folder = shutil.copytree(reward_folder, tmp_path / "foreign")
    config = json.loads((folder / "config.json").read_text())
    tokenizer = load_tokenizer(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    del config["score_head"]
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": tokenizer.eos_token_id}))
    conversations = mixed_conversations(8)
    assert ScoringModel(folder).score(conversations) == pytest.approx(model.score(conversations), **CLOSE)


def test_scores_depend_on_nobody_else(model):
    conversations = mixed_conversations(24)
    alone = [model.score([conversation])[0] for conversation in conversations]
    assert model.score(conversations) == pytest.approx(alone, **CLOSE)
    assert model.score(conversations[::-1]) == pytest.approx(alone[::-1], **CLOSE)


def test_sharing_and_small_forwards_change_nothing(reward_folder, model, monkeypatch):
    conversations = mixed_conversations(24)
    expected = model.score(conversations)
    narrow = ScoringModel(reward_folder, max_tokens=max(f.tokens for f in model.attempt(conversations)))
    assert narrow.score(conversations) == pytest.approx(expected, **CLOSE)
    monkeypatch.setattr(model._scorer, "sharing", False)
    assert model.score(conversations) == pytest.approx(expected, **CLOSE)


def test_equal_beginnings_are_computed_once(model, monkeypatch):
    prompt = [{"role": "user", "content": "What is the colour of the box? " * 8}]
    conversations = [[*prompt, {"role": "assistant", "content": f"It is {colour}."}] for colour in ("teal", "red")]
    sizes = []
    real = model._scorer.model.forward
    monkeypatch.setattr(
        model._scorer.model, "forward", lambda ids, *rest: sizes.append(ids.shape[1]) or real(ids, *rest)
    )
    tokens = [found.tokens for found in model.attempt(conversations)]
    assert len(sizes) == 1
    assert sizes[0] < 0.7 * sum(tokens)


@pytest.mark.parametrize("kind", HEADS)
def test_what_the_outputs_mean(base, tmp_path, kind):
    head = HEADS[kind]
    folder = reward_model(base, tmp_path / kind, head)
    conversations = mixed_conversations(6)
    expected = head.scores(torch.tensor(plain_scores(folder, conversations, "right")))
    model = ScoringModel(folder)
    found = model.scores(conversations)
    assert [list(row.values()) for row in found] == [pytest.approx(row.tolist(), **CLOSE) for row in expected]
    assert list(found[0]) == list(head.attributes)
    single = expected.mean(1) if kind == "regression" else expected[:, -1]
    assert model.score(conversations) == pytest.approx(single.tolist(), **CLOSE)
    if kind == "regression":
        assert model.notes == ["score is the mean of helpfulness, verbosity"]
        first = ScoringModel(folder, attribute="verbosity").score(conversations)
        assert first == pytest.approx(expected[:, 1].tolist(), **CLOSE)


def test_an_attribute_that_the_model_does_not_have(reward_folder):
    with pytest.raises(CookbookError, match="has no attribute 'safety': choose one of score"):
        ScoringModel(reward_folder, attribute="safety")


def test_what_cannot_be_scored_fails_alone_and_says_why(reward_folder, model):
    good = mixed_conversations(3)
    bad = [
        [{"role": "user", "content": "And the answer?"}],
        [{"role": "robot", "content": "?"}, {"role": "assistant", "content": "!"}],
        [],
        [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "!"}],
        [{"role": "user", "content": "long " * 40_000}, {"role": "assistant", "content": "!"}],
        [1, 2, 40_000],
    ]
    found = model.attempt([*bad[:3], *good, *bad[3:]])
    whole = [one for one in found if isinstance(one, Scored)]
    assert [model.single(one) for one in whole] == pytest.approx(model.score(good), **CLOSE)
    said = [str(one) for one in found if isinstance(one, CookbookError)]
    assert "what is scored is the assistant's answer" in said[0]
    assert "'robot'" in said[1]
    assert "at least one {role, content}" in said[2]
    assert "surrogate" in said[3]
    assert "can be scored; shorten it" in said[4] and " tokens, and 1 to 16,384" in said[4]
    assert "has token 40000, and the model knows 0 to" in said[5]
    with pytest.raises(CookbookError, match=r"^conversation 3: messages\[0\]\.role is 'robot'"):
        model.score([*good, bad[1]])
    assert model.score([]) == []


def test_text_and_token_ids_are_scored_as_they_stand(model, reward_folder):
    conversation = mixed_conversations(1)[0]
    tokenizer = load_tokenizer(reward_folder)
    text = tokenizer.apply_chat_template(conversation, tokenize=False)
    ids = tokenizer.apply_chat_template(conversation, return_dict=True)["input_ids"]
    assert model.score([text, ids]) == pytest.approx(model.score([conversation]) * 2, **CLOSE)


def test_documents_are_read_as_in_training(reward_folder):
    tokenizer = load_tokenizer(reward_folder)
    read = DocumentReader(tokenizer)
    for messages in [*mixed_conversations(20), list(chat("Say <|im_end|>", "No <|im_start|>user").messages)]:
        options = {"max_length": 10_000, "truncation": "error", "train_on": "last_assistant"}
        trained = encode(Conversation(tuple(messages)), tokenizer, **options).input_ids
        assert read(messages).tolist() == trained.tolist()


def test_progress_counts_every_conversation(model):
    done = []
    model.attempt([*mixed_conversations(5), []], progress=done.append)
    assert sum(done) == 6


def test_folders_that_hold_no_reward_model(base, reward_folder, tmp_path):
    with pytest.raises(CookbookError, match="is no reward model .*: give a trained one"):
        ScoringModel(base)
    with pytest.raises(CookbookError, match="is not there; "):
        ScoringModel(tmp_path / "nowhere")
    config = json.loads((reward_folder / "config.json").read_text())
    headless = shutil.copytree(base, tmp_path / "headless")
    (headless / "config.json").write_text(json.dumps(config))
    with pytest.raises(CookbookError, match=r"lacks 1 weights \(score\.weight"):
        ScoringModel(headless)


def test_bf16_is_close_and_its_head_is_exact(reward_folder, model):
    conversations = mixed_conversations(8)
    low = ScoringModel(reward_folder, dtype="bf16")
    kinds = {name: parameter.dtype for name, parameter in low._scorer.model.hf.named_parameters()}
    assert {kinds.pop("score.weight")} == {torch.float32} != set(kinds.values()) == {torch.bfloat16}
    assert low.score(conversations) == pytest.approx(model.score(conversations), abs=0.05)


SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "bert", "mistral"])
def test_sequence_classifiers_of_others(kind, base, tmp_path):
    """Decoders packed, encoders padded; the same scores as one by one in plain transformers."""
    few = {"num_key_value_heads": 1, "head_dim": 16} if kind in ("llama", "gemma2", "mistral") else {}
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0} if kind == "gpt2" else SMALL | few
    window = {"sliding_window": 24} if kind in ("gemma2", "mistral") else {}
    folder = foreign_model(tmp_path / kind, load_tokenizer(base), kind=kind, num_labels=2, **sizes, **window)
    conversations = [c for c in mixed_conversations(20, longest=40) if len(str(c)) < 1000]
    plain = [row for one in conversations for row in plain_scores(folder, [one], "right")]
    model = ScoringModel(folder)
    assert [found.raw for found in model.attempt(conversations)] == [pytest.approx(row, **CLOSE) for row in plain]
    assert ("not packed" in str(model.notes)) == (kind == "bert")
    assert model.notes[-1] == "score is the mean of LABEL_0, LABEL_1"


def test_attention_that_differs_from_the_models_own_is_found_out(reward_folder, monkeypatch):
    """Stands for a decoder that sees both ways: what we compute is not what it computes."""

    def bidirectional(q, k, v, **options):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    monkeypatch.setattr(scorers, "varlen_attention", bidirectional)
    model = ScoringModel(reward_folder)
    assert "not packed: under causal attention its hidden states are" in model.notes[0]
    conversations = mixed_conversations(6)
    plain = [value for (value,) in plain_scores(reward_folder, conversations, "right")]
    assert model.score(conversations) == pytest.approx(plain, **CLOSE)


def test_a_layer_with_a_state_is_padded(base, tmp_path):
    hybrid = dict(linear_num_key_heads=1, linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=16)
    moe = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32, shared_expert_intermediate_size=32)
    kinds = {"layer_types": ["linear_attention", "full_attention"], "num_key_value_heads": 1, "head_dim": 16}
    folder = foreign_model(
        tmp_path / "hybrid", load_tokenizer(base), kind="qwen3_next", num_labels=1, **SMALL, **hybrid, **moe, **kinds
    )
    conversations = [c for c in mixed_conversations(12, longest=20) if len(str(c)) < 500]
    plain = [row[0] for one in conversations for row in plain_scores(folder, [one], "right")]
    model = ScoringModel(folder)
    assert "linear_attention carry state over document boundaries" in model.notes[0]
    assert model.score(conversations) == pytest.approx(plain, **CLOSE)


def test_a_model_without_a_chat_template_reads_pairs(base, tmp_path):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    folder = foreign_model(tmp_path / "cross", tokenizer, kind="bert", num_labels=1, **SMALL)
    model = ScoringModel(folder)
    single = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]
    found = model.attempt([single, mixed_conversations(1)[0][-1:] + single])
    hf = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = hf(**tokenizer("What?", "That.", return_tensors="pt", return_token_type_ids=False)).logits.item()
    assert found[0].scores == {"score": pytest.approx(expected, **CLOSE)}
    assert "only one question and its answer can be read" in str(found[1])
    assert any("no chat template" in note for note in model.notes)


def test_equal_conversations_have_equal_scores_to_the_bit(model):
    conversations = mixed_conversations(6)
    found = model.score(conversations * 3 + conversations[::-1])
    assert found[:6] == found[6:12] == found[12:18] == found[18:][::-1]
