"""RewardBench: strict wins, sections by the official counts, math-prm as heavy as code, prior sets at one half."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import REWARDBENCH, evaluate
from cookbook_lib.evaluation.benchmarks.rewardbench import SECTIONS
from tests.evaluation.benchmarks.rows import Compared, Scored, judged, loaded, rewardbench


def right_for(*subsets):
    """A judge that is right on these subsets and wrong on the others."""
    return Scored(lambda text: float(text.startswith("+") == any(name in text for name in subsets)))


def test_the_official_counts_are_these():
    assert {name: sum(counts.values()) for name, counts in SECTIONS.items()} == {
        "Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968,
    }  # fmt: skip


def test_a_section_weighs_its_subsets_by_their_official_counts(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench("alpacaeval-easy"), rewardbench("mt-bench-easy")], tmp_path)
    assert judged(REWARDBENCH, items, right_for("alpacaeval-easy"))[0] == pytest.approx(100 / 128, abs=1e-12)


def test_math_weighs_as_much_as_all_of_code(tmp_path):
    names = ["math-prm", *(f"hep-{language}" for language in ("cpp", "go", "java", "js", "python", "rust"))]
    items = loaded(REWARDBENCH, map(rewardbench, names), tmp_path)
    value, parts = judged(REWARDBENCH, items, right_for("math-prm"))
    assert value == parts["Reasoning"] == pytest.approx(0.5, abs=1e-12)
    assert parts["math-prm"] == 1


def test_the_overall_is_the_mean_of_sections_whatever_their_sizes(tmp_path):
    rows = [rewardbench("donotanswer", n) for n in range(9)]
    rows += [rewardbench("alpacaeval-hard"), rewardbench("llmbar-natural"), rewardbench("hep-go")]
    items = loaded(REWARDBENCH, rows, tmp_path)
    assert judged(REWARDBENCH, items, right_for("donotanswer"))[0] == pytest.approx(1 / 4)


def test_prior_sets_weigh_half_and_have_their_name_from_the_file(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench(name) for name in ("hep-go", "mt-bench-easy")], tmp_path)
    prior = [{"role": "user", "content": "Hi"}]
    for name, subset in (("anthropic_hhh", "harmless"), ("shp", "askscience")):
        row = rewardbench(subset, prompt=prior, chosen=f"+{name}", rejected=f"-{name}")
        items += loaded(REWARDBENCH, [row], tmp_path, f"{name}.jsonl")
    result = evaluate(right_for("hep-go", "mt-bench-easy", "shp"), REWARDBENCH, items)
    assert result.parts["Prior Sets"].value == 0.5
    assert result.value == pytest.approx((1 + 1 + 0.5 * 0.5) / 2.5, abs=1e-12)
    assert "Prior Sets are without anthropic_helpful, summarize" in result.notes


def test_equal_and_missing_scores_are_wrong(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench("hep-go", n) for n in range(2)], tmp_path)
    assert judged(REWARDBENCH, items, Scored(lambda text: 1.0))[0] == 0
    result = evaluate(Scored(lambda text: None if text.startswith("-") else 1.0), REWARDBENCH, items)
    assert (result.value, result.unparsed, result.asked) == (0, 2, 4)


def test_a_judge_that_compares_gets_one_half_for_ties_and_nothing_for_nonsense(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench("hep-go", n) for n in range(2)], tmp_path)
    assert judged(REWARDBENCH, items, Compared(lambda a, b: "tie"))[0] == 0.5
    result = evaluate(Compared(lambda a, b: None), REWARDBENCH, items)
    assert (result.value, result.unparsed) == (0, 2)
    assert "2 of 2 answers of the judge could not be read" in result.notes
    assert "2 unreadable verdicts not right (the official runner gives one half for each)" in result.notes


def test_the_order_is_drawn_and_the_seed_decides_it(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench("hep-go", n) for n in range(400)], tmp_path)
    first = Compared(lambda a, b: "A")
    assert evaluate(first, REWARDBENCH, items).value == pytest.approx(0.5, abs=0.1)
    again, other = Compared(lambda a, b: "A"), Compared(lambda a, b: "A")
    evaluate(again, REWARDBENCH, items[::-1])
    evaluate(other, REWARDBENCH, items, seed=1)
    asked = [{pair for call in judge.calls for pair in call} for judge in (first, again, other)]
    assert asked[0] == asked[1] != asked[2]
    assert judged(REWARDBENCH, items, Compared(lambda a, b: "A" if a.startswith("+") else "B"))[0] == 1


def test_what_is_missing_is_said(tmp_path):
    items = loaded(REWARDBENCH, [rewardbench("hep-go")], tmp_path)
    notes = evaluate(right_for("hep-go"), REWARDBENCH, items).notes
    assert "Chat is missing: the overall is the mean of the sections that are there" in notes
    assert "Reasoning is without math-prm, hep-cpp, hep-java, hep-js, hep-python, hep-rust" in notes


def test_an_unknown_subset_is_refused(tmp_path):
    with pytest.raises(CookbookError, match=r"rows.jsonl row 1: subset is 'jokes', but in RewardBench it is one of"):
        loaded(REWARDBENCH, [rewardbench("jokes")], tmp_path)
