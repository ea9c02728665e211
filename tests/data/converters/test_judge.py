"""A judge's data: the verdict is the answer, the order says nothing, the critique follows the scores."""

import random

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters import Options, converter_named
from cookbook_lib.data.converters.judge import same_prompt
from cookbook_lib.data.judge import questions
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.data.judge.verdicts import read_preference, read_score
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.reward.converters.helpsteer2 import from_helpsteer2
from cookbook_lib.data.reward.registry import RewardOptions
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
    assert (low.answer, high.answer) == ("Score: 1", "Score: 4")
    assert low.messages[1]["content"].startswith("What it says is wrong.")
    assert low.messages[1]["content"].endswith("\n\nScore: 1")
    better = "A" if "Response A:\n> Because." in preference.messages[0]["content"] else "B"
    assert preference.answer == f"Preference: {better}"
    said = preference.messages[1]["content"]
    assert said.endswith(f"\nResponse {better} is much better.\n\nPreference: {better}")
    assert f"Response {better}: What it says is right." in said
    assert len({made.group for made in (low, high, preference)}) == 1


def test_what_is_asked_is_what_reinforcement_learning_asks_and_the_answer_is_read():
    """The judge that SFT teaches can be trained on by prompts of the same words, and its verdict is one."""
    rows = list(embedded_rows(60))
    options = RewardOptions()
    asked = [questions.score_task(from_helpsteer2(row, "scores", options), load_rubric()).prompt for row in rows]
    placed = ((Origin("f", n), row) for n, row in enumerate(rows, start=1))
    for _, both in same_prompt(placed):
        for pair in from_helpsteer2(both, "pairs", options):
            asked += [task.prompt for task in questions.preference_tasks(pair, load_rubric())]
    for made in judged(rows):
        *prompt, said = made.messages
        assert tuple(prompt) in asked
        assert made.answer in (
            f"Score: {read_score(said['content'])}",
            f"Preference: {read_preference(said['content'])}",
        )


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
        verdict = "A" if f"Response A:\n> {better}" in shown else "B"
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


def test_the_verdict_can_stand_first_and_be_about_another_score():
    made = judged([scored("Why?", "No.", POOR)], verdict="first", aspect="correctness")[0]
    assert made.messages[1]["content"].startswith("Score: 0\n\nIt is easy to follow. ")
    assert "Begin with one line, then say why:" in made.messages[0]["content"]
    assert "Judge how correct the response is" in made.messages[0]["content"]
    with pytest.raises(CookbookError, match="aspect 'wit' is not scored; choose one of helpfulness"):
        judged([scored("Why?", "No.", POOR)], aspect="wit")
    with pytest.raises(RowError, match="helpfulness is missing"):
        judged([{"prompt": "q", "response": "x"}])


def test_a_rubric_of_ones_own_with_another_scale(tmp_path):
    file = tmp_path / "stars.yaml"
    file.write_text("name: stars\nversion: 3\ntask: Count stars.\nlevels: {1: a, 2: b, 3: c, 4: d, 5: e}\n")
    (low,) = judged([scored("Why?", "No.", POOR)], rubric=str(file))
    assert low.answer == "Score: 2"
    assert "Count stars.\nScores: 1 a; 2 b; 3 c; 4 d; 5 e\n" in low.messages[0]["content"]
    assert "principles" in judged([scored("Why?", "No.", POOR)], rubric="full")[0].messages[0]["content"].lower()


def completion(text, rating, why=None, **more):
    rated = {"Rating": rating, **({"Rationale For Rating": why} if why else {})}
    return {"response": text, "annotations": {"helpfulness": rated}, **more}


def test_completions_are_judged_in_their_annotators_words():
    """UltraFeedback: ratings of 1 to 5, one of them not given; a rationale, or the critique of the whole."""
    given = [
        completion("No.", "1", "It is rude."),
        completion("x", "N/A"),
        completion("Yes.", "5", critique="All is there. "),
    ]
    low, high, preference = judged([{"instruction": "Is it?", "completions": given}])
    assert low.messages[1]["content"] == "It is rude.\n\nScore: 0"
    assert high.messages[1]["content"] == "All is there.\n\nScore: 4"
    said, better = preference.messages[1]["content"], "A" if preference.answer == "Preference: A" else "B"
    assert f"Response {better}: All is there." in said
    assert said.endswith(f"\nResponse {better} is much better.\n\nPreference: {better}")
    with pytest.raises(
        RowError, match=r"completions\[0\].annotations.helpfulness.Rating is '6', but it is 1 to 5, or N/A"
    ):
        judged([{"instruction": "Is it?", "completions": [completion("No.", "6")]}])


@pytest.mark.parametrize("why", ["Score: 1 is fair.", "Preference: A", "<think>no end", "**score**: 4\nScore: 3"])
def test_reasons_that_state_a_verdict_of_their_own_are_replaced(why):
    """Whatever annotators wrote, one verdict is read: the one that they gave."""
    rows = [scored("Why?", "No.", POOR | {"critique": why}), scored("Why?", "Because.", GOOD)]
    compared = {
        "prompt": "q",
        "response_1": "a",
        "response_2": "b",
        "preference_strength": 1,
        "preference_statement": why,
    }
    low, high, preference, other = judged([*rows, compared])
    for made in (low, high):
        assert f"Score: {read_score(made.messages[1]['content'])}" == made.answer
    for made in (preference, other):
        assert f"Preference: {read_preference(made.messages[1]['content'])}" == made.answer
    assert low.messages[1]["content"].startswith("What it says is wrong.")


def test_several_turns_are_shown_with_their_speakers():
    prompt = "a<extra_id_1>Assistant\nb<extra_id_1>User\nc"
    shown = judged([scored(prompt, "x", GOOD)])[0].messages[0]["content"]
    assert "User:\n> a\n\nAssistant:\n> b\n\nUser:\n> c\n\nResponse:\n> x" in shown


def test_both_orders_have_opposite_verdicts():
    rows = [scored("Why?", "No.", POOR), scored("Why?", "Because.", GOOD)]
    *scores, shown, turned = judged(rows, orders="both")
    assert [*scores, shown] == judged(rows)
    assert {shown.answer, turned.answer} == {"Preference: A", "Preference: B"}
    better, worse = shown.answer[-1], turned.answer[-1]
    assert f"Response {better}:\n> Because." in shown.messages[0]["content"]
    assert f"Response {worse}:\n> Because." in turned.messages[0]["content"]
    assert f"Response {worse} is much better." in turned.messages[1]["content"]
    assert shown.group == turned.group, "of one prompt: split together"


def test_scores_and_preferences_can_be_asked_alone():
    compared = {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1}
    rows = [scored("Why?", "No.", POOR), scored("Why?", "Because.", GOOD), compared]
    low, high, *preferences = judged(rows)
    assert judged(rows, asks="scores") == [low, high]
    assert judged(rows, asks="preferences") == preferences and len(preferences) == 2


@pytest.mark.parametrize(("option", "value"), [("orders", "ab"), ("asks", "score"), ("verdict", "middle")])
def test_what_cannot_be_asked_is_refused(option, value):
    with pytest.raises(CookbookError, match=f"{option} '{value}' .*; choose "):
        judged([scored("Why?", "No.", POOR)], **{option: value})


def test_a_tie_is_one_in_both_orders():
    *_, shown, turned = judged([scored("Why?", "a", GOOD), scored("Why?", "b", GOOD)], orders="both")
    assert shown.answer == turned.answer == "Preference: tie" and shown.messages != turned.messages


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
