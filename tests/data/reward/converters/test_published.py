"""HelpSteer2 and 3, UltraFeedback, hh-rlhf and GSM8K's solutions: made-up rows in the published schemas."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.catalog import REWARD_SOURCES
from cookbook_lib.data.reward.conversion import converted_rewards
from cookbook_lib.data.reward.registry import RewardOptions, reward_converter_named, weights_from

STEER = {
    "prompt": "What is a bond?<extra_id_1>Assistant\nA loan.<extra_id_1>User\nAnd a coupon?",
    "response": "Its interest.",
    **dict(helpfulness=2, correctness=4, coherence=4, complexity=0, verbosity=1),
}
BETTER = {**STEER, "response": "The interest that a bond pays.", "helpfulness": 4}
COMPARED = {"prompt": "Hi", "response_1": "Hello.", "response_2": "No.", "preference_strength": -2}
STEER3 = {
    "domain": "code",
    "context": [{"role": "user", "content": "Hi"}],
    "response1": "No.",
    "response2": "Hello.",
    "overall_preference": 3,
    "individual_preference": [{"score": 3, "reasoning": "@Response 2 is kind."}],
}
SOLVED = {
    "question": "2 + 2?",
    "ground_truth": "It is <<2+2=4>>4\nA: 4",
    "6b_finetuning": {"is_correct": False, "solution": "A: 5"},
    "6b_verification": {"is_correct": True, "solution": "2 + 2 = <<2+2=4>>4\nA: 4"},
    "175b_finetuning": {"is_correct": False, "solution": "A: 5"},
    "175b_verification": {"is_correct": True, "solution": "A: 4"},
}


def completion(response, rating="4", overall=7.0, **other):
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    ratings = dict.fromkeys(aspects, rating) | other
    annotations = {name: {"Rating": value, "Rationale": "."} for name, value in ratings.items()}
    return {"response": response, "annotations": annotations, "overall_score": overall, "fine-grained_score": 9}


def feedback(*completions):
    return {"source": "sharegpt", "instruction": "Hi", "completions": list(completions), "models": []}


def binarized(**fields):
    return {"prompt": "Hi", "chosen": "Hello.", "rejected": "No.", "source_index": 7, **fields}


def hh(chosen, rejected):
    return {"chosen": chosen, "rejected": rejected}


def converted(source, *rows, kind="pairs", **options):
    """Records of these rows, and the report."""
    report = Report(unit=kind)
    report.open_file("rows")
    origins = [Origin("rows", n) for n in range(1, len(rows) + 1)]
    converter = reward_converter_named(REWARD_SOURCES[source].converter)
    places = ((origin, row) for origin, row in zip(origins, rows, strict=True) if report.read(origin) is None)
    return list(converted_rewards(places, converter, kind, RewardOptions(**options), report)), report


def one(source, *rows, **options):
    (record,), report = converted(source, *rows, **options)
    assert not report.reasons
    return record


def refused(source, *rows, kind="pairs", **options):
    """The one sentence of rows of which nothing is left."""
    records, report = converted(source, *rows, kind=kind, **options)
    assert records == []
    ((rule, entries),) = report.examples.items()
    return f"{entries[0].get('field', '')} is {entries[0].get('found', '')}, but {rule}"


def test_helpsteer2_scores_keep_every_attribute():
    record = one("helpsteer2", STEER, kind="scores")
    assert [message["role"] for message in record.prompt] == ["user", "assistant", "user"]
    assert record.response == "Its interest."
    assert record.scores == {
        "score": 2.0,
        **dict(helpfulness=2, correctness=4, coherence=4, complexity=0, verbosity=1),
    }


def test_helpsteer2_score_is_the_aspect_or_a_mix():
    assert one("helpsteer2", STEER, kind="scores", aspect=weights_from("correctness")).scores["score"] == 4
    mix = weights_from("helpfulness=0.65,correctness=0.8,coherence=0.45,complexity=0.55,verbosity=-0.4")
    assert one("helpsteer2", STEER, kind="scores", aspect=mix).scores["score"] == pytest.approx(5.9)


def test_helpsteer2_pairs_are_the_responses_to_one_prompt():
    record = one("helpsteer2", STEER, BETTER)
    assert (record.chosen, record.rejected) == (BETTER["response"], STEER["response"])
    assert (record.margin, record.tie, record.origin) == (2.0, False, Origin("rows", 1))
    tie = one("helpsteer2", STEER, BETTER, aspect=weights_from("correctness"))
    assert tie.tie
    assert not tie.margin
    assert "correctness of response 2 is 9, but" in refused("helpsteer2", STEER, {**BETTER, "correctness": 9})
    alone, report = converted("helpsteer2", STEER, {**BETTER, "prompt": "Something else"})
    assert alone == []
    assert report.reasons == {"the only response to its prompt: nothing to compare it with": 2}


@pytest.mark.parametrize(("strength", "chosen", "margin"), [(-3, "Hello.", 3), (1, "No.", 1), (0, "Hello.", 0)])
def test_helpsteer2_preferences(strength, chosen, margin):
    record = one("helpsteer2-preference", {**COMPARED, "preference_strength": strength})
    assert (record.chosen, record.margin, record.tie) == (chosen, margin, strength == 0)


def test_helpsteer3():
    record = one("helpsteer3", STEER3)
    assert (record.prompt, record.chosen, record.rejected) == (tuple(STEER3["context"]), "Hello.", "No.")
    assert (record.margin, record.source) == (3.0, "helpsteer3/code")
    tie = one("helpsteer3", {**STEER3, "context": "Hi", "overall_preference": 0})
    assert (tie.tie, tie.prompt, {tie.chosen, tie.rejected}) == (True, record.prompt, {"Hello.", "No."})


def test_ultrafeedback_makes_all_pairs():
    row = feedback(completion("a", "5"), completion("b", "3"), completion("c", "3"), completion("d", "1"))
    pairs, _ = converted("ultrafeedback", row)
    assert [(p.chosen, p.rejected, p.margin or 0, p.tie) for p in pairs] == [
        ("a", "b", 2, False),
        ("a", "c", 2, False),
        ("a", "d", 4, False),
        ("b", "c", 0, True),
        ("b", "d", 2, False),
        ("c", "d", 2, False),
    ]
    assert {(p.source, p.group) for p in pairs} == {("ultrafeedback/sharegpt", pairs[0].group)}


def test_ultrafeedback_ratings_that_do_not_apply():
    """The mean is ours, over what was rated: the published fine-grained_score of these rows says 9."""
    (record,), _ = converted(
        "ultrafeedback", feedback(completion("a", "4", honesty="N/A", helpfulness="1")), kind="scores"
    )
    assert record.scores == {
        "score": 3.0,
        **dict(instruction_following=4.0, truthfulness=4.0, helpfulness=1.0, fine_grained=3.0, overall=7.0),
    }


def test_ultrafeedback_leaves_out_what_cannot_be_compared_and_says_so():
    row = feedback(completion("a", "5"), completion(" "), completion("c", "N/A"), completion("d", "1"))
    pairs, report = converted("ultrafeedback", row)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("a", "d")]
    assert report.counts["pairs_dropped"] == 2
    assert report.reasons == {"an answer is not empty": 1, "its score is not known": 1}
    assert report.examples["its score is not known"][0]["field"] == "completions[2].fine_grained"


@pytest.mark.parametrize(("rating", "overall", "known"), [("1", 10.0, False), ("5", 10.0, True), ("1", 1.0, True)])
def test_ultrafeedback_overall_scores_that_were_misread(rating, overall, known):
    row = feedback(completion("a", rating, overall))
    records, report = converted("ultrafeedback", row, kind="scores", aspect=weights_from("overall"))
    assert [record.scores["score"] for record in records] == ([overall] if known else [])
    assert report.counts["scores_dropped"] == (not known)


@pytest.mark.parametrize("inside", [False, True])
def test_ultrafeedback_binarized(inside):
    scores = {"score_chosen": 8.0, "score_rejected": 6.5}
    scores = {"metadata": scores} if inside else scores
    record = one("ultrafeedback", binarized(**scores))
    assert (record.chosen, record.margin, record.tie) == ("Hello.", 1.5, False)
    both, _ = converted("ultrafeedback", binarized(**scores), kind="scores")
    assert [(each.response, each.scores) for each in both] == [("Hello.", {"score": 8.0}), ("No.", {"score": 6.5})]


def test_ultrafeedback_binarized_as_messages():
    asked = {"role": "user", "content": "Hi"}
    turns = {
        name: [asked, {"role": "assistant", "content": text}] for name, text in (("chosen", "a"), ("rejected", "b"))
    }
    record = one("ultrafeedback", binarized(**turns, messages=turns["chosen"], prompt_id="x"))
    assert (record.prompt, record.chosen, record.rejected, record.margin) == ((asked,), "a", "b", None)


def test_ultrafeedback_ties_and_labels_swapped_on_purpose():
    equal = dict(score_chosen=7.0, score_rejected=7.0)
    assert one("ultrafeedback", binarized(metadata=equal)).tie
    noisy = dict(score_chosen=5.0, score_rejected=7.0)
    swapped = one("ultrafeedback", binarized(metadata={**noisy, "noise": {"operation": "swap_chosen_rejected"}}))
    assert (swapped.chosen, swapped.margin, swapped.source) == ("Hello.", None, "ultrafeedback/swapped")
    assert "the chosen answer scores at least as much" in refused("ultrafeedback", binarized(metadata=noisy))


def test_hh_dialogues_become_turns():
    before = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nWhat is it?\n\nHuman: A pen"
    record = one("hh", hh(f"{before}\n\nAssistant: It writes.", f"{before}\n\nAssistant: No. "))
    assert [message["role"] for message in record.prompt] == ["user", "assistant", "user"]
    assert record.prompt[1]["content"] == "Hello.\n\nWhat is it?"
    assert (record.chosen, record.rejected, record.margin) == ("It writes.", "No.", None)


def test_gsm8k_correct_over_wrong():
    pairs, _ = converted("gsm8k", SOLVED)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("2 + 2 = 4\nA: 4", "A: 5"), ("A: 4", "A: 5")]
    scores, _ = converted("gsm8k", SOLVED, kind="scores")
    assert {record.response: record.scores["score"] for record in scores} == {
        "A: 5": 0.0,
        "2 + 2 = 4\nA: 4": 1.0,
        "A: 4": 1.0,
    }
    right = {**SOLVED, "6b_finetuning": SOLVED["6b_verification"], "175b_finetuning": SOLVED["6b_verification"]}
    assert "every solution is right" in refused("gsm8k", right)


TURN = "\n\nHuman: Hi\n\nAssistant: "


@pytest.mark.parametrize(
    ("source", "row", "sentence"),
    [
        ("helpsteer2", {**STEER, "helpfulness": 5}, "helpfulness of response 1 is 5, but it must lie between 0 and 4"),
        ("helpsteer2", {**STEER, "verbosity": -1}, "verbosity of response 1 is -1"),
        (
            "helpsteer2",
            {**STEER, "helpfulness": None},
            "helpfulness of response 1 is None, but it must be a whole number",
        ),
        ("helpsteer2", {**STEER, "helpfulness": "3"}, "helpfulness of response 1 is '3'"),
        ("helpsteer2", {"response": "a", "helpfulness": 1}, "prompt is missing"),
        ("helpsteer2", {**COMPARED, "preference_strength": 4}, "preference_strength is 4"),
        ("helpsteer2", {**COMPARED, "preference_strength": 1.5}, "preference_strength is 1.5"),
        ("helpsteer2", {**COMPARED, "response_2": "Hello."}, "the two answers of a pair differ"),
        ("helpsteer2", {"messages": []}, "chosen is missing, but the row must have it (it has: messages)"),
        ("helpsteer3", {**STEER3, "context": None}, "context is None, but it is a list of messages, or text"),
        ("helpsteer3", {**STEER3, "context": []}, "messages is []"),
        ("helpsteer3", {**STEER3, "response1": ""}, "rejected is '', but an answer is not empty"),
        ("helpsteer3", {**STEER3, "overall_preference": -4}, "overall_preference is -4"),
        ("ultrafeedback", {**feedback(), "completions": []}, "completions is []"),
        ("ultrafeedback", feedback("text"), "completions[0] is 'text'"),
        ("ultrafeedback", feedback({"response": "a"}), "completions[0].annotations is None"),
        (
            "ultrafeedback",
            feedback(completion("a", "6")),
            "instruction_following.Rating is '6', but it is 1 to 5, or N/A",
        ),
        ("ultrafeedback", feedback(completion("a", overall=11)), "completions[0].overall_score is 11"),
        ("ultrafeedback", feedback({**completion("a"), "response": None}), "completions[0].response is None"),
        ("ultrafeedback", binarized(chosen=""), "chosen is '', but an answer is not empty"),
        ("ultrafeedback", binarized(rejected="Hello."), "the two answers of a pair differ"),
        (
            "ultrafeedback",
            binarized(score_chosen="8", score_rejected=1),
            "score_chosen is '8', but a score is a number",
        ),
        ("ultrafeedback", {"prompt": "Hi", "rejected": "No."}, "chosen is missing, but the row must have it"),
        ("hh", hh(f"{TURN}a", f"{TURN}a"), "the two answers of a pair differ"),
        ("hh", hh(TURN, f"{TURN}b"), "chosen is '', but an answer is not empty"),
        ("hh", hh(f"{TURN}a", "\n\nHuman: Ho\n\nAssistant: b"), "both answers must continue the same conversation"),
        ("hh", hh(f"{TURN}a", f"{TURN}x\n\nHuman: y\n\nAssistant: b"), "1 and 3 turns before the answer"),
        (
            "hh",
            hh(f"{TURN}a\n\nAssistant: b", f"{TURN}c"),
            "turn of chosen is '3 by the assistant', but speakers alternate",
        ),
        ("hh", hh(f"{TURN}a\n\nHuman: b", f"{TURN}c"), 'last turn of chosen is "the user\'s"'),
        ("hh", hh("\n\nAssistant: a\n\nHuman: b", f"{TURN}c"), "turn of chosen is '1 by the assistant'"),
        ("hh", hh("Hi", "Ho"), "a dialogue begins with a blank line and 'Human:'"),
        ("hh", {"chosen": f"{TURN}a"}, "rejected is missing"),
        ("gsm8k", {"question": "2 + 2?", "answer": "#### 4"}, "is_correct is missing"),
        (
            "gsm8k",
            {**SOLVED, "6b_finetuning": {"is_correct": "no", "solution": "x"}},
            "6b_finetuning.is_correct is 'no'",
        ),
        ("gsm8k", {**SOLVED, "6b_finetuning": {"is_correct": True}}, "6b_finetuning.solution is missing"),
        ("gsm8k", {**SOLVED, "question": " "}, "prompt is ' ', but a prompt is not empty"),
    ],
)
def test_rows_that_break_the_format(source, row, sentence):
    rows = [row, {**row, "response": "other"}] if "response" in row else [row]
    assert sentence in refused(source, *rows)


@pytest.mark.parametrize(
    ("source", "row", "kind", "aspect", "sentence"),
    [
        ("helpsteer2", STEER, "scores", "wit", "aspect 'wit' is not scored here; choose from helpfulness"),
        ("ultrafeedback", feedback(completion("a")), "scores", "wit", "aspect 'wit' is not scored here"),
        ("ultrafeedback", binarized(), "pairs", "honesty", "leave --aspect out"),
    ],
)
def test_what_a_source_cannot_make(source, row, kind, aspect, sentence):
    with pytest.raises(CookbookError, match=sentence):
        converted(source, row, kind=kind, aspect=weights_from(aspect) if aspect else ())


def test_scores_of_a_file_without_scores():
    neither = "response is missing, but a score is of one response, and this row compares two"
    assert refused("helpsteer2", COMPARED, kind="scores") == neither
    assert refused("helpsteer2", COMPARED, aspect=weights_from("correctness")) == neither
    assert "scores are made of score_chosen" in refused("ultrafeedback", binarized(), kind="scores")
