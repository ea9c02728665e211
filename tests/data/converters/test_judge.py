"""A judge's data: the verdict is the answer, the order says nothing, the critique follows the scores."""

import random

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.synthetic import embedded_rows
from cookbook_lib.data.truth import states_answer

GOOD = {"helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
POOR = {"helpfulness": 1, "correctness": 0, "coherence": 4, "complexity": 1, "verbosity": 1}


def judged(rows, **options):
    converter = converter_named("judge")
    placed = ((Origin("f", n), row) for n, row in enumerate(rows, start=1))
    return [made for _, row in converter.gather(placed) for made in converter.convert(row, Options(**options))]


def scored(prompt, response, scores):
    return {"prompt": prompt, "response": response, **scores}


def test_scored_pairs_give_two_scores_and_a_preference():
    low, high, preference = judged([scored("Why?", "No.", POOR), scored("Why?", "Because.", GOOD)])
    assert (low.answer, high.answer) == ("Helpfulness Score: 1", "Helpfulness Score: 4")
    assert low.messages[1]["content"].startswith("**Helpfulness Score: 1**\n\nWhat it says is wrong.")
    better = "A" if "Response A: Because." in preference.messages[0]["content"] else "B"
    assert preference.answer == f"Preference: {better}"
    assert preference.messages[1]["content"].startswith(
        f"**Preference: {better}**\n\nResponse {better} is much better."
    )
    assert f"Response {better}: What it says is right." in preference.messages[1]["content"]
    assert len({made.group for made in (low, high, preference)}) == 1


def test_only_adjacent_rows_of_one_prompt_are_paired():
    made = judged([scored("a", "x", GOOD), scored("b", "x", GOOD), scored("b", "y", GOOD), scored("c", "x", GOOD)])
    assert [conversation.source for conversation in made].count("judge/tie") == 1
    assert len(made) == 5


@pytest.mark.parametrize("form", ["helpsteer2", "helpsteer3", "chosen"])
def test_compared_rows(form):
    draw = random.Random(form)
    verdicts = set()
    for n in range(40):
        worse, better = f"no {n}", f"yes {n}"
        row, first = compared(form, f"Question {n}?", better, worse, draw)
        (made,) = judged([row])
        shown = made.messages[0]["content"]
        verdict = "A" if f"Response A: {better}" in shown else "B"
        verdicts.add((verdict, first))
        assert made.answer == f"Preference: {verdict}"
        said = made.messages[1]["content"]
        if form != "chosen":
            assert f"Response {verdict} answers" in said
            assert "@" not in said
            assert "Response 1" not in said
    assert len(verdicts) == (4 if form != "chosen" else 2)


def compared(form, question, better, worse, draw):
    """A row in a published form, and whether the better response stands first."""
    first = draw.random() < 0.5
    one, two = (better, worse) if first else (worse, better)
    strength, why = (-2 if first else 2), f"@Response {1 if first else 2} answers."
    if form == "helpsteer2":
        row = {"prompt": question, "response_1": one, "response_2": two, "preference_strength": strength}
        return row | {"preference_statement": why}, first
    if form == "helpsteer3":
        context = [{"role": "user", "content": question}]
        row = {"context": context, "response1": one, "response2": two, "overall_preference": strength}
        return row | {"individual_preference": [{"reasoning": why}]}, first
    return {"prompt": question, "chosen": better, "rejected": worse}, True


def test_ties_and_equal_scores():
    tie = {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 0}
    assert judged([tie])[0].answer == "Preference: tie"
    equal = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 8.0, "score_rejected": 8.0}
    assert judged([equal])[0].answer == "Preference: tie"


def test_the_verdict_can_stand_last_and_be_about_another_score():
    made = judged([scored("Why?", "No.", POOR)], verdict="last", aspect="correctness")[0]
    assert made.messages[1]["content"].endswith("\n\n**Correctness Score: 0**")
    assert "say why, then give" not in made.messages[0]["content"].lower().replace("say why, then give", "", 1)
    with pytest.raises(CookbookError, match="aspect 'wit' is not scored; choose one of helpfulness"):
        judged([scored("Why?", "No.", POOR)], aspect="wit")
    with pytest.raises(RowError, match="helpfulness is missing"):
        judged([{"prompt": "q", "response": "x"}])


def test_several_turns_are_shown_with_their_speakers():
    prompt = "a<extra_id_1>Assistant\nb<extra_id_1>User\nc"
    shown = judged([scored(prompt, "x", GOOD)])[0].messages[0]["content"]
    assert "Question: User: a\n\nAssistant: b\n\nUser: c\n\nResponse: x" in shown


def test_position_tells_nothing():
    """Over the embedded world: each verdict's share lies within four standard deviations of a half."""
    made = [
        conversation for conversation in judged(embedded_rows(4000)) if conversation.source in ("judge/A", "judge/B")
    ]
    share = sum(conversation.source == "judge/A" for conversation in made) / len(made)
    assert abs(share - 0.5) < 4 * 0.5 / len(made) ** 0.5


def test_the_reply_states_its_answer_and_no_other():
    for made in judged(embedded_rows(400)):
        said = made.messages[-1]["content"]
        assert states_answer(said, made.answer)
        others = {"Preference: A", "Preference: B", "Preference: tie"} - {made.answer}
        assert not any(states_answer(said, other) for other in others)
