"""Pairs and scores, read as we and as others write them; what breaks a rule is said with its place."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.data.reward.storage import pair_writer, score_writer

ASKED = ({"role": "user", "content": "Hi"},)
TALK = (*ASKED, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And?"})
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
TOOLS = (
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "a cat", "name": "look"},
)


def answer(text):
    return {"role": "assistant", "content": text}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def stored(writer_for, path, records):
    """What publishing does, without a split."""
    import pyarrow.parquet as pq

    with writer_for(path) as writer:
        for record in records:
            writer.write(record)
    pq.write_table(writer.finished(pq.read_table(path)), path)
    return path


PLAIN = {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}
SAME = [
    PLAIN,
    {**PLAIN, "prompt": list(ASKED)},
    {**PLAIN, "chosen": [answer("Hello.")], "rejected": [answer("No.")]},
    {**PLAIN, "chosen": answer("Hello."), "rejected": answer("No.")},
    {"chosen": [*ASKED, answer("Hello.")], "rejected": [*ASKED, answer("No.")]},
    {**PLAIN, "chosen": [*ASKED, answer("Hello.")], "rejected": [*ASKED, answer("No.")]},
    {"chosen": json.dumps([*ASKED, answer("Hello.")]), "rejected": json.dumps([*ASKED, answer("No.")])},
    {"prompt": json.dumps(ASKED), "chosen": "Hello.", "rejected": "No."},
    {"prompt": None, "chosen": [*ASKED, answer("Hello.")], "rejected": "No."},
]


@pytest.mark.parametrize("row", SAME)
def test_every_spelling_of_one_pair(tmp_path, row):
    (pair,) = read_pairs(written(tmp_path / "rows.jsonl", row))
    assert (pair.prompt, pair.chosen, pair.rejected) == (ASKED, "Hello.", "No.")
    assert (pair.margin, pair.tie, pair.source) == (None, False, None)
    assert pair.origin == Origin(str(tmp_path / "rows.jsonl"), 1)


def test_keys_margins_ties_and_limits(tmp_path):
    rows = [
        {"q": "Hi", "good": "a", "bad": "b", "margin": 2, "tie": False},
        {"q": "Hi", "good": "a", "bad": "c", "margin": None, "tie": True},
        {"q": "Hi", "good": "a", "bad": "d"},
    ]
    path = written(tmp_path / "rows.jsonl", *rows)
    keys = dict(prompt_key="q", chosen_key="good", rejected_key="bad")
    pairs = list(read_pairs(path, **keys))
    assert [(pair.margin, pair.tie) for pair in pairs] == [(2.0, False), (None, True), (None, False)]
    assert len(list(read_pairs([str(path), path], **keys, limit=4))) == 4


def test_an_answer_that_looks_like_json_stays_text(tmp_path):
    """[1, 2] is a fine answer; so are messages, in a file of ours."""
    (pair,) = read_pairs(written(tmp_path / "rows.jsonl", {**PLAIN, "chosen": "[1, 2]", "rejected": "[broken"}))
    assert (pair.chosen, pair.rejected) == ("[1, 2]", "[broken")
    record = PreferencePair(ASKED, json.dumps([answer("x")]), "no", group="g")
    (pair,) = read_pairs(stored(pair_writer, tmp_path / "ours.parquet", [record]))
    assert pair.chosen == record.chosen


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**PLAIN, "rejected": "Hello."}, "the two answers of a pair differ"),
        ({**PLAIN, "chosen": " "}, "chosen is ' ', but an answer is not empty"),
        ({**PLAIN, "prompt": ""}, "prompt is '', but a prompt is not empty"),
        ({**PLAIN, "prompt": 7}, "prompt is 7"),
        ({"chosen": "a", "rejected": "b"}, "prompt is missing, but answers that are text need a prompt"),
        (
            {"prompt": "Hi", "chosen": "a"},
            r"rejected is missing, but the row must have it \(columns here: chosen, prompt",
        ),
        ({**PLAIN, "chosen": 3}, "chosen is 3, but an answer is text or a list"),
        ({**PLAIN, "chosen": []}, r"chosen is \[\]"),
        ({**PLAIN, "chosen": [*ASKED]}, r"chosen\[0\].role is 'user', but the last message is the answer"),
        ({**PLAIN, "chosen": [{**answer(None), "tool_calls": [CALL]}]}, "an answer is text, and no tool call"),
        ({**PLAIN, "prompt": [*ASKED, answer("x")]}, "a prompt ends with what is to be answered"),
        ({**PLAIN, "prompt": [{"role": "bot", "content": "x"}]}, "role is 'bot'"),
        ({**PLAIN, "prompt": "Ho", "chosen": [*ASKED, answer("a")]}, "begins with another conversation"),
        (
            {"chosen": [*TALK, answer("a")], "rejected": [TALK[0], answer("Oh."), TALK[2], answer("b")]},
            "context of rejected is 'turn 2', but both answers must continue the same conversation",
        ),
        ({"chosen": [*TALK, answer("a")], "rejected": [*ASKED, answer("b")]}, "3 and 1 turns before the answer"),
        ({**PLAIN, "margin": -1}, "margin is -1.0, but a margin is 0 or more"),
        ({**PLAIN, "margin": "2"}, "margin is '2', but it must be a number"),
        ({**PLAIN, "margin": 2, "tie": True}, "answers that tie have no margin"),
        ({**PLAIN, "tie": "yes"}, "tie is 'yes', but it is true or false"),
    ],
)
def test_rows_that_are_no_pairs(tmp_path, row, sentence):
    path = written(tmp_path / "rows.jsonl", PLAIN, row)
    with pytest.raises(RowError, match=sentence) as raised:
        list(read_pairs(path))
    assert str(raised.value).startswith(f"{path} row 2: ")
    report = Report()
    assert len(list(read_pairs(path, report=report))) == 1
    assert (report.kept, report.counts["rows_refused"]) == (1, 1)


def test_scores_by_name_and_unknown_ones(tmp_path):
    rows = [
        {"prompt": "Hi", "response": "a", "helpfulness": 3, "wit": None},
        {"prompt": "Hi", "response": "b", "wit": 1.5},
    ]
    path = written(tmp_path / "rows.jsonl", rows[0], {**rows[1], "helpfulness": None})
    read = list(read_scores(path, attributes=("helpfulness", "wit")))
    assert [record.scores for record in read] == [{"helpfulness": 3.0}, {"wit": 1.5}]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"score": None}, "a scored response has at least one score"),
        ({"score": "4"}, "score is '4', but it must be a number"),
        ({"score": True}, "score is True"),
        ({"mark": 4}, r"score is missing, but it was named as an attribute \(columns here: mark, prompt, response\)"),
        ({"score": 1, "response": ""}, "an answer is not empty"),
    ],
)
def test_rows_that_have_no_score(tmp_path, row, sentence):
    with pytest.raises(RowError, match=sentence):
        list(read_scores(written(tmp_path / "rows.jsonl", {"prompt": "Hi", "response": "a", **row})))


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(CookbookError, match="there is no file or folder"):
        list(read_pairs(tmp_path / "none.parquet"))


@pytest.mark.parametrize("prompts", [[ASKED, ASKED], [ASKED, TALK], [ASKED, TOOLS], [TALK]])
def test_pairs_come_back_as_they_were(tmp_path, prompts):
    records = [
        PreferencePair(prompt, f"a{n}", "b", margin=n / 3, source="s", group=str(n), origin=Origin("f", n))
        for n, prompt in enumerate(prompts, start=1)
    ]
    path = stored(pair_writer, tmp_path / "pairs.parquet", records)
    read = list(read_pairs(path))
    assert [(r.prompt, r.chosen, r.rejected, r.margin, r.tie, r.source, r.group) for r in read] == [
        (r.prompt, r.chosen, r.rejected, r.margin, r.tie, r.source, r.group) for r in records
    ]


def test_columns_on_disk(tmp_path):
    """Text where every prompt is one question, messages where one is not."""
    labels = ["source", "group", "origin"]
    pairs = [PreferencePair(prompt, "a", "b", 1.0) for prompt in (ASKED, TALK)]
    frame = pd.read_parquet(stored(pair_writer, tmp_path / "pairs.parquet", pairs[:1]))
    assert frame.columns.tolist() == ["prompt", "chosen", "rejected", "margin", "tie", *labels]
    assert frame["prompt"].tolist() == ["Hi"]
    frame = pd.read_parquet(stored(pair_writer, tmp_path / "pairs.parquet", pairs))
    assert [list(prompt) for prompt in frame["prompt"]] == [list(ASKED), list(TALK)]
    scores = [
        ScoredResponse(ASKED, "a", {"wit": 1.0, "score": 2.0}),
        ScoredResponse(ASKED, "b", {"score": 3.0, "x": 4.0}),
    ]
    frame = pd.read_parquet(stored(score_writer, tmp_path / "scores.parquet", scores))
    assert frame.columns.tolist() == ["prompt", "response", "score", "wit", "x", *labels]
    assert frame["score"].tolist() == [2.0, 3.0]
    assert frame["wit"].isna().tolist() == [False, True]
    read = read_scores(tmp_path / "scores.parquet", attributes=("score", "wit", "x"))
    assert [record.scores for record in read] == [{"score": 2.0, "wit": 1.0}, {"score": 3.0, "x": 4.0}]


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
PROMPTS = st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: tuple(
        {"role": ("user", "assistant")[(len(texts) - n) % 2 == 0], "content": text} for n, text in enumerate(texts)
    )
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(PROMPTS, TEXTS, TEXTS, st.none() | st.floats(0, 9)), min_size=1, max_size=6))
def test_any_text_comes_back(rows):
    """Whatever stands in it: quotes, brackets, JSON, U+2028, null characters."""
    records = [PreferencePair(*row, group="g") for row in rows if row[1] != row[2]]
    if records:
        with TemporaryDirectory() as folder:
            read = list(read_pairs(stored(pair_writer, Path(folder) / "pairs.parquet", records)))
        assert [(r.prompt, r.chosen, r.rejected, r.margin) for r in read] == [
            (r.prompt, r.chosen, r.rejected, r.margin) for r in records
        ]


def test_half_a_surrogate_pair_is_refused(tmp_path):
    with pytest.raises(RowError, match="half a surrogate pair"), pair_writer(tmp_path / "pairs.parquet") as writer:
        writer.write(PreferencePair(ASKED, "a\ud800", "b"))
