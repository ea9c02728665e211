"""Probes of a judge: the same thing, shown otherwise."""

from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.evaluation.benchmarks.result import BenchmarkResult
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.judges import LengthJudge
from cookbook_lib.evaluation.probes import best_of_rows, probes
from tests.evaluation.scripted import Scripted


class FirstJudge(LengthJudge):
    """Prefers whatever is shown first: no ScoreJudge would."""

    def compare(self, prompts, a, b):
        return ["A"] * len(prompts)


def pair(number: int, chosen: str, rejected: str, tie: bool = False) -> PreferencePair:
    return PreferencePair(({"role": "user", "content": f"question {number}"},), chosen, rejected, tie=tie)


PAIRS = [
    pair(1, "a **bold** answer", "short"),
    pair(2, "no", "- a list\n- of two"),
    pair(3, "the longer answer", "the other"),
    pair(4, "one", "two", tie=True),
]


def test_a_judge_by_score_says_the_same_both_ways_round():
    found = probes(LengthJudge(), PAIRS)["both ways round"]
    assert found["same verdict both ways round"].value == 1
    assert found["accuracy, right both ways round"].value == 2 / 3
    assert found["prompts without a cycle"].rows == 3, "the tie is no question of better"


def test_a_judge_that_prefers_the_first_is_found_out():
    found = probes(FirstJudge(), PAIRS)["both ways round"]
    assert found["prefers the place shown first"].value == 1
    assert found["same verdict both ways round"].value == 0
    assert found["accuracy, right both ways round"].value == 0


def test_a_judge_that_asks_both_ways_round_itself_hides_no_preference():
    """What it comes to is the same in both orders by construction; what it says is A each time."""
    stubborn = GenerativeJudge(Scripted(lambda judged, seed: "Preference: A"), order="both")
    found = probes(stubborn, PAIRS)["both ways round"]
    assert found["same verdict both ways round"].value == found["same winner both ways round"].value == 0
    assert found["prefers the place shown first"].value == 1


def test_formatting_is_worth_its_characters_to_a_judge_of_length():
    found = probes(LengthJudge(), PAIRS)["formatting removed"]
    assert found["formatting raises the score"].value == 1
    assert found["formatting raises the score"].rows == 2


def result(rows: list[dict]) -> BenchmarkResult:
    return BenchmarkResult(
        "made up", "longer", "accuracy", 0.5, (0.0, 1.0), len(rows), len(rows), {}, rows, 0, 0, 0.0, ()
    )


def test_best_of_n_by_hand():
    rows = [
        {"part": "x", "id": "1", "chosen_scores": [3.0], "rejected_scores": [1.0, 2.0, 0.0]},
        {"part": "x", "id": "2", "chosen_scores": [0.0], "rejected_scores": [1.0, 2.0, 3.0]},
    ]
    found = {row["of"]: row["picked right"] for row in best_of_rows([result(rows)])}
    assert found[1].startswith("0.250"), "one of four at random"
    assert found[4].startswith("0.500"), "right in one of two prompts"


def test_pairs_alone_are_no_best_of_n():
    assert best_of_rows([result([{"part": "x", "id": "1", "chosen_scores": [1.0], "rejected_scores": [0.0]}])]) == []
