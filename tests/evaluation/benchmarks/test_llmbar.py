"""LLMBar: the mean of two orders, agreement under a swap, subsets by file."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import LLMBAR, evaluate
from tests.evaluation.benchmarks.rows import Compared, Scored, llmbar, loaded, values


def test_accuracy_both_and_agreement_by_hand(tmp_path):
    """Output 1 is right. q0: right twice; q1: always A; q2: wrong twice; q3: a tie, then wrong; q4: unreadable, then right.
    q5: unreadable twice, which is no agreement."""
    said = {
        "q0": {"A": "A", "B": "B"}, "q1": {"A": "A", "B": "A"}, "q2": {"A": "B", "B": "A"}, "q3": {"A": "tie", "B": "A"},
        "q4": {"A": None, "B": "B"}, "q5": {"A": None, "B": None},
    }  # fmt: skip
    items = loaded(LLMBAR, [llmbar(n) for n in range(6)], tmp_path, "Natural/dataset.json")
    judge = Compared(lambda a, b: said[f"q{a[3:]}"]["A" if a.startswith("one") else "B"])
    result = evaluate(judge, LLMBAR, items)
    assert result.value == pytest.approx((1 + 0.5 + 0 + 0.25 + 0.5) / 6)
    assert values(result) == pytest.approx(
        {"Natural": 0.375, "right in both orders": 1 / 6, "swap agreement": 2 / 6}, abs=1e-12
    )
    assert (result.asked, result.unparsed) == (12, 3)


def test_the_label_says_which_output_is_right(tmp_path):
    items = loaded(LLMBAR, [llmbar(0, 1), llmbar(1, 2), llmbar(2, 2)], tmp_path)
    result = evaluate(Scored(lambda text: float(text.startswith("two"))), LLMBAR, items)
    assert result.value == pytest.approx(2 / 3)
    assert "swap agreement" not in result.parts


def test_equal_scores_are_right_in_one_of_two_orders(tmp_path):
    items = loaded(LLMBAR, [llmbar(0)], tmp_path)
    assert evaluate(Scored(lambda text: 1.0), LLMBAR, items).value == 0.5
    assert evaluate(Scored(lambda text: None), LLMBAR, items).value == 0


@pytest.mark.parametrize(
    ("file", "subset"),
    [
        ("LLMBar_Natural.json", "Natural"),
        ("Adversarial/GPTOut/dataset.json", "GPTOut"),
        ("Natural/GPTInst.json", "GPTInst"),
        ("LLMEval^2/dataset.json", "LLMEval^2"),
        ("manual/old/rows.jsonl", "rows"),
    ],
)
def test_the_nearest_name_says_which_subset(tmp_path, file, subset):
    assert loaded(LLMBAR, [llmbar(0)], tmp_path, file)[0].part == subset


def test_subsets_are_files_and_count_alike(tmp_path):
    for name, count in (("Natural", 6), ("Adversarial/GPTInst", 2), ("Adversarial/Neighbor", 2)):
        loaded(
            LLMBAR, [llmbar(n, 1 if "Natural" in name else 2) for n in range(count)], tmp_path, f"{name}/dataset.json"
        )
    loaded(LLMBAR, [llmbar(0, 2)], tmp_path / "Processed", "MT-Bench.json")
    result = evaluate(Scored(lambda text: float(text.startswith("one"))), LLMBAR, LLMBAR.load(tmp_path))
    assert values(result) == {"Natural": 1, "Neighbor": 0, "GPTInst": 0, "MT-Bench": 0, "adversarial": 0}
    assert result.value == pytest.approx(1 / 3)
    assert result.notes == (
        "without GPTOut, Manual: the overall is of the 3 of 5 subsets that are there",
        "MT-Bench: no subset of LLMBar; the overall is without them",
    )


@pytest.mark.parametrize("label", [0, 3, "1", None, [1]])
def test_a_label_is_one_or_two(tmp_path, label):
    with pytest.raises(CookbookError, match="row 1: label is .*, but in LLMBar it is one of 1, 2"):
        loaded(LLMBAR, [llmbar(0, label)], tmp_path)
