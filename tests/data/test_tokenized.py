"""Token sets: the same rows in the same order however they are made, kept once, and honest about what is missing."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data import encoding, tokenized
from cookbook_lib.data.masking import encode
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.token_rows import token_rows
from cookbook_lib.data.token_set import TokenSet
from cookbook_lib.data.tokenized import tokenize


def conversation(question: str, answer: str) -> Conversation:
    return Conversation(({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


ROWS = [conversation(f"what is {i}?", "cat " * (i % 7) + "yes") for i in range(300)]


@pytest.fixture
def chatml(make_tokenizer):
    return make_tokenizer("chatml")


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_json(row: Conversation) -> dict:
    return {"messages": list(row.messages)}


def equal(a: TokenSet, b: TokenSet) -> bool:
    return np.array_equal(a.offsets, b.offsets) and all(
        np.array_equal(x, y) for x, y in zip(a.columns, b.columns, strict=True)
    )


def test_rows_are_what_encode_makes_in_order(chatml, tmp_path):
    made = tokenize(ROWS, chatml, max_length=100, cache_dir=tmp_path)
    assert len(made) == len(ROWS)
    for i in (0, 63, 64, 299, -1):
        expected = encode(ROWS[i], chatml, max_length=100)
        assert made[i].input_ids.tolist() == expected.input_ids.tolist()
        assert made[i].weights.tolist() == expected.weights.tolist()
        assert made[i].roles.tolist() == expected.roles.tolist()
    assert made.lengths.tolist() == [len(made[i].input_ids) for i in range(len(made))]
    assert made[0].input_ids.dtype == np.int32
    assert made[0].weights.dtype == np.float32
    with pytest.raises(IndexError):
        made[300]


@pytest.mark.slow
def test_processes_change_nothing(chatml, tmp_path, monkeypatch):
    alone = tokenize(ROWS, chatml, max_length=30, cache_dir=tmp_path / "a", workers=1)
    monkeypatch.setattr(encoding, "PATIENCE_S", 0.0)
    done = []
    many = tokenize(ROWS, chatml, max_length=30, cache_dir=tmp_path / "b", workers=2, progress=done.append)
    assert equal(alone, many)
    assert alone.meta == many.meta
    assert sum(done) == len(ROWS)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_an_error_in_a_process_arrives_whole(chatml, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PATIENCE_S", 0.0)
    rows = [*ROWS[:200], conversation("long", "cat " * 90)]
    with pytest.raises(CookbookError, match=r"has \d+ tokens, max_length is 50 and truncation is error"):
        tokenize(rows, chatml, max_length=50, truncation="error", cache_dir=tmp_path, workers=2)
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_the_cache_is_opened_and_not_made_again(chatml, tmp_path, monkeypatch):
    file = write(tmp_path / "rows.jsonl", [as_json(row) for row in ROWS[:5]])
    first = tokenize(file, chatml, max_length=100, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(tokenized, "encode", None)
    again = tokenize([str(file)], chatml, max_length=100, cache_dir=tmp_path / "cache")
    assert equal(first, again)
    assert first.fingerprint == again.fingerprint == first.folder.name


CHANGES = {
    "max_length": {"max_length": 99},
    "truncation": {"truncation": "left"},
    "train_on": {"train_on": "all"},
    "limit": {"limit": 3},
    "messages_key": {"messages_key": "chat"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_option_is_another_set(change, chatml, tmp_path):
    file = write(tmp_path / "rows.jsonl", [as_json(row) | {"chat": list(row.messages)} for row in ROWS[:5]])
    options = {"max_length": 100, "cache_dir": tmp_path / "cache"}
    first = tokenize(file, chatml, **options)
    assert tokenize(file, chatml, **{**options, **CHANGES[change]}).fingerprint != first.fingerprint


def test_another_row_template_or_tokenizer_is_another_set(chatml, make_tokenizer, tmp_path):
    file = write(tmp_path / "rows.jsonl", [as_json(row) for row in ROWS[:5]])
    prints = [tokenize(file, chatml, max_length=100, cache_dir=tmp_path).fingerprint]
    prints.append(tokenize(file, make_tokenizer("qwen3"), max_length=100, cache_dir=tmp_path).fingerprint)
    chatml.add_tokens(["catcat"])
    prints.append(tokenize(file, chatml, max_length=100, cache_dir=tmp_path).fingerprint)
    write(file, [as_json(row) for row in ROWS[1:6]])
    prints.append(tokenize(file, chatml, max_length=100, cache_dir=tmp_path).fingerprint)
    assert len(set(prints)) == 4


def test_how_the_tokenizer_was_used_before_does_not_matter(chatml, tmp_path):
    first = tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)
    chatml.pad_token = chatml.eos_token
    padded = tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)
    chatml(["a", "b c d"], padding=True, truncation=True, max_length=3)
    assert tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path).fingerprint == padded.fingerprint
    assert equal(first, padded)


def test_what_is_dropped_is_counted_with_its_places(chatml, tmp_path):
    file = write(
        tmp_path / "rows.jsonl",
        [
            as_json(ROWS[0]),
            {"messages": [{"role": "user", "content": "?"}, {"role": "bot", "content": "!"}]},
            as_json(conversation("long", "cat " * 90)),
            as_json(conversation("long", "cat " * 80)),
        ],
    )
    made = tokenize(file, chatml, max_length=50, cache_dir=tmp_path / "cache")
    assert len(made) == 1
    assert made.dropped["answer_cut"] == 2
    assert sum(made.dropped.values()) == 3
    assert f"{file} row 3: the conversation has" in made.report()
    assert f"{file} row 2: messages[1].role is 'bot'" in made.report()
    assert TokenSet.open(made.folder).dropped == made.dropped


def test_nothing_left_is_an_error_with_the_reasons(chatml, tmp_path):
    rows = [conversation("long", "cat " * 90), conversation("long", "mat " * 90)]
    with pytest.raises(
        CookbookError, match=r"no row of 2 conversations can be learned from \(2 x answer_cut\); the first: "
    ):
        tokenize(rows, chatml, max_length=20, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_conversation_at_all_is_an_error(chatml, tmp_path):
    with pytest.raises(CookbookError, match="there is no conversation in 0 conversations; give at least one"):
        tokenize([], chatml, max_length=20, cache_dir=tmp_path)


def test_truncation_error_stops_at_the_first(chatml, tmp_path):
    with pytest.raises(CookbookError, match=r"truncation is error; raise data.max_length, or allow truncation"):
        tokenize(
            [ROWS[0], conversation("long", "cat " * 90)], chatml, max_length=50, truncation="error", cache_dir=tmp_path
        )


def test_a_set_that_somebody_else_finished_meanwhile_is_opened(chatml, tmp_path, monkeypatch):
    real = tokenized.Encode

    def slow(*args):
        monkeypatch.setattr(tokenized, "Encode", real)
        tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)  # the other rank is quicker
        return real(*args)

    monkeypatch.setattr(tokenized, "Encode", slow)
    made = tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)
    assert len(made) == 5
    assert [folder.name for folder in tmp_path.iterdir()] == [made.fingerprint]


def test_a_failure_leaves_nothing_behind(chatml, tmp_path):
    def fail(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(ROWS, chatml, max_length=100, cache_dir=tmp_path, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_said_aloud(chatml, tmp_path):
    made = tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)
    (made.folder / "ids.i32").write_bytes(b"1234")
    with pytest.raises(CookbookError, match="damaged .* delete that folder"):
        tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path)


def test_a_cache_that_cannot_be_written_is_said_aloud(chatml, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CookbookError, match=r"cannot be written .* set data.cache_dir"):
        tokenize(ROWS[:5], chatml, max_length=100, cache_dir=tmp_path / "file")


def test_an_unusable_template_is_told_before_any_work(chatml, tmp_path):
    chatml.chat_template = "{{ messages[0].content }}"
    with pytest.raises(CookbookError, match="the chat template cannot be taken apart"):
        tokenize(tmp_path / "not even there.jsonl", chatml, max_length=100, cache_dir=tmp_path)


def test_token_rows_say_who_speaks_and_what_is_learned(chatml, tmp_path):
    made = tokenize(ROWS[:2], chatml, max_length=100, cache_dir=tmp_path)
    rows = token_rows([made[0], made[1]], chatml)
    assert len(rows) == made.lengths.sum()
    learned = "".join(row["text"] for row in rows if row["weight"] and row["document"] == 1)
    assert learned == "cat yes<|im_end|>"
    assert {(row["role"], row["template"]) for row in rows if row["weight"]} == {("assistant", False)}
    asked = "".join(row["text"] for row in rows if row["role"] == "user" and row["document"] == 1)
    assert asked == "<|im_start|>user\nwhat is 1?<|im_end|>\n"
    assert rows[0] == {
        "text": "<|im_start|>",
        "id": chatml.convert_tokens_to_ids("<|im_start|>"),
        "role": "user",
        "template": True,
        "weight": 0.0,
        "document": 0,
        "position": 0,
    }


def test_a_token_that_is_part_of_a_character_is_shown_as_spelled(chatml):
    rows = token_rows([encode(conversation("日", "yes"), chatml, max_length=100)], chatml)
    assert [row["text"] for row in rows if row["role"] == "user" and not row["template"]] == ["⟨æ⟩", "⟨Ĺ⟩", "⟨¥⟩"]
