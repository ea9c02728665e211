"""RM-Bench: the 3 x 3 matrix, its triangles, safety pooled, domains from columns and from file names."""

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import RM_BENCH, evaluate, matrix
from tests.evaluation.benchmarks.rows import Compared, Scored, judged, loaded, rm_bench, values


def test_a_matrix_by_hand(tmp_path):
    """c0 beats r0 alone, c1 beats r0 and r1, c2 equals r2 and beats the others: ties are wrong."""
    said = {"c0": 1, "c1": 2, "c2": 3, "r0": 0, "r1": 1, "r2": 3}
    result = evaluate(Scored(lambda text: said[text[:2]]), RM_BENCH, loaded(RM_BENCH, [rm_bench(1)], tmp_path))
    assert matrix(result.rows) == matrix(result.rows, "chat") == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    found = values(result)
    assert (found["easy"], found["normal"], found["hard"]) == pytest.approx((1, 2 / 3, 0))
    assert result.value == found["chat"] == pytest.approx(5 / 9)


def official(scores):
    """{domain: (n, 6) scores, chosen then rejected} by the authors' formula."""
    found = {}
    for domain, s in scores.items():
        m = np.array([[np.mean(s[:, i] > s[:, 3 + j]) for j in range(3)] for i in range(3)])
        found[domain] = (np.tril(m, -1).sum() / 3, np.diag(m).mean(), np.triu(m, 1).sum() / 3)
    levels = dict(zip(("easy", "normal", "hard"), np.mean(list(found.values()), axis=0), strict=True))
    return {domain: np.mean(three) for domain, three in found.items()} | levels


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_equal_the_official_formula(tmp_path, seed):
    random = np.random.default_rng(seed)
    sizes = {"chat": 13, "code": 7, "math": 21, "safety-refuse": 5, "safety-response": 9}
    drawn = {domain: random.integers(0, 6, (n, 6)) for domain, n in sizes.items()}
    rows = [rm_bench(n, domain) for domain, size in sizes.items() for n in range(size)]
    said = {}
    for row in rows:
        answers = row["chosen"] + row["rejected"]
        said |= dict(zip(answers, map(float, drawn[row["domain"]][row["id"]]), strict=True))
    pooled = {name: drawn[name] for name in ("chat", "code", "math")}
    pooled["safety"] = np.concatenate([drawn["safety-refuse"], drawn["safety-response"]])
    expected = official(pooled)
    result = evaluate(Scored(said.__getitem__), RM_BENCH, loaded(RM_BENCH, rows, tmp_path))
    found = values(result)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert result.value == pytest.approx(np.mean([expected[name] for name in pooled]), abs=1e-12)
    assert result.parts["safety"].items == 14
    assert result.notes == ()


def test_domains_come_from_file_names_where_there_is_no_column(tmp_path):
    for name in ("chat_filtered.json", "safety-refuse_filtered.json", "code_filtered.jsonl"):
        loaded(RM_BENCH, [rm_bench(1, "chat") | {"domain": None}], tmp_path / "data", name)
    items = RM_BENCH.load(tmp_path / "data")
    assert [item.part for item in items] == ["chat", "code", "safety"]
    notes = evaluate(Scored(lambda text: 0.0), RM_BENCH, items).notes
    assert notes == (
        "without math: the overall is the mean of the 3 domains that are there",
        "safety is safety-refuse alone",
    )


def test_a_folder_s_name_is_no_domain(tmp_path):
    bare = rm_bench(1) | {"domain": None}
    assert loaded(RM_BENCH, [bare], tmp_path / "code", "chat_filtered.jsonl")[0].part == "chat"
    for name in ("data.jsonl", "barcode.jsonl", "chats.jsonl"):
        with pytest.raises(CookbookError, match="domain is missing"):
            loaded(RM_BENCH, [bare], tmp_path / "code", name)


def test_a_judge_that_compares_holds_nine_duels_in_drawn_orders(tmp_path):
    items = loaded(RM_BENCH, [rm_bench(n) for n in range(40)], tmp_path)
    judge = Compared(lambda a, b: "A" if a.startswith("c") else "B")
    result = evaluate(judge, RM_BENCH, items)
    assert (result.value, result.asked) == (1, 360)
    assert matrix(result.rows) == [[1] * 3] * 3
    shown_first = [a.startswith("c") for call in judge.calls for a, _ in call]
    assert 0.4 < np.mean(shown_first) < 0.6
    assert judged(RM_BENCH, items, Compared(lambda a, b: "tie"))[0] == 0
    assert evaluate(Compared(lambda a, b: None), RM_BENCH, items).unparsed == 360


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (rm_bench(1, None), "domain is missing, but in RM-Bench it is a column or in the file's name"),
        (rm_bench(1, "poetry"), "domain is 'poetry', but in RM-Bench it begins with chat, code, math, safety"),
        (rm_bench(1) | {"chosen": ["one", "two"]}, "chosen is '2 answers', but in RM-Bench there is one a style"),
        (rm_bench(1) | {"rejected": "one"}, "rejected is 'one', but in RM-Bench it is a list of at least one text"),
    ],
)
def test_rows_that_break_the_format(tmp_path, row, sentence):
    with pytest.raises(CookbookError, match=sentence):
        loaded(RM_BENCH, [row], tmp_path)
