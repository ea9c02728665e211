"""Judges of every kind on held-out pairs, in the same measures."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.evaluation.generative_judge import GenerativeJudge, ScoringJudge
from cookbook_lib.evaluation.intervals import Interval
from cookbook_lib.evaluation.judge_report import JudgeReport, side_by_side
from cookbook_lib.evaluation.judged_pairs import judged_pairs, preferences_of, report_on
from cookbook_lib.evaluation.judged_tasks import score_agreement
from cookbook_lib.evaluation.judges import LengthJudge
from cookbook_lib.evaluation.measure import Measure, undefined
from cookbook_lib.evaluation.panel import reports_on_pairs
from cookbook_lib.evaluation.probes import probes
from tests.evaluation.scripted import Scripted, asked, right

PAIRS = [PreferencePair(tuple(asked(f"question {n}?")), f"+ **the** answer {n}", f"- {n}") for n in range(8)]
TIE = PreferencePair(tuple(asked("a tie?")), "+ one", "+ two", tie=True)
SIDES = [[pair.prompt for pair in PAIRS], [pair.chosen for pair in PAIRS], [pair.rejected for pair in PAIRS]]


class First(LengthJudge):
    """Compares, and prefers the place shown first."""

    name = "first"

    def compare(self, prompts, a, b):
        return ["A"] * len(prompts)


class Plain:
    """A judge of no class of ours: by length, unreadable for the first prompt."""

    name = "plain"

    def compare(self, prompts, a, b):
        longer = ["A" if len(x) > len(y) else "B" for x, y in zip(a, b, strict=True)]
        return [
            None if "question 0" in prompt[0]["content"] else one for prompt, one in zip(prompts, longer, strict=True)
        ]


def test_preferences_of_any_judge():
    assert preferences_of(GenerativeJudge(Scripted(right)), *SIDES) == [1] * 8
    assert preferences_of(ScoringJudge(Scripted(right)), *SIDES) == [1] * 8
    assert preferences_of(LengthJudge(), *SIDES) == [1] * 8
    assert preferences_of(Plain(), *SIDES) == [None] + [1] * 7
    stubborn = GenerativeJudge(Scripted(lambda judged, seed: "Preference: A"))
    assert preferences_of(stubborn, *SIDES) == [0] * 8


def test_shares_of_votes_stand_for_scores():
    scored = judged_pairs(GenerativeJudge(Scripted(right)), [*PAIRS, TIE])
    assert scored.chosen_scores == [1] * 8 + [0.5]
    assert scored.rejected_scores == [0] * 8 + [0.5]
    assert judged_pairs(Plain(), PAIRS).chosen_scores[:2] == [None, 1]
    assert judged_pairs(ScoringJudge(Scripted(right)), PAIRS).chosen_scores == [4] * 8


def test_a_report_of_a_judge_that_writes():
    report = report_on(GenerativeJudge(Scripted(right)), [*PAIRS, TIE])
    assert report.sections["accuracy"]["pairs in order"].value == 1
    assert "calibration" not in report.sections and report.as_json()["reliability"] == {}
    assert report.sections["writing"]["same verdict both ways round"].value == 1
    assert any("there is no calibration" in note for note in report.notes)
    assert "calibration" in report_on(ScoringJudge(Scripted(right)), PAIRS).sections


def test_unreadable_is_wrong():
    report = report_on(GenerativeJudge(Scripted(lambda judged, seed: "hm")), PAIRS)
    assert report.sections["accuracy"]["pairs in order"].value == 0
    assert report.sections["writing"]["verdicts that could be read"].value == 0


def test_scalar_and_generative_judges_in_one_table():
    judge = GenerativeJudge(Scripted(right), name="writes")
    rows = side_by_side([report_on(LengthJudge(), PAIRS), report_on(judge, PAIRS)])
    found = {(row[""], row["measure"]): row for row in rows}
    accuracy = found["accuracy", "pairs in order"]
    assert accuracy["longer wins"].startswith("1.000") and accuracy["writes"].startswith("1.000")
    assert found["calibration", "ECE"]["writes"] == "–"
    assert found["writing", "verdicts that could be read"]["longer wins"] == "–"
    assert [row[""] for row in rows] == sorted((row[""] for row in rows), key=[row[""] for row in rows].index)


def test_figures_of_unlike_rows_are_not_shown_as_like():
    """A judge of which two of eight verdicts could be read, beside one that can be read: 1.000 is not 1.000."""
    truth = [0, 1, 2, 3, 4, 0, 1, 2]
    few, all_of_them = (score_agreement(said, truth) for said in ([0, 1, *[None] * 6], truth))
    reports = [JudgeReport(name, {"scores": found}, {}) for name, found in (("few", few), ("whole", all_of_them))]
    rows = {row["measure"]: row for row in side_by_side(reports)}
    off = rows["off by"]
    assert (off["few"], off["whole"]) == ("0.000 [0.000, 0.000] n=2", "0.000 [0.000, 0.000] n=8")
    assert off["note"] == "few: 6 unreadable scores left out"
    assert "n=" not in rows["exact"]["few"] and rows["exact"]["note"] == "few: 6 unreadable scores are wrong"
    assert rows["exact, always the commonest"]["note"] == "0, 2 times", "said of both, said once"
    measure = undefined("nothing was asked")
    alike = side_by_side([JudgeReport("a", {"x": {"y": few["exact"], "z": measure}}, {})] * 2)
    assert alike[0]["a"] == alike[0]["a (2)"] and alike[1]["a"] == "–", "two judges of one name keep a column each"


def test_a_table_of_like_rows_without_notes_has_no_more_columns():
    found = {"x": {"y": Measure(Interval(0.5, 0.25, 0.75), 8)}}
    rows = side_by_side([JudgeReport(name, found, {}) for name in ("one", "two")])
    cell = "0.500 [0.250, 0.750]"
    assert rows == [{"": "x", "measure": "y", "one": cell, "two": cell}]


def test_probes_of_a_judge_that_compares():
    found = probes(GenerativeJudge(Scripted(right)), [*PAIRS, TIE])
    formatted = found["formatting removed"]["formatted preferred to plain"]
    assert formatted.value == pytest.approx((10 + 8 / 2) / 18), "its + is a list's mark; without it nothing is good"
    assert found["both ways round"]["same verdict both ways round"].value == 1
    assert found["junk"]["better answers that beat politeness"].value == 1


def test_what_could_not_be_asked_counts_once_and_in_its_own_report():
    """One answer too long, in a pair that is asked both ways round: two prompts, however often; other rows have none."""

    def say(judged, seed):
        return CookbookError("too long") if any("answer 3" in one for one in judged.responses) else right(judged, seed)

    judge = GenerativeJudge(Scripted(say, name="writes"))

    def notes(pairs):
        (report,) = reports_on_pairs([judge], pairs)
        return [note for note in report.notes if "could not be asked" in note]

    said = ["2 prompts that writes could not be asked; the first: too long"]
    assert notes(PAIRS) == said
    assert notes([TIE, PreferencePair(tuple(asked("another?")), "+ one", "- two")]) == []
    assert notes(PAIRS) == said, "the same rows lack the same, also when nothing is asked anew"
