"""The judge that writes: what it asks, what it reads, and that it never makes a verdict up."""

import re

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.prompts import compare_prompt, score_prompt
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.evaluation.benchmarks.hearing import compares_by_score
from cookbook_lib.evaluation.generative_judge import GenerativeJudge, ScoringJudge
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.transcripts import read_transcript, write_transcript
from tests.evaluation.scripted import Scripted, asked, right

WHY = "Because."


def always(text):
    return Scripted(lambda judged, seed: text)


def test_it_asks_the_prompts_that_training_asks():
    generator = Scripted(right)
    judge = GenerativeJudge(generator)
    talk = [{"role": "system", "content": "Be brief."}, *asked("Why?")]
    judge.score([answered(talk, "+so")])
    judge.compare([talk], ["+so"], ["-no"])
    rubric = load_rubric()
    assert generator.calls[0] == [score_prompt(answered(talk, "+so"), rubric)]
    assert generator.calls[1] == [compare_prompt(talk, "+so", "-no", rubric)]
    assert generator.temperatures == [0, 0]


def test_scores_and_verdicts():
    judge = GenerativeJudge(Scripted(right))
    assert judge.score([answered(asked("q"), text) for text in ("+a", "-b")]) == [4, 0]
    assert judge.compare([asked("q")] * 3, ["+a", "-b", "+a"], ["-b", "+a", "+c"]) == ["A", "B", "tie"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Response B is better than Response A",
        "Score: 3.5",
        "Score: 5",
        "Score: -1",
        "Score: 3\nScore: 3",
        "<think>Score: 3</think>",
        "<think>Score: 3",
        "Score: <a whole number from 0 to 4>",
        "Preference: C",
        "Preference: A\nPreference: B",
        "A",
        "3",
    ],
)
def test_no_verdict_is_none_and_never_zero_or_a(text):
    judge = GenerativeJudge(always(text))
    assert judge.score([answered(asked("q"), "a")]) == [None]
    assert judge.compare([asked("q")], ["a"], ["b"]) == [None]
    assert judge.preferences([asked("q")], ["a"], ["b"]) == [None]


def test_a_text_cut_short_has_no_verdict():
    """`Score: 1` may have been going to be `Score: 10`, or a critique that ends otherwise."""
    judge = GenerativeJudge(always((f"{WHY}\nScore: 1", False)))
    assert judge.score([answered(asked("q"), "a")]) == [None]
    (heard,) = judge.judgements.values()
    assert heard.faults == ("cut at max_new_tokens",)


def test_both_orders_take_the_place_out_of_the_verdict():
    first = GenerativeJudge(always("Preference: A"), order="both")
    assert first.compare([asked("q")], ["+a"], ["-b"]) == ["tie"]
    judge = GenerativeJudge(Scripted(right), order="both")
    assert judge.compare([asked("q")] * 2, ["+a", "-b"], ["-b", "+a"]) == ["A", "B"]
    half = Scripted(lambda judged, seed: "Preference: A" if judged.responses[0] == "a" else "no idea")
    assert GenerativeJudge(half, order="both").compare([asked("q")], ["a"], ["b"]) == [None]


def test_an_undecided_order_leaves_the_other_one_to_decide():
    said = Scripted(lambda judged, seed: "Preference: B" if judged.responses[1] == "+" else "Preference: tie")
    assert GenerativeJudge(said, order="both").compare([asked("q")], ["-"], ["+"]) == ["B"]


def test_votes_are_drawn_with_seeds_of_their_own_that_do_not_depend_on_what_else_is_asked():
    texts = ["Score: 4", "Score: 2", "Score: 2"]
    generator = Scripted(lambda judged, seed: texts[seed % 3])
    judge = GenerativeJudge(generator, votes=6, seed=7)
    one = answered(asked("q"), "a")
    (score,) = judge.score([one])
    assert generator.temperatures == [0.7]
    (own,) = generator.seeds
    assert len(set(own)) == 6 and all(0 <= seed < 2**31 for seed in own)
    expected = [int(texts[seed % 3][-1]) for seed in own]
    assert score == sum(expected) / 6
    again = Scripted(generator.say)
    GenerativeJudge(again, votes=6, seed=7).score([answered(asked("other"), "x"), one])
    assert again.seeds[1] == own
    other = Scripted(generator.say)
    GenerativeJudge(other, votes=6, seed=8).score([one])
    assert not set(other.seeds[0]) & set(own)
    majority = GenerativeJudge(Scripted(generator.say), votes=6, seed=7, combine="majority")
    assert majority.score([one])[0] in (2, 3, 4)


def test_a_prompt_that_comes_again_is_not_asked_again():
    generator = Scripted(right)
    judge = GenerativeJudge(generator)
    judge.compare([asked("q"), asked("q")], ["+a", "+a"], ["-b", "-b"])
    assert judge.preferences([asked("q")], ["+a"], ["-b"]) == [1]
    assert [len(call) for call in generator.calls] == [1, 1], "only the other order is new"


