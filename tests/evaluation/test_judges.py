"""Judges that need no model, and comparing by score."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.judges import (
    LengthJudge,
    RandomJudge,
    ScoreJudge,
    StoredScores,
    answered,
    key_of,
    verdict_of,
)

PROMPT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [(2.0, 1.0, "A"), (1.0, 2.0, "B"), (1.0, 1.0, "tie"), (None, 1.0, None), (1.0, None, None), (None, None, None)],
)
def test_strictly_greater_wins_and_a_missing_score_decides_nothing(a, b, verdict):
    assert verdict_of(a, b) == verdict


def test_comparing_is_scoring_both_answers_at_once():
    calls = []

    class Judge(ScoreJudge):
        name = "counted"

        def score(self, conversations):
            calls.append(conversations)
            return [float(conversation[-1]["content"]) for conversation in conversations]

    assert Judge().compare([PROMPT] * 3, ["1", "2", "3"], ["2", "2", "2"]) == ["B", "tie", "A"]
    assert [len(call) for call in calls] == [6]
    assert calls[0][0] == [*PROMPT, {"role": "assistant", "content": "1"}]


def test_longer_wins_counts_the_answer_alone():
    judge = LengthJudge()
    assert judge.score([answered([{"role": "user", "content": "x" * 99}], "four"), answered(PROMPT, "")]) == [4, 0]
    assert judge.compare([PROMPT], ["long"], ["longer"]) == ["B"]


def test_chance_depends_on_seed_and_words_and_on_nothing_else():
    talks = [answered(PROMPT, str(n)) for n in range(500)]
    scores = RandomJudge().score(talks)
    assert RandomJudge().score(talks[::-1]) == scores[::-1]
    assert RandomJudge(1).score(talks) != scores
    assert len(set(scores)) == 500
    assert all(0 <= score < 1 for score in scores)
    assert sum(scores) / 500 == pytest.approx(0.5, abs=0.05)


def test_stored_scores_know_their_conversations_and_no_others():
    judge = StoredScores({key_of(answered(PROMPT, "yes")): 2.0, key_of(answered(PROMPT, "no")): None}, "paper")
    assert judge.score([answered(PROMPT, "no"), answered(PROMPT, "yes")]) == [None, 2.0]
    assert judge.compare([PROMPT], ["yes"], ["no"]) == [None]
    with pytest.raises(
        CookbookError, match="paper has no score for the answer 'perhaps'; give the scores of these very data"
    ):
        judge.score([answered(PROMPT, "perhaps")])


def test_who_said_what_is_the_key():
    assert key_of(answered(PROMPT, "a")) != key_of([*PROMPT, {"role": "user", "content": "a"}])
    assert key_of([{"role": "user", "content": "Hi", "language": "English"}]) == key_of(PROMPT)
