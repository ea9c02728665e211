"""A judge that writes, in every benchmark: asked as its rules say, and never right by writing nothing."""

import gzip
import json

import pytest

from cookbook_lib.evaluation.benchmarks import BENCHMARKS, evaluate, table_rows
from cookbook_lib.evaluation.generative_judge import GenerativeJudge, ScoringJudge
from cookbook_lib.evaluation.judges import LengthJudge
from tests.evaluation.benchmarks import rows as made
from tests.evaluation.benchmarks.rows import ONE_OF_EACH, loaded
from tests.evaluation.scripted import Scripted

GOOD = ("+", "c", "a", "one")  # how the better answers of these rows begin
PAIRED = {"judgebench": made.judgebench, "llmbar": made.llmbar, "rmb": made.rmb_pair}


def good(answer: str) -> bool:
    return answer.startswith(GOOD) or "+" in answer


def knows(judged, seed):
    found = [good(answer) for answer in judged.responses]
    if len(found) == 1:
        return f"Score: {4 if found[0] else 1}"
    return f"Preference: {'A' if found[0] else 'B'}"


def silent(judged, seed):
    return "Response A is better, and so is Response B."


@pytest.fixture(params=sorted(BENCHMARKS))
def named(request, tmp_path):
    name = request.param
    return name, loaded(BENCHMARKS[name], [ONE_OF_EACH[name]], tmp_path)


@pytest.mark.parametrize("kind", [GenerativeJudge, ScoringJudge])
def test_a_judge_that_knows_is_right_in_every_benchmark(named, kind):
    name, items = named
    result = evaluate(kind(Scripted(knows)), name, items)
    assert (result.value, result.unparsed) == (1, 0)


@pytest.mark.parametrize("kind", [GenerativeJudge, ScoringJudge])
def test_a_judge_without_a_verdict_is_wrong_in_every_benchmark_and_counted(named, kind):
    name, items = named
    result = evaluate(kind(Scripted(silent)), name, items)
    assert (result.value, result.unparsed) == (0, result.asked)
    assert f"{result.asked} of {result.asked} answers of the judge could not be read" in result.notes


@pytest.mark.parametrize("name", ["judgebench", "llmbar"])
def test_benchmarks_with_a_published_order_are_asked_both_ways_round(name, tmp_path):
    generator = Scripted(lambda judged, seed: "Preference: A")
    result = evaluate(GenerativeJudge(generator), name, loaded(BENCHMARKS[name], [ONE_OF_EACH[name]], tmp_path))
    assert [len(call) for call in generator.calls] == [2]
    first, second = (call[0]["content"] for call in generator.calls[0])
    assert first != second and sorted(first) == sorted(second)
    agreed = {"judgebench": "same verdict in both orders", "llmbar": "swap agreement"}[name]
    assert result.parts[agreed].value == 0
    assert result.value == {"judgebench": 0, "llmbar": 0.5}[name], "one right and one wrong"
    both = evaluate(
        GenerativeJudge(generator, order="both"), name, loaded(BENCHMARKS[name], [ONE_OF_EACH[name]], tmp_path)
    )
    assert agreed not in both.parts, "who asks both ways round each time agrees with himself by construction"


def test_rewardbench2_asks_for_ratings_of_every_answer(tmp_path):
    generator = Scripted(knows)
    items = loaded(BENCHMARKS["rewardbench2"], [made.rewardbench2("Math", "1")], tmp_path)
    evaluate(GenerativeJudge(generator), "rewardbench2", items)
    assert [len(call) for call in generator.calls] == [4]
    assert all("Response:" in prompt[0]["content"] for prompt in generator.calls[0])


def test_judges_that_write_and_judges_that_score_share_one_table(tmp_path):
    items = loaded(BENCHMARKS["judgebench"], [made.judgebench(n) for n in range(4)], tmp_path)
    judges = [LengthJudge(), GenerativeJudge(Scripted(knows), name="writes")]
    rows = table_rows([evaluate(judge, "judgebench", items) for judge in judges])
    assert rows[0]["writes"].startswith("1.000") and rows[0]["longer wins"].startswith("0.000")
    assert "longer wins" not in rows[-1] and rows[-1]["part"] == "same verdict in both orders"


def test_published_decisions_written_by_a_judge_give_the_published_figure(real_data):
    """Real answers of every length and script, through the prompt, its frames and the parser: 218 of 350."""
    files = {("judge_name" in path.name): path for path in (real_data / "judgebench").glob("*.jsonl.gz")}
    said = {}
    for row in map(json.loads, gzip.decompress(files[True].read_bytes()).splitlines()):
        first, second = (judgment["decision"][0] for judgment in row["judgments"])
        said |= {(row["response_A"], row["response_B"]): first, (row["response_B"], row["response_A"]): second}
    generator = Scripted(lambda judged, seed: f"So it is.\n\n**Preference: {said[judged.responses]}**")
    items = BENCHMARKS["judgebench"].load(files[False])
    result = evaluate(GenerativeJudge(generator), "judgebench", items)
    assert (result.value, result.unparsed) == (pytest.approx(218 / 350), 0)
    assert result.parts["same verdict in both orders"].value == pytest.approx(349 / 350)