def test_what_cannot_be_asked_fails_alone():
    def say(judged, seed):
        return CookbookError("too long by far") if judged.responses[0] == "long" else "Score: 3"

    judge = GenerativeJudge(Scripted(say))
    broken = [{"role": "user", "content": "q"}]  # ends with the user: there is no answer to score
    talks = [answered(asked("q"), "long"), answered(asked("q"), "a"), broken]
    assert judge.score(talks) == [None, 3, None]
    assert len(judge.unscored) == 2 and "too long by far" in judge.unscored
    assert any("the last message is the response that is judged" in sentence for sentence in judge.unscored)
    assert judge.score(talks) == [None, 3, None] and len(judge.unscored) == 2, "asked again, they are the same"


def test_a_judge_of_single_answers_compares_by_its_scores():
    generator = Scripted(right)
    judge = ScoringJudge(generator)
    assert compares_by_score(judge) and not compares_by_score(GenerativeJudge(generator))
    assert judge.compare([asked("q")] * 3, ["+a", "-b", "+a"], ["-b", "+a", "+c"]) == ["A", "B", "tie"]
    assert judge.preferences([asked("q")] * 2, ["+a", "+a"], ["-b", "+c"]) == [1, 0]
    assert all("Response A:" not in call[0]["content"] for calls in generator.calls for call in calls)
    with pytest.raises(CookbookError, match='order is "both", but a judge that compares by scores sees one answer'):
        ScoringJudge(generator, order="both")


def test_a_rubric_of_ones_own(tmp_path):
    file = tmp_path / "rubric.yaml"
    file.write_text("name: mine\nversion: 2\ntask: Judge it.\nlevels:\n  1: bad\n  2: good\n")
    judge = GenerativeJudge(always("Score: 2"), rubric=file)
    assert judge.score([answered(asked("q"), "a")]) == [2]
    assert GenerativeJudge(always("Score: 0"), rubric=file).score([answered(asked("q"), "a")]) == [None]
    assert "rubric mine 2" in judge.about


def test_scores_of_another_scale_than_the_rubrics():
    """A prompt in words of one's own does not say it; one that does goes before what is given."""
    (ours,) = score_prompt(answered(asked("q"), "a"))
    stars = ours | {"content": ours["content"].replace("<a whole number from 0 to 4>", "<one to five stars>")}
    for scale, vote in ((None, None), ((1, 5), 5)):
        judge = GenerativeJudge(always("Score: 5"), scale=scale)
        assert [one.votes for one in judge.ask("score", [[stars], [ours]])] == [(vote,), (None,)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"votes": 0}, "votes is 0, but a judge is asked at least once"),
        ({"votes": 3, "temperature": 0.0}, "votes is 3 at temperature 0, where all say the same"),
        ({"temperature": -1.0}, "temperature is -1.0, but it must be 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"combine": "median"}, "combine is 'median'"),
        ({"order": "ba"}, "order is 'ba'"),
        ({"scale": (5, 1)}, r"scale is \(5, 1\), but it goes from the lowest score up to the highest"),
        ({"rubric": "helpfullness"}, "there is no rubric helpfullness; .* did you mean 'helpfulness'"),
    ],
)
def test_settings_that_are_none(options, sentence):
    with pytest.raises(CookbookError, match=sentence):
        GenerativeJudge(always(""), **options)


def test_the_transcript_keeps_every_text(tmp_path):
    judge = GenerativeJudge(Scripted(right), keep=True, votes=2)
    judge.score([answered(asked("q"), "+a")])
    judge.preferences([asked("q")], ["+a"], ["-b"])
    kept = judge.transcript
    assert [(one.kind, one.order, one.vote, one.parsed) for one in kept] == [
        ("score", "", 0, 4),
        ("score", "", 1, 4),
        ("preference", "ab", 0, "A"),
        ("preference", "ab", 1, "A"),
        ("preference", "ba", 0, "B"),
        ("preference", "ba", 1, "B"),
    ]
    back = read_transcript(write_transcript(kept, tmp_path / "made" / "transcript.parquet"))
    assert back == kept
    assert "> +a" in back[0].prompt[0]["content"]


def test_a_transcript_survives_what_is_no_text(tmp_path):
    """Half a surrogate pair, from a judge or from what it judges: parquet has no such character."""
    judge = GenerativeJudge(always("\ud800\nScore: 1"), keep=True)
    judge.score([answered(asked("q"), "a")])
    judge.compare([asked("q")], ["half \ud800"], ["b"])
    back = read_transcript(write_transcript(judge.transcript, tmp_path / "transcript.parquet"))
    assert [one.text for one in back] == ["?\nScore: 1"] * 2
    assert "> half ?" in back[1].prompt[0]["content"]


def test_a_file_that_is_no_transcript(tmp_path):
    with pytest.raises(CookbookError, match=re.escape(f"{tmp_path / 'gone.parquet'} cannot be read")):
        read_transcript(tmp_path / "gone.parquet")


def test_progress_counts_texts():
    seen = []
    judge = GenerativeJudge(Scripted(right), votes=3, progress=seen.append)
    judge.score([answered(asked("q"), text) for text in ("+a", "-b", "+a")])
    assert sum(seen) == 6
