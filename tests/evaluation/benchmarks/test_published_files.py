"""The published files themselves: how many rows they have, the official figure of stored scores, and what length alone wins."""

import gzip
import json

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import BENCHMARKS, JUDGEBENCH, LLMBAR, RM_BENCH, RMB, evaluate, stored_scores
from cookbook_lib.evaluation.judges import LengthJudge
from tests.evaluation.benchmarks.rows import Compared, values

FOLDERS = ("judgebench", "rm_bench", "llmbar", "rmb")


@pytest.fixture
def judgebench_files(real_data):
    found = {("judge_name" in path.name): path for path in (real_data / "judgebench").glob("*.jsonl.gz")}
    return found[False], found[True]


def items_of(name, real_data):
    return BENCHMARKS[name].load(real_data / name if name != "judgebench" else data_file(real_data))


def data_file(real_data):
    return next(path for path in (real_data / "judgebench").glob("*.gz") if "judge_name" not in path.name)


def test_stored_skywork_scores_reproduce_the_official_figures(judgebench_files):
    data, outputs = judgebench_files
    result = evaluate(stored_scores(outputs), JUDGEBENCH, JUDGEBENCH.load(data))
    assert result.judge == "Skywork/Skywork-Reward-Llama-3.1-8B"
    assert 100 * result.value == pytest.approx(62.2857, abs=5e-5)
    assert {name: 100 * value for name, value in values(result).items()} == pytest.approx(
        {"mmlu-pro": 59.0909, "livebench-reasoning": 64.2857, "livebench-math": 76.7857, "livecodebench": 50.0},
        abs=5e-5,
    )
    counts = {name: part.items for name, part in result.parts.items()}
    assert counts == {"mmlu-pro": 154, "livebench-reasoning": 98, "livebench-math": 56, "livecodebench": 42}


def test_stored_decisions_played_twice_give_the_same_figure(judgebench_files):
    """The official decisions of both games, with the official counting."""
    data, outputs = judgebench_files
    said = {}
    for row in map(json.loads, gzip.decompress(outputs.read_bytes()).splitlines()):
        first, second = (judgment["decision"][0] for judgment in row["judgments"])
        said |= {(row["response_A"], row["response_B"]): first, (row["response_B"], row["response_A"]): second}
    result = evaluate(Compared(lambda a, b: said[a, b]), JUDGEBENCH, JUDGEBENCH.load(data))
    assert result.value == pytest.approx(218 / 350)
    assert values(result)["same verdict in both orders"] == pytest.approx(349 / 350)


def test_data_and_outputs_in_one_folder_are_no_700_pairs(real_data):
    with pytest.raises(CookbookError, match="has the same one, and each row counts once"):
        JUDGEBENCH.load(real_data / "judgebench")


@pytest.mark.parametrize(
    ("benchmark", "parts"),
    [
        (RM_BENCH, {"chat": 129, "code": 228}),
        (LLMBAR, {"Natural": 100}),
        (RMB, {"Helpfulness best of n": 71, "Helpfulness pairs": 42}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_files_have_the_rows_they_should(benchmark, parts, real_data):
    items = items_of(benchmark.name, real_data)
    assert {part: sum(item.part == part for item in items) for part in parts} == parts
    assert len(items) == sum(parts.values())
    assert all(item.id and item.prompt[-1]["role"] == "user" for item in items)


@pytest.mark.parametrize("name", FOLDERS)
def test_longer_wins_runs_and_counts_as_a_loop_does(name, real_data):
    items = items_of(name, real_data)
    result = evaluate(LengthJudge(), name, items)
    right = [_longer(item) for item in items]
    assert [row["right"] for row in result.rows] == pytest.approx(right)
    assert result.interval[0] <= result.value <= result.interval[1]
    assert result.unparsed == 0
    assert result.asked <= sum(len(item.chosen) + len(item.rejected) for item in items)


def _longer(item):
    """By each benchmark's rule: RM-Bench's share of nine cells, LLMBar's half for a tie, RMB's best of all."""
    wins = [[len(good) > len(bad) for bad in item.rejected] for good in item.chosen]
    if item.part == "Natural" and len(item.chosen[0]) == len(item.rejected[0]):
        return 0.5
    return sum(map(sum, wins)) / 9 if len(wins) == 3 else float(all(wins[0]))


def test_style_makes_rm_bench_easy_or_hard_for_length(real_data):
    found = values(evaluate(LengthJudge(), RM_BENCH, items_of("rm_bench", real_data)))
    assert found["easy"] > 0.75
    assert found["hard"] < 0.25


@pytest.mark.parametrize("wanted", FOLDERS)
@pytest.mark.parametrize("given", FOLDERS)
def test_a_published_file_of_another_benchmark_is_recognised(wanted, given, real_data):
    if wanted == given:
        return
    place = real_data / given if given != "judgebench" else data_file(real_data)
    with pytest.raises(CookbookError, match=f"row 1: .*choose benchmark {given}$"):
        BENCHMARKS[wanted].load(place)
