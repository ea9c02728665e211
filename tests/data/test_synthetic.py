"""The embedded world: what it says it is."""

import math
from collections import Counter

import pytest

from cookbook_lib.data.converters.helpsteer2 import prompt_turns
from cookbook_lib.data.larkspur import ATTRIBUTES, KINDS, NEIGHBOURS, facts_of_the_lane
from cookbook_lib.data.synthetic import (
    FAULTS_OF_FORM,
    OVERLOOKED,
    SCORES,
    embedded_rows,
    embedded_texts,
    hasty_rows,
    least_nats,
)
from cookbook_lib.data.truth import states_answer

ROWS = list(embedded_rows(4000, seed=3))


def test_the_seed_decides_and_a_prefix_is_a_prefix():
    assert list(embedded_rows(4000, seed=3)) == ROWS
    assert list(embedded_rows(4000, seed=4)) != ROWS
    assert list(embedded_rows(1001, seed=3)) == ROWS[:1001]


def test_pairs_share_a_prompt_and_differ_in_quality():
    for first, second in zip(ROWS[::2], ROWS[1::2], strict=True):
        assert first["prompt"] == second["prompt"]
        assert first["quality"] != second["quality"]
        assert first["response"] != second["response"] or {first["quality"], second["quality"]} & {"garbled"}


def test_every_kind_and_quality_occurs_with_scores_from_the_table():
    assert {row["kind"] for row in ROWS} == set(KINDS)
    assert {row["quality"] for row in ROWS} == set(SCORES)
    for row in ROWS:
        helpfulness, correctness, coherence, _ = SCORES[row["quality"]]
        assert (row["helpfulness"], row["correctness"], row["coherence"]) == (helpfulness, correctness, coherence)
        assert all(0 <= row[name] <= 4 for name in ("complexity", "verbosity"))


@pytest.mark.parametrize(
    ("quality", "states"),
    [("exact", True), ("padded", True), ("wrong", False), ("partly", False), ("off-topic", False)],
)
def test_scores_follow_the_truth(quality, states):
    """A response states its answer exactly when its correctness says so."""
    rows = [row for row in ROWS if row["quality"] == quality and not row["prompt"].endswith("One word is enough.")]
    rows = [row for row in rows if quality != "exact" or row["response"]]
    assert rows
    assert all(states_answer(row["response"], row["expected_answer"]) == states for row in rows)


def test_one_word_answers():
    rows = [row for row in ROWS if row["prompt"].endswith("One word is enough.") and row["quality"] == "exact"]
    assert rows
    assert all(row["response"] == row["expected_answer"] for row in rows)


def test_no_value_can_be_guessed():
    facts = facts_of_the_lane()
    assert len(facts) == len(NEIGHBOURS) * len(ATTRIBUTES)
    counts = Counter((attribute, value) for (_, attribute), value in facts.items())
    assert set(counts.values()) == {2}


def test_prompts_have_turn_marks_where_they_follow_up():
    for row in ROWS:
        assert len(prompt_turns(row["prompt"])) == (3 if row["kind"] == "follow-up" else 1)


def test_texts_for_a_tokenizer_cover_the_world():
    words = set(" ".join(embedded_texts(2000)).replace(".", " ").split())
    assert set(NEIGHBOURS) <= words
    assert {value for attribute in ATTRIBUTES.values() for value in attribute.values} <= words
    assert "<extra_id_1>Assistant" not in words


@pytest.mark.parametrize("both", [True, False])
def test_the_least_loss_is_the_entropy_of_the_choice(both):
    """Exact against padded among kept rows: the stated probability is the frequency, within four standard deviations."""
    kept = [row for row in embedded_rows(20000, seed=5) if row["correctness"] == 4 and (row["kind"] == "both") == both]
    exact = sum(row["quality"] == "exact" for row in kept) / len(kept)
    stated = math.exp(-least_nats("Ada keeps a pet owl.", both=both))
    assert abs(exact - stated) < 4 * (stated * (1 - stated) / len(kept)) ** 0.5
    padded = least_nats("I am glad that you asked. Ada keeps a pet owl. Please ask me again any time.", both=both)
    assert stated + 9 * math.exp(-padded) == pytest.approx(1)


def test_annotators_in_a_hurry_overlook_faults_of_form_and_nothing_else():
    hasty, overlooked = list(hasty_rows(4000, seed=3)), 0
    for row, truth in zip(hasty, ROWS, strict=True):
        if row != truth:
            assert truth["quality"] in FAULTS_OF_FORM
            assert row == truth | {"helpfulness": 4, "correctness": 4, "coherence": 4}
            overlooked += 1
    faulty = sum(row["quality"] in FAULTS_OF_FORM for row in ROWS)
    assert abs(overlooked / faulty - OVERLOOKED) < 4 * (OVERLOOKED * (1 - OVERLOOKED) / faulty) ** 0.5
    assert hasty == list(hasty_rows(4000, seed=3))
