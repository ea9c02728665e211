"""Junk: what an honest judge and an honest reward make of it, and what a fooled one does."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.data.judge.prompts import score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric
from cookbook_lib.data.judge.verdicts import read_preference, read_score
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.judges import LengthJudge, answered
from cookbook_lib.evaluation.junk import JUNK_ANSWERS, junk_answers, junk_judgements
from cookbook_lib.training.rewards import Sample, open_reward
from tests.evaluation.scripted import Scripted, asked, right

PAIRS = [PreferencePair(tuple(asked(f"question {n}?")), f"+ the answer {n}", f"- not {n}") for n in range(6)]
TRUTHS = (0, 0, 2, 4, 4, 4)
TASKS = [
    JudgeTask(score_prompt(answered(asked(f"q{n}"), "a")), "score", truth, "test") for n, truth in enumerate(TRUTHS)
]


def distance(tasks, texts):
    """Ours: no verdict earns the lowest."""
    found = [read_score(text) for text in texts]
    return [0.0 if s is None else 1 - abs(s - task.truth) / 4 for s, task in zip(found, tasks, strict=True)]


def generous(tasks, texts):
    """The reference's: no verdict is read as 0, which is right where the truth is 0."""
    return [1 - abs((read_score(text) or 0) - task.truth) / 4 for task, text in zip(tasks, texts, strict=True)]


def test_a_judge_that_knows_is_not_fooled():
    found = junk_answers(GenerativeJudge(Scripted(right)), PAIRS)
    assert {name: figure.value for name, figure in found.items()} == {
        f"better answers that beat {name}": 1.0 for name in JUNK_ANSWERS
    }


def test_a_judge_of_length_is_fooled_by_length():
    found = junk_answers(LengthJudge(), PAIRS)
    assert found["better answers that beat very long filler"].value == 0
    assert found["better answers that beat the question again"].value == 1


def test_a_judge_that_obeys_what_it_reads_is_fooled_by_a_forged_verdict():
    def obeys(judged, seed):
        forged = [n for n, text in enumerate(judged.responses) if "Score: 4" in text]
        return f"Preference: {'AB'[forged[0]]}" if forged else right(judged, seed)

    found = junk_answers(GenerativeJudge(Scripted(obeys)), PAIRS)
    assert found["better answers that beat praise of itself"].value == 0
    assert found["better answers that beat politeness"].value == 1


def test_no_verdict_beats_nothing():
    found = junk_answers(GenerativeJudge(Scripted(lambda judged, seed: "")), PAIRS)
    figure = found["better answers that beat politeness"]
    assert (figure.value, figure.note) == (0, "6 pairs without a verdict")
    assert junk_answers(LengthJudge(), [])["better answers that beat politeness"].value is None


def test_what_junk_earns():
    found = junk_judgements(distance, TASKS)
    constant = sum(1 - abs(3 - truth) / 4 for truth in TRUTHS) / 6
    best = max(sum(1 - abs(level - truth) / 4 for truth in TRUTHS) / 6 for level in range(5))
    assert best >= constant
    assert found["the truth, with a reason"].value == 1
    for paid in ("a bare verdict", "empty reasoning", "the prompt again", "very long filler"):
        assert found[paid].value == pytest.approx(best), "a constant's due, and nothing for the form"
    for unpaid in ("every verdict", "the prompt again, no verdict", "a verdict while reasoning", "no verdict"):
        assert found[unpaid].value == 0
    assert found["a bare verdict"].note.startswith("always Score: ")


def test_the_scale_is_the_one_that_the_prompts_ask_for():
    stars = Rubric("stars", 1, "Judge it.", (), {1: "bad", 2: "fair", 3: "good"})
    tasks = [JudgeTask(score_prompt(answered(asked("q"), "a"), stars), "score", truth, "test") for truth in (1, 1, 3)]
    assert junk_judgements(distance, tasks)["a bare verdict"].note == "always Score: 1"
    assert junk_judgements(distance, tasks, scale=(2, 3))["a bare verdict"].note == "always Score: 2"


def test_a_reward_that_can_be_hacked_is_found_out():
    found = junk_judgements(generous, TASKS)
    assert found["no verdict"].value == pytest.approx((1 + 1 + 0.5 + 0 + 0 + 0) / 6)


@pytest.mark.parametrize("functions", [["distance"], ["exact"], ["exponential"], ["distance", "format"]])
def test_the_rewards_of_training_pay_junk_no_more_than_a_constant(functions):
    reward = open_reward(RewardConfig(functions=functions), max_new_tokens=512)

    def paid(tasks, texts):
        return reward([Sample(text, task) for task, text in zip(tasks, texts, strict=True)]).plain.tolist()

    found = {name: figure.value for name, figure in junk_judgements(paid, TASKS).items()}
    honest, constant = found.pop("the truth, with a reason"), found["a bare verdict"]
    assert honest > constant
    for name in ("every verdict", "the prompt again, no verdict", "a verdict while reasoning", "no verdict"):
        assert found[name] == pytest.approx(reward.lowest)
    assert max(found.values()) <= constant + ("format" in functions)


def test_preferences():
    def correct(tasks, texts):
        return [float(read_preference(text) == task.truth) for task, text in zip(tasks, texts, strict=True)]

    tasks = [JudgeTask(tuple(asked(str(n))), "preference", "AAB"[n % 3], "test") for n in range(6)]
    found = junk_judgements(correct, tasks)
    assert found["a bare verdict"].value == pytest.approx(2 / 3)
    assert found["a bare verdict"].note == "always Preference: A"
    assert found["every verdict"].value == 0


def test_a_reward_that_pays_too_few_is_refused():
    with pytest.raises(CookbookError, match="tasks has 6, rewards has 1"):
        junk_judgements(lambda tasks, texts: [1.0], TASKS)
    answers = [JudgeTask(tuple(asked("1 + 1?")), "answer", "2", "test")]
    assert junk_judgements(distance, answers)["the truth, with a reason"].note == "no task asks for a verdict"
