"""Truncation: what is left is a whole conversation of the template's, fits, and ends or begins where the policy says."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.masking import encode
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.tokenized import tokenize
from cookbook_lib.data.truncation import Measured, cuts

SYSTEM = {"role": "system", "content": "be kind"}


def turns(*pairs: tuple[str, str]) -> tuple[dict, ...]:
    return tuple(m for q, a in pairs for m in ({"role": "user", "content": q}, {"role": "assistant", "content": a}))


THREE = (SYSTEM, *turns(("one is first", "1"), ("two is second", "2"), ("three is third", "3")))


def tokens(messages, tokenizer, **options):
    return encode(Conversation(tuple(messages)), tokenizer, **{"max_length": 10_000, **options})


def text(messages, tokenizer, **options) -> str:
    return tokenizer.decode(tokens(messages, tokenizer, **options).input_ids)


def rendered(messages, tokenizer) -> str:
    return tokenizer.apply_chat_template(list(messages), tokenize=False)


@pytest.fixture
def chatml(make_tokenizer):
    return make_tokenizer("chatml")


@pytest.mark.parametrize("policy", ["right", "left", "turns", "error", "drop"])
def test_what_fits_is_left_alone(policy, chatml):
    whole = tokens(THREE, chatml)
    exactly = tokens(THREE, chatml, max_length=len(whole.input_ids), truncation=policy)
    assert exactly.input_ids.tolist() == whole.input_ids.tolist()
    assert exactly.weights.tolist() == whole.weights.tolist()


def test_right_keeps_whole_turns_from_the_start(chatml):
    room = len(tokens(THREE, chatml).input_ids) - 1
    assert text(THREE, chatml, max_length=room, truncation="right") == rendered(THREE[:5], chatml)
    room = len(tokens(THREE[:5], chatml).input_ids) - 1
    assert text(THREE, chatml, max_length=room, truncation="right") == rendered(THREE[:3], chatml)


def test_right_does_not_keep_what_nothing_is_learned_after(chatml):
    messages = [*THREE[:3], THREE[3], {**THREE[4], "train": False}, *THREE[5:]]
    room = len(tokens(messages, chatml).input_ids) - 1
    assert text(messages, chatml, max_length=room, truncation="right") == rendered(THREE[:3], chatml)


def test_right_refuses_when_no_answer_fits(chatml):
    with pytest.raises(RowRefused, match=r"its first learned answer ends at \d+; raise data.max_length \[answer_cut\]"):
        tokens(turns(("q", "long " * 50)), chatml, max_length=40, truncation="right")


def test_right_never_learns_another_answer_than_asked_for(chatml):
    room = len(tokens(THREE, chatml).input_ids) - 1
    with pytest.raises(RowRefused, match="answer_cut"):
        tokens(THREE, chatml, max_length=room, truncation="right", train_on="last_assistant")


def test_turns_drops_the_oldest_and_keeps_the_system(chatml):
    room = len(tokens(THREE, chatml).input_ids) - 1
    assert text(THREE, chatml, max_length=room, truncation="turns") == rendered((SYSTEM, *THREE[3:]), chatml)
    room = len(tokens((SYSTEM, *THREE[3:]), chatml).input_ids) - 1
    assert text(THREE, chatml, max_length=room, truncation="turns") == rendered((SYSTEM, *THREE[5:]), chatml)


def test_turns_keeps_calls_with_their_results(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    asked = (
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "found"},
        {"role": "assistant", "content": "seen"},
    )
    messages = (*turns(("old", "older")), *asked)
    room = len(tokens(messages, tokenizer).input_ids) - 1
    assert text(messages, tokenizer, max_length=room, truncation="turns") == rendered(asked, tokenizer)


def test_turns_refuses_when_the_last_turn_does_not_fit(chatml):
    with pytest.raises(RowRefused, match="its last turn alone does not fit"):
        tokens(THREE, chatml, max_length=20, truncation="turns")


def test_left_takes_the_beginning_of_the_oldest_question(chatml):
    room = len(tokens(THREE, chatml).input_ids) - 2
    shorter = text(THREE, chatml, max_length=room, truncation="left")
    question = shorter.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
    assert question
    assert question != "one is first"
    assert "one is first".endswith(question)
    assert shorter == rendered((SYSTEM, {"role": "user", "content": question}, *THREE[2:]), chatml)


def test_left_keeps_instructions_at_the_end_of_a_judges_prompt(tokenizer):
    prompt = "a very long answer to judge. " * 40 + "Answer with one word: A or B."
    judged = turns((prompt, "A"))
    example = tokens(judged, tokenizer, max_length=80, truncation="left")
    assert 70 < len(example.input_ids) <= 80
    assert "Answer with one word: A or B." in tokenizer.decode(example.input_ids)
    assert example.weights.sum() == tokens(judged, tokenizer).weights.sum()


def test_left_refuses_when_the_answer_leaves_no_room(chatml):
    with pytest.raises(RowRefused, match="too_long"):
        tokens(turns(("short", "long " * 50)), chatml, max_length=40, truncation="left")


def test_left_does_not_cut_a_question_that_is_learned(chatml):
    messages = ({"role": "user", "content": "learned words here", "train": True}, THREE[2])
    room = len(tokens(messages, chatml).input_ids) - 1
    with pytest.raises(RowRefused, match="too_long"):
        tokens(messages, chatml, max_length=room, truncation="left")


def test_error_refuses_and_says_the_lengths(chatml):
    with pytest.raises(RowRefused, match=r"the conversation has \d+ tokens, max_length is 20 and truncation is error"):
        tokens(THREE, chatml, max_length=20, truncation="error")


def test_drop_refuses_the_row_and_the_run_goes_on(chatml, tmp_path):
    with pytest.raises(RowRefused, match=r"max_length is 20 and truncation is drop"):
        tokens(THREE, chatml, max_length=20, truncation="drop")
    room = len(tokens(THREE, chatml).input_ids) - 1
    rows = [Conversation(THREE), Conversation(THREE[:3])]
    kept = tokenize(rows, chatml, max_length=room, truncation="drop", cache_dir=tmp_path)
    assert (len(kept), kept.dropped) == (1, {"too_long": 1})


def test_an_unknown_policy_is_refused():
    with pytest.raises(CookbookError, match="must be one of right, left, turns, error, drop"):
        cuts(Measured(9, ("user",), (1.0,), (0,), (9,)), 5, "middle")


WORDS = st.lists(st.sampled_from(["cat", "sat", "mat", "</s>", "\n", "<|im_end|>", "é"]), max_size=30).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)


@pytest.mark.parametrize("style", ["chatml", "qwen3", "mistral", "llama3"])
@pytest.mark.parametrize("policy", ["right", "left", "turns"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(pairs=PAIRS, limit=st.integers(20, 120))
def test_a_shortened_row_is_a_conversation_that_fits_with_whole_answers(style, policy, pairs, limit, shared_tokenizer):
    tokenizer = shared_tokenizer(style)
    answers = [f"#{i} {answer}!" for i, (_, answer) in enumerate(pairs)]
    messages = turns(*[(f"{question}?", answer) for (question, _), answer in zip(pairs, answers, strict=True)])
    try:
        example = tokens(messages, tokenizer, max_length=limit, truncation=policy)
    except RowRefused as refusal:
        assert refusal.reason == ("answer_cut" if policy == "right" else "too_long")
        return
    assert len(example.input_ids) <= limit
    learned = tokenizer.decode(example.input_ids[example.weights > 0])
    count = learned.count("#")
    kept = answers[:count] if policy == "right" else answers[-count:]
    stop = tokenizer.decode([example.input_ids[example.weights > 0][-1]])
    assert learned.replace(f"{stop} #", f"{stop}#").lstrip() == "".join(answer + stop for answer in kept)
