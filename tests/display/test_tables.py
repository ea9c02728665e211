"""Tables: the same numbers in HTML and in text, and a verdict that can be wrong."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cookbook_lib.display.tables import comparison, parity, table


def test_rows_become_aligned_text():
    text = table([{"file": "a.jsonl", "rows": 7473}, {"file": "long.parquet", "rows": 12}], "Files").text
    assert text.splitlines() == [
        "Files",
        "file           rows",
        "────────────  ─────",
        "a.jsonl       7,473",
        "long.parquet     12",
    ]


def test_a_dict_is_two_columns_and_a_missing_value_a_dash():
    assert table({"lr": 2e-5, "warmup": None, "packed": True}).text.splitlines() == [
        "lr      2e-05",
        "warmup  –",
        "packed  yes",
    ]


def test_a_frame_and_its_rows_look_the_same():
    rows = [{"a": 1, "b": 0.5}, {"a": 2, "b": 0.25}]
    assert table(pd.DataFrame(rows)) == table(rows)


def test_pairs_need_no_head_and_may_repeat_a_name():
    text = table([("steps", "1,234"), ("note", "a"), ("note", "b")]).text
    assert text.splitlines() == ["steps  1,234", "note   a", "note   b"]


def test_formats_by_column():
    assert table([{"share": 0.123}], formats={"share": ".0%"}).text.endswith("12%")
    assert table([{"size": 2048}], formats={"size": lambda n: f"{n // 1024} KiB"}).text.endswith("2 KiB")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.00001, "1e-05"), (1234.5, "1,234"), (0.5, "0.5"), (0.0, "0"), (False, "no"),
     ([1, 2], "1, 2"), ([], "–"), (Path("a/b"), "a/b"), (math.nan, "nan"), (math.inf, "inf"), (2.0e9, "2e+09"),
     (np.bool_(True), "yes"), (np.float32(0.5), "0.5"), (np.int64(12345), "12,345")],
)  # fmt: skip
def test_plain_values(value, text):
    assert table({"x": value}).text == f"x  {text}"


def test_wide_characters_keep_the_columns():
    lines = table([{"name": "日本", "n": 1}, {"name": "abcd", "n": 2}]).text.splitlines()
    assert lines[2:] == ["日本  1", "abcd  2"]


def test_text_is_escaped_in_html_only():
    view = table([{"text": "<script>alert(1)</script>"}])
    assert "<script>" not in view.html
    assert "<script>" in view.text


def test_a_long_table_says_what_it_hides():
    view = table([{"i": i} for i in range(100)], max_rows=3)
    assert "… 97 more rows" in view.text
    assert "… 97 more rows" in view.html
    assert "50" not in view.text


def test_rows_may_lack_columns():
    assert table([{"a": 1}, {"b": 2}]).text.splitlines()[2:] == ["1  –", "–  2"]


@pytest.mark.parametrize("empty", [[], {}, pd.DataFrame()])
def test_nothing_is_an_empty_table(empty):
    assert table(empty).text == ""
    assert table(empty, "Best of n").text == "Best of n\nnothing to show"


def test_comparison_knows_which_way_is_better():
    text = comparison(
        {"val/loss": 2.0, "accuracy": 0.5, "old": 1.0}, {"val/loss": 1.5, "accuracy": 0.4, "new": 1.0}
    ).text
    assert "▼ 0.5 ✓" in text
    assert "▼ 0.1 ✗" in text
    assert [line.split()[-1] for line in text.splitlines()[-2:]] == ["–", "–"]


def test_parity_judges_floats_alone_and_counts_them():
    rows = [{"layout": "x2", "ranks": 2, "loss": 1e-7}, {"layout": "x4", "ranks": 4, "loss": 3e-3}]
    view = parity(rows, 1e-5, "Gradients")
    assert view.text.startswith("Gradients · 1 of 2 above 1e-05")
    assert "3.0e-03 ✗" in view.text
    assert "1.0e-07 ✓" in view.text


def test_parity_does_not_pass_what_is_not_finite():
    assert parity([{"loss": math.nan}], 1e-5).text.startswith("1 of 1 above")
