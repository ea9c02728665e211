"""A reward model under the protocol of judges."""

import pytest

from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.panel import unscored
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.score_model import ScoringModel


def test_as_a_judge(reward_folder):
    model = ScoringModel(reward_folder)
    judge = RewardJudge(model, name="tiny")
    prompts = [[{"role": "user", "content": text}] for text in ("What?", "Why?", "x " * 20_000, "Who?")]
    a, b = ["The box.", "teal", "one", "same"], ["A door, a lamp.", "red red red", "two", "same"]
    score_a, score_b = (
        model.score([answered(p, t) for p, t in zip(prompts[:2], side[:2], strict=True)]) for side in (a, b)
    )
    expected = ["A" if one > other else "B" for one, other in zip(score_a, score_b, strict=True)]
    assert judge.compare(prompts, a, b) == [*expected, None, "tie"]
    assert len(judge.unscored) == 2 and all("can be scored; shorten it" in sentence for sentence in judge.unscored)
    before = judge.mark()
    assert judge.score([answered(prompts[2], a[2])] * 3 + [answered(prompts[0], a[0])])[:3] == [None] * 3
    assert len(judge.unscored) == 2, "the same answer, asked again"
    (note,) = unscored(judge, before)
    assert note.startswith("1 answer of tiny without a score; the first: ")
    assert unscored(judge, judge.mark()) == []
    opened = RewardJudge(reward_folder, max_tokens=512)
    assert (opened.name, opened.model.max_tokens) == (reward_folder.name, 512)
    assert opened.score([answered(prompts[0], a[0])]) == pytest.approx(score_a[:1], abs=1e-5)
