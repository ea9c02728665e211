"""Benchmark files of every kind load alike; what is not the benchmark's is refused with file, row, field and a way out."""

import gzip
import json

import pandas as pd
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data import sources
from cookbook_lib.evaluation.benchmarks import BENCHMARKS, JUDGEBENCH, LLMBAR, RM_BENCH, RMB, benchmark_named
from tests.evaluation.benchmarks.rows import ONE_OF_EACH, judgebench, llmbar, loaded, rewardbench2, rm_bench

COLUMNS = {
    "rewardbench": "chosen",
    "rewardbench2": "rejected",
    "rm_bench": "prompt",
    "judgebench": "response_B",
    "llmbar": "output_2",
    "rmb": "category_path",
}
each = pytest.mark.parametrize("name", sorted(BENCHMARKS))


def test_every_benchmark_says_what_it_is():
    assert set(BENCHMARKS) == set(ONE_OF_EACH)
    for name, benchmark in BENCHMARKS.items():
        assert benchmark_named(name) is benchmark
        assert benchmark.about and benchmark.metric and benchmark.title
    assert [benchmark.name for benchmark in BENCHMARKS.values() if not benchmark.hub] == ["rmb"]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(
        CookbookError, match="'rewardbench3' is not known; choose one of judgebench, llmbar, rewardbench, "
    ):
        benchmark_named("rewardbench3")


@each
def test_files_of_every_kind_give_the_same_items(name, tmp_path):
    benchmark, row = BENCHMARKS[name], ONE_OF_EACH[name]
    files = {kind: tmp_path / kind / f"Natural.{kind}" for kind in ("json", "jsonl", "jsonl.gz", "parquet")}
    for path in files.values():
        path.parent.mkdir()
    files["json"].write_text(json.dumps([row]))
    files["jsonl"].write_text(json.dumps(row))
    files["jsonl.gz"].write_bytes(gzip.compress(json.dumps(row).encode()))
    pd.DataFrame([row]).to_parquet(files["parquet"])
    found = [benchmark.load(place) for path in files.values() for place in (path, str(path.parent), [path])]
    said = [(item.id, item.part, item.prompt, item.chosen, item.rejected, item.group) for (item,) in found]
    assert said == [said[0]] * 12


@each
def test_a_missing_column_is_named_with_its_place(name, tmp_path):
    good, column = ONE_OF_EACH[name], COLUMNS[name]
    bad = {key: value for key, value in good.items() if key != column}
    title = BENCHMARKS[name].title
    with pytest.raises(CookbookError) as found:
        loaded(BENCHMARKS[name], [good, bad], tmp_path)
    first_words = f"rows.jsonl row 2: {column} is missing, but in {title} the row must have it (columns here: "
    assert first_words in str(found.value)


@each
def test_an_empty_file_is_an_error(name, tmp_path):
    with pytest.raises(CookbookError, match="rows.jsonl has no rows"):
        loaded(BENCHMARKS[name], [], tmp_path)


@pytest.mark.parametrize("wanted", sorted(BENCHMARKS))
@pytest.mark.parametrize("given", sorted(BENCHMARKS))
def test_another_benchmark_s_file_is_told_by_its_name(wanted, given, tmp_path):
    if wanted == given:
        return
    with pytest.raises(CookbookError, match=f"row 1: .*it is a row of .*: choose benchmark {given}$"):
        loaded(BENCHMARKS[wanted], [ONE_OF_EACH[given]], tmp_path)


def test_a_row_of_nobody_is_refused_without_a_guess(tmp_path):
    with pytest.raises(
        CookbookError, match=r"pair_id is missing, but .* \(columns here: text\); take the published file$"
    ):
        loaded(JUDGEBENCH, [{"text": "Hi"}], tmp_path)


def test_a_row_that_comes_twice_is_refused(tmp_path):
    rows = [judgebench(1), judgebench(2), judgebench(1)]
    with pytest.raises(
        CookbookError, match=r"row 3: id is 'id1', but .*row 1 has the same one, and each row counts once"
    ):
        loaded(JUDGEBENCH, rows, tmp_path)
    with pytest.raises(CookbookError, match="has the same one"):
        loaded(LLMBAR, [llmbar(1), llmbar(1)], tmp_path)


def test_the_same_number_in_two_domains_is_no_repetition(tmp_path):
    assert len(loaded(RM_BENCH, [rm_bench(8, "chat"), rm_bench(8, "code")], tmp_path)) == 2


@pytest.mark.parametrize("value", [None, 3, ["text"], {"text": "Hi"}])
def test_what_should_be_text_is_text(tmp_path, value):
    with pytest.raises(CookbookError, match="question is .*, but in JudgeBench it is text"):
        loaded(JUDGEBENCH, [judgebench(1) | {"question": value}], tmp_path)


def test_broken_json_names_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(llmbar(1)) + "\n{broken\n")
    with pytest.raises(CookbookError, match=r"rows.jsonl row 2: line is '\{broken'"):
        LLMBAR.load(path)


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(CookbookError, match="there is no file or folder"):
        LLMBAR.load(tmp_path / "none")


def test_limit_takes_the_first_rows(tmp_path):
    loaded(LLMBAR, [llmbar(n) for n in range(5)], tmp_path)
    assert [item.origin.row for item in LLMBAR.load(tmp_path / "rows.jsonl", limit=2)] == [1, 2]


def test_without_a_place_the_hub_is_read(monkeypatch):
    """LLMBar's subsets are splits there, and a split's name says which."""
    asked = []

    def hub_rows(name):
        asked.append(name)
        yield llmbar(len(asked))

    monkeypatch.setattr(sources, "hub_rows", hub_rows)
    items = LLMBAR.load()
    assert asked == [f"hub:princeton-nlp/LLMBar#LLMBar:{item.part}" for item in items]
    assert [item.part for item in items] == ["Natural", "Neighbor", "GPTInst", "GPTOut", "Manual"]


def test_a_benchmark_that_is_not_on_the_hub_says_so():
    with pytest.raises(CookbookError, match="RMB is not on the hub; give its files"):
        RMB.load()


def test_prompts_make_groups_and_ties_are_grouped_in_pairs(tmp_path):
    rows = [rewardbench2("Ties", "ref:1"), rewardbench2("Ties", "tied:1", 2), rewardbench2("Math", "1")]
    ref, tied, other = loaded(benchmark_named("rewardbench2"), rows, tmp_path)
    assert ref.group == tied.group == "Ties:1" != other.group
    same = [judgebench(n) | {"question": "Which?"} for n in (1, 2)]
    assert len({item.group for item in loaded(JUDGEBENCH, same, tmp_path)}) == 1
