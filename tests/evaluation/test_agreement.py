"""Agreement: published and hand-worked cases, gaps, and what is said where a library or a second label is missing."""

import importlib
import math

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.agreement import agreement, alpha, cohen, fleiss, raw_share

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, gaps; alpha 0.743, 0.815, 0.849
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
ITEMS = [list(item) for item in zip(*OBSERVERS, strict=True)]
LIBRARIES = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("statsmodels", "krippendorff")),
    reason="the extra `evaluation` is not installed",
)


@LIBRARIES
@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorff_s_own_example(level, value):
    found = alpha(ITEMS, level=level)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert (found.rows, found.note) == (11, "1 item with too few labels is left out")


@LIBRARIES
def test_cohen_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: seen 0.7, by chance 0.5
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = cohen(pairs)
    assert found.value == pytest.approx(0.4)
    assert found.interval.low < 0.4 < found.interval.high


@LIBRARIES
def test_cohen_weighs_ordered_labels_by_distance():
    near, far = [(1, 2), (2, 2), (4, 4), (1, 1)], [(1, 4), (2, 2), (4, 4), (1, 1)]
    assert cohen(near).value == pytest.approx(cohen([(1, 2), (2, 2), (4, 4), (1, 1)], level="nominal").value)
    assert cohen(near, level="interval").value > cohen(far, level="interval").value
    assert cohen(near, level="ordinal").value < cohen(near, level="interval").value


@LIBRARIES
def test_fleiss_own_example():
    # Fleiss 1971 as on Wikipedia: ten items, fourteen raters, five categories, kappa 0.210
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    table = [[label for label, count in enumerate(row) for _ in range(count)] for row in counts]
    assert fleiss(table).value == pytest.approx(0.210, abs=5e-4)


@LIBRARIES
@pytest.mark.parametrize("figure", [cohen, fleiss, alpha, raw_share])
def test_items_of_one_prompt_are_not_independent(figure):
    table = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 4 + [("n", "n")] * 11
    once, fourfold = figure(table), figure(table * 4, groups=list(range(40)) * 4)
    same = pytest.approx(once.interval.as_dict(), abs=0.01)  # alpha corrects for few items
    assert fourfold.interval.as_dict() == same, "the same forty, said four times"
    alone = figure(table * 4).interval
    assert alone.high - alone.low < 0.7 * (once.interval.high - once.interval.low)


def test_the_raw_share_needs_no_library():
    found = raw_share([["A", "A", "B"], ["B", "B", None], ["A", None, None]])
    assert found.value == 2 / 4
    assert (found.rows, found.note) == (2, "1 item with too few labels is left out")


@LIBRARIES
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([], "no item"),
        ([[None, None]], "no item"),
        ([["A"], ["B"]], "no item"),
        ([["A", "A"], ["A", "A"]], "all labels are 'A'"),
        ([["A", math.nan], ["A", "A"]], "all labels are 'A'"),
    ],
)
def test_what_cannot_be_said_is_a_sentence(table, said):
    found = agreement(table)
    assert all(said in figure.note for name, figure in found.items() if name != "raw share")
    assert all(figure.value is None for name, figure in found.items() if name != "raw share")


@LIBRARIES
def test_one_item_has_a_value_and_no_interval():
    assert cohen([("A", "B")]).text() == "0.000"


def test_a_missing_library_is_a_sentence(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    found = agreement([["A", "B"], ["A", "A"]], names=["Ann", "Bob"])
    assert found["raw share"].value == 0.5
    assert found["Cohen, Ann and Bob"].note == (
        "Cohen's kappa is statsmodels's, which is not installed: pip install -e '.[evaluation]'"
    )
    assert "krippendorff's" in found["Krippendorff"].note


def test_callers_mistakes_are_errors():
    with pytest.raises(CookbookError, match="item 1 has 1 labels and not 2"):
        agreement([["A", "B"], ["A"]])
    with pytest.raises(CookbookError, match="'bad' is no number"):
        agreement([["good", "bad"]], level="ordinal")
    with pytest.raises(CookbookError, match="1 names for 2"):
        agreement([["A", "B"]], names=["Ann"])
