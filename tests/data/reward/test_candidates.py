"""Answers as tokens: those of the whole conversation, whatever is shared; nothing cut, nothing that teaches nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import encode
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.reward.candidates import (
    CandidateSet,
    EncodeCandidates,
    common_beginning,
    tokenize_pairs,
    tokenize_scores,
    without_oldest_turn,
)
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.data.reward.token_rows import candidate_rows


def say(role: str, content: str) -> dict:
    return {"role": role, "content": content}


TURNS = (
    say("system", "be brief"),
    say("user", "what is the cat on?"),
    say("assistant", "the mat"),
    say("user", "12 + 30?"),
)
PAIRS = [
    PreferencePair((say("user", f"what is {i}?"),), "cat " * (i % 5) + "yes", "no", margin=float(i % 3))
    for i in range(70)
]


@pytest.fixture
def chatml(make_tokenizer):
    return make_tokenizer("chatml")


def whole(prompt: tuple[dict, ...], answer: str, tokenizer) -> list[int]:
    conversation = Conversation((*prompt, say("assistant", answer)))
    return encode(conversation, tokenizer, max_length=10_000, train_on="last_assistant").input_ids.tolist()


# ------------------------------------------------------------------------------------------------------- what is shared


@pytest.mark.parametrize(
    "answers", [("42.", "I do not know"), ("42.", "42. indeed"), ("the cat sat", "the cat sat on")]
)
def test_shared_and_rest_are_the_tokens_of_the_whole_conversation(tokenizer, answers):
    prompt = TURNS[1:]  # Gemma has no system role
    made = EncodeCandidates(tokenizer, 1000).encode(PreferencePair(prompt, *answers))
    for rest, answer in zip(made.rests, answers, strict=True):
        assert [*made.shared, *rest] == whole(prompt, answer, tokenizer)
        assert len(rest) >= 1
    assert made.rests[0][0] != made.rests[1][0] or min(map(len, made.rests)) == 1
    assert len(made.shared) > len(whole(prompt, "x", tokenizer)) - 10


def test_what_attends_to_what(chatml, tmp_path):
    """Behind a prompt of P: P^2 + sum (L^2 + 2 L P). Each behind a copy of its own: sum (P + L)^2."""
    made = tokenize_pairs(PAIRS[:3], chatml, max_length=100, cache_dir=tmp_path)
    for row, (p, a, b) in enumerate(made.parts.tolist()):
        assert p > 4 and a != b
        assert made.squares[row] == p**2 + (a**2 + 2 * a * p) + (b**2 + 2 * b * p)
        assert made.shared(False).squares[row] == (p + a) ** 2 + (p + b) ** 2


documents = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=2, max_size=4)


@given(documents)
def test_a_common_beginning_is_common_the_longest_and_leaves_everybody_something(found):
    n = common_beginning([np.array(document, np.int32) for document in found])
    assert all(document[:n] == found[0][:n] for document in found)
    assert all(len(document) > n for document in found)
    at_the_end = any(len(document) == n + 1 for document in found)
    assert at_the_end or len({document[n] for document in found}) > 1


def test_sharing_changes_how_a_row_lies_and_not_what_it_says(chatml, tmp_path):
    shared = tokenize_pairs(PAIRS, chatml, max_length=100, cache_dir=tmp_path)
    apart = shared.shared(False)
    for i in (0, 7, -1):
        both, each = shared[i], apart[i]
        assert len(each.shared) == 0 < len(both.shared)
        assert [[*both.shared, *rest] for rest in both.rests] == [rest.tolist() for rest in each.rests]
        assert each.rests[0].tolist() == whole(PAIRS[i].prompt, PAIRS[i].chosen, chatml)
        assert both.targets.tolist() == each.targets.tolist() == [PAIRS[i].margin, 1.0]
    for made in (shared, apart):
        assert made.lengths.tolist() == [len(row.shared) + sum(map(len, row.rests)) for row in made]
    assert shared.document_lengths.sum(1).tolist() == apart.lengths.tolist()
    assert shared.share_saved == pytest.approx(1 - shared.lengths.sum() / apart.lengths.sum())
    assert f"{len(PAIRS)} pairs, {apart.lengths.sum():,} tokens, {shared.share_saved:.1%} of them" in shared.report()
    with pytest.raises(IndexError):
        shared[70]


# --------------------------------------------------------------------------------------------------------------- targets


def test_targets_of_pairs_are_margin_and_share_of_the_preference(chatml):
    encode_one = EncodeCandidates(chatml, 1000).encode
    pair = PreferencePair(TURNS, "42", "43")
    for made, expected in (
        (pair, [0.0, 1.0]),
        (replace(pair, margin=3.0), [3.0, 1.0]),
        (replace(pair, tie=True), [0.0, 0.5]),
    ):
        assert encode_one(made).targets.tolist() == expected


def test_targets_of_scores_keep_the_order_asked_for_and_what_is_not_known(chatml, tmp_path):
    rows = [ScoredResponse(TURNS, "42", {"b": 1.5, "a": 2.0}), ScoredResponse(TURNS, "43", {"b": 0.0})]
    made = tokenize_scores(rows, chatml, max_length=100, cache_dir=tmp_path, attributes=["a", "b"])
    assert made.answers == 1
    np.testing.assert_array_equal(made.targets, np.array([[2.0, 1.5], [np.nan, 0.0]], np.float32))
    assert made.share_saved == 0 and "2 responses" in made.report()
    assert [*made[0].shared, *made[0].rests[0]] == whole(TURNS, "42", chatml)


def test_a_response_with_none_of_the_attributes_is_refused(chatml):
    row = ScoredResponse(TURNS, "42", {"a": 1.0}, origin=Origin("x.jsonl", 3))
    with pytest.raises(RowRefused, match=r"x.jsonl.*3.*no b and no c.*no_score"):
        EncodeCandidates(chatml, 1000, attributes=("b", "c")).encode(row)


@pytest.mark.parametrize("style", ["llama3", "gemma", "mistral"])
def test_answers_that_the_template_makes_equal_are_refused(make_tokenizer, style):
    """These templates strip: nothing could be learned from the pair, and it would count as half right for ever."""
    with pytest.raises(RowRefused, match="same tokens .* drop the pair .same_answers"):
        EncodeCandidates(make_tokenizer(style), 1000).encode(PreferencePair(TURNS[1:], "42 ", "42"))


# -------------------------------------------------------------------------------------------------------------- too long


def test_the_oldest_turns_go_for_both_answers_alike(chatml):
    pair = PreferencePair(TURNS, "42", "forty-two")
    shorter = (TURNS[0], TURNS[3])
    assert without_oldest_turn(TURNS) == shorter
    assert without_oldest_turn(shorter) is None
    fits = max(len(whole(TURNS, answer, chatml)) for answer in (pair.chosen, pair.rejected))
    assert EncodeCandidates(chatml, fits).encode(pair).shared.tolist()[:10] == whole(TURNS, "42", chatml)[:10]
    made = EncodeCandidates(chatml, fits - 1).encode(pair)
    assert [*made.shared, *made.rests[0]] == whole(shorter, "42", chatml)
    assert [*made.shared, *made.rests[1]] == whole(shorter, "forty-two", chatml)


def test_an_answer_is_never_cut(chatml, tmp_path):
    long = PreferencePair(TURNS, "cat " * 60, "no", origin=Origin("x.jsonl", 9))
    with pytest.raises(CookbookError, match=r"must be one of turns, drop, error: an answer is never cut"):
        tokenize_pairs([long], chatml, max_length=40, cache_dir=tmp_path, too_long="right")
    with pytest.raises(CookbookError, match=r"x.jsonl.*9.*longest answer has \d+ tokens, max_length is 40.*is error"):
        tokenize_pairs([long], chatml, max_length=40, cache_dir=tmp_path, too_long="error")
    for policy, why in (("turns", "its last turn alone does not fit"), ("drop", "truncation is drop")):
        made = tokenize_pairs([*PAIRS, long], chatml, max_length=40, cache_dir=tmp_path, too_long=policy)
        assert (len(made), made.dropped) == (len(PAIRS), {"too_long": 1})
        assert why in made.report()
    with pytest.raises(CookbookError, match=r"no row of 1 pairs can be learned from \(1 x too_long\)"):
        tokenize_pairs([long], chatml, max_length=40, cache_dir=tmp_path)


# ----------------------------------------------------------------------------------------------------------- on the disk


def test_the_cache_is_opened_again_and_another_option_is_another(chatml, tmp_path):
    first = tokenize_pairs(PAIRS, chatml, max_length=100, cache_dir=tmp_path)
    again = tokenize_pairs(PAIRS, chatml, max_length=100, cache_dir=tmp_path)
    assert first.fingerprint == again.fingerprint == CandidateSet.open(first.tokens.folder).fingerprint
    other = tokenize_pairs(PAIRS, chatml, max_length=101, cache_dir=tmp_path)
    turned = tokenize_pairs([replace(p, margin=None) for p in PAIRS], chatml, max_length=100, cache_dir=tmp_path)
    assert len({first.fingerprint, other.fingerprint, turned.fingerprint}) == 3


@pytest.mark.parametrize("name", ["ids.i32", "parts.i32", "targets.f32"])
def test_a_damaged_cache_says_which_folder(chatml, tmp_path, name):
    made = tokenize_pairs(PAIRS, chatml, max_length=100, cache_dir=tmp_path)
    file = made.tokens.folder / name
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CookbookError, match="is damaged .* delete that folder"):
        CandidateSet.open(made.tokens.folder)


def test_files_and_records_make_the_same_rows(chatml, tmp_path: Path):
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": p.prompt[0]["content"], "chosen": p.chosen, "rejected": p.rejected, "margin": p.margin}
        for p in PAIRS
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = tokenize_pairs(str(file), chatml, max_length=100, cache_dir=tmp_path / "cache", limit=50)
    held = tokenize_pairs(PAIRS, chatml, max_length=100, cache_dir=tmp_path / "cache", limit=50)
    assert len(read) == len(held) == 50
    assert [row.shared.tolist() for row in read] == [row.shared.tolist() for row in held]
    np.testing.assert_array_equal(read.targets, held.targets)


def test_others_read_the_prompt_that_training_reads(chatml):
    """Shortened as `encode` shortens it, refused as it refuses; a record that fits is the same one."""
    pair = PreferencePair(TURNS, "42.", "I do not know", origin=Origin("rows", 3), group="g")
    longest = max(len(whole(TURNS, text, chatml)) for text in (pair.chosen, pair.rejected))
    assert EncodeCandidates(chatml, longest).shortened(pair) is pair
    short = EncodeCandidates(chatml, longest - 1).shortened(pair)
    assert short == replace(pair, prompt=without_oldest_turn(TURNS))
    assert EncodeCandidates(chatml, longest - 1).encode(pair).shared.tolist() == (
        EncodeCandidates(chatml, 1000).encode(short).shared.tolist()
    )
    with pytest.raises(RowRefused, match=r"rows row 3: .* max_length is 5, and its last turn alone does not fit"):
        EncodeCandidates(chatml, 5).shortened(pair)
    with pytest.raises(RowRefused, match="the response has no tone"):
        EncodeCandidates(chatml, 100, attributes=("tone",)).shortened(ScoredResponse(TURNS, "42.", {"score": 1.0}))


def test_what_an_eye_sees(chatml, tmp_path):
    """A document for the shared prompt and one for each answer; the turns of a single answer are not called the assistant's."""
    pairs = tokenize_pairs(PAIRS[:3], chatml, max_length=100, cache_dir=tmp_path)
    rows = candidate_rows([pairs[0]], chatml)
    assert [(row["document"], row["role"]) for row in rows[:1]] == [(0, "user")]
    assert {row["role"] for row in rows if row["document"]} == {"assistant"}
    assert [row["document"] for row in rows if row["weight"]] == [1, 2]
    learned = [
        (row["document"], row["text"]) for row in candidate_rows([pairs[0]], chatml, read="answers") if row["weight"]
    ]
    assert learned == [(row["document"], row["text"]) for row in rows if row["document"]], (
        "they differ from their first token on"
    )
    apart = [row for row in candidate_rows([pairs.shared(False)[0]], chatml, read="answers") if row["weight"]]
    assert [row["text"] for row in apart] == [text for _, text in learned]
    one = tokenize_scores([ScoredResponse(TURNS, "42.", {"score": 1.0})], chatml, max_length=100, cache_dir=tmp_path)
    assert {row["role"] for row in candidate_rows([one[0]], chatml)} == {"all turns"}
    assert "shared" in pairs.report() and "shared" not in one.report()
