"""Training data that hold what a benchmark asks: found in every benchmark's format, and nothing else is."""

import json
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.data.json_rows import json_rows
from cookbook_lib.data.origin import Origin, RowError
from cookbook_lib.data.reward.benchmark_texts import benchmark_texts
from cookbook_lib.data.reward.converters.oasst import from_tree
from cookbook_lib.data.reward.converters.preferences import from_preference
from cookbook_lib.data.reward.decontamination import Contamination
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.data.reward.registry import RewardOptions, user_turn
from cookbook_lib.data.reward.word_overlap import COMMON, WordOverlap, words_of

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
QUESTION = "What are the three laws of motion, and who wrote them down first?"  # 13 words
TURNS = [{"role": "user", "content": QUESTION, "language": "English"}]
ANSWER = "Newton wrote that a body at rest stays at rest unless a force acts on it."


def pair(*prompt, chosen="x", rejected="y"):
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(prompt)]
    return PreferencePair(tuple(turns), chosen, rejected)


def benchmark(folder: Path, *rows, name="bench") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt=QUESTION, chosen=ANSWER, rejected="No idea."):
    return {"prompt": prompt, "chosen": [chosen], "rejected": [rejected]}


@pytest.fixture
def found(tmp_path):
    return Contamination.of({"bench": benchmark(tmp_path, row("Another question altogether."), row())})


@pytest.mark.parametrize(
    ("prompt", "how"),
    [
        ([QUESTION], "same prompt"),
        ([QUESTION.upper().replace(",", " -") + " ?!"], "same prompt"),
        ([QUESTION, "Newton.", "Thanks, and which is the second?"], "same prompt"),
        (["Hello!", "Hi.", QUESTION], "shared words"),
        (["Question: " + QUESTION + " Answer briefly."], "shared words"),
        (["Tell me, what are the three laws of motion, and who invented gravity?"], "shared words"),
        (["What are the three laws of motion?"], None),  # 7 of 13 words, but no eight in a row
        (["Who wrote the laws of thermodynamics down first?"], None),
        (["Hi", QUESTION, "Why?"], None),  # an assistant said it
    ],
)
def test_prompts(found, prompt, how):
    match = found.match(pair(*prompt))
    assert (match and match.how) == how
    assert found(pair(*prompt)) == (how and f"in benchmark bench ({how})")


def test_a_match_names_its_row_and_share(found, tmp_path):
    match = found.match(pair("Tell me, what are the three laws of motion, and who invented gravity?"))
    assert match.origin == Origin(str(tmp_path / "bench.jsonl"), 2)
    assert match.share == pytest.approx(9 / 13)
    assert found.match(pair(QUESTION)).share == 1


def test_share_and_words_are_the_user_s(tmp_path):
    file = benchmark(tmp_path, row())
    asked = pair("Tell me, what are the three laws of motion, and who invented gravity?")
    assert Contamination.of({"bench": file}, share=0.69)(asked)
    assert Contamination.of({"bench": file}, share=0.70)(asked) is None
    assert Contamination.of({"bench": file}, words=10)(asked) is None
    assert Contamination.of({"bench": file}, words=5)(pair("Name the three laws of motion and who wrote them down."))


def test_short_prompts_are_found_when_they_are_the_same(tmp_path):
    found = Contamination.of(
        {"bench": benchmark(tmp_path, row("Tell me a joke."), row("Solve 2 + 3"), row("我喜欢学习中文吗"))}
    )
    assert found(pair("tell me a joke"))
    assert found(pair("Tell me a joke about cats.")) is None
    assert found(pair("Solve 2 - 3")) is None
    assert found(pair("Solve 2 + 3."))
    assert found.match(pair("请问：我喜欢学习中文吗？")).how == "shared words"


def test_several_user_turns_must_all_be_there(tmp_path):
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Joke!"},
    ]
    rmb = {"conversation_input": turns, "chosen": {"answer": "a"}, "reject": {"answer": "b"}}
    found = Contamination.of({"rmb": benchmark(tmp_path, rmb)})
    assert found(pair("Hi")) is None
    assert found(pair("Hi", "Good morning", "joke"))
    assert found(pair("Hi", "Hello", "Joke!", "...", "More")) == "in benchmark rmb (same prompt)"


def test_a_template_is_not_a_prompt(tmp_path):
    """Half of the words are the same in all prompts; only what is their own counts."""
    template = "If you cannot determine the answer, take your best guess and write it five times in a row."
    own = [f"Question {n}: " + " ".join(f"{word}{n}" for word in NUMBERS) for n in range(30)]
    found = Contamination.of({"bench": benchmark(tmp_path, *(row(f"{text} {template}") for text in own))})
    assert found(pair("Is the earth flat? " + template)) is None
    assert found.match(pair("Please: " + own[7] + " " + template)).origin.row == 8
    few = Contamination.of({"bench": benchmark(tmp_path, *(row(f"{text} {template}") for text in own[:COMMON]))})
    assert few(pair("Is the earth flat? " + template))


def test_answers_are_compared_on_request(tmp_path):
    file = benchmark(tmp_path, row())
    copied = pair("Why does my cup not move?", rejected="As we know, " + ANSWER)
    assert Contamination.of({"bench": file})(copied) is None
    assert Contamination.of({"bench": file}, answers=True)(copied) == "in benchmark bench (shared answer)"
    scored = ScoredResponse(user_turn("Why?"), ANSWER, {"score": 1.0})
    assert Contamination.of({"bench": file}, answers=True)(scored) == "in benchmark bench (shared answer)"
    assert Contamination.of({"bench": file}, answers=True)(pair("Why?", chosen="No idea.")) is None


def test_the_summary_counts_rows_met_and_records(tmp_path):
    one, two = benchmark(tmp_path, row(), row("Joke?"), name="one"), benchmark(tmp_path, row("Poem?"), name="two")
    found = Contamination.of({"one": one, "two": [two]})
    for prompt in (QUESTION, QUESTION, "joke", "story"):
        found(pair(prompt))
    assert found.summary() == {
        "one": {"rows": 2, "met": 2, "records": 3},
        "two": {"rows": 1, "met": 0, "records": 0},
    }


def test_the_report_says_what_was_left_out_and_where_it_was_found(tmp_path):
    known = benchmark(tmp_path, row("Joke?"), row())
    rows = [row(prompt, "good", "bad") for prompt in ("Why?", QUESTION, "Hi. " + QUESTION)]
    data = benchmark(tmp_path, *(one | {"chosen": "good", "rejected": "bad"} for one in rows), name="data")
    job = RewardJob("preferences", tmp_path, inputs=(str(data),), decontaminate={"bench": (str(known),)}, test_ratio=0)
    report = prepare_reward(job)
    assert report["kept"] == 1
    assert report["benchmarks"] == {"bench": {"rows": 2, "met": 1, "records": 2}}
    assert {reason: entry["first"] for reason, entry in report["dropped"].items()} == {
        "in benchmark bench (same prompt)": [
            {"file": str(data), "row": 2, "same_as": f"{known} row 2 (100% of its words)"}
        ],
        "in benchmark bench (shared words)": [
            {"file": str(data), "row": 3, "same_as": f"{known} row 2 (100% of its words)"}
        ],
    }


def test_answers_are_compared_where_that_is_asked_for(tmp_path):
    """The same long answer to another question: left out with answers, kept without."""
    answer = "the cat that sat on the mat was the first of nine cats in that house"
    known = benchmark(tmp_path, {"prompt": "Joke?", "chosen": answer, "rejected": "no"})
    rows = [{"prompt": p, "chosen": c, "rejected": "bad"} for p, c in (("Why?", answer), ("Who?", "good"))]
    data = benchmark(tmp_path, *rows, name="data")
    job = RewardJob(
        "preferences", tmp_path / "out", inputs=(str(data),), decontaminate={"bench": (str(known),)}, test_ratio=0
    )
    assert prepare_reward(job)["kept"] == 2
    report = prepare_reward(replace(job, decontaminate_answers=True))
    assert (report["kept"], report["benchmarks"]["bench"]["records"]) == (1, 1)
    assert list(report["dropped"]) == ["in benchmark bench (shared answer)"]
    with pytest.raises(CookbookError, match="--decontaminate-answers has no effect without a benchmark"):
        prepare_reward(replace(job, decontaminate={}, decontaminate_answers=True))


@pytest.mark.parametrize(
    ("given_row", "answers"),
    [
        ({"prompt": QUESTION, "chosen": "a", "rejected": "b"}, "ab"),
        ({"prompt": QUESTION, "chosen": ["a"], "rejected": ["b", "c", "d"]}, "abcd"),
        ({"question": QUESTION, "response_A": "a", "response_B": "b", "label": "A>B"}, "ab"),
        ({"input": QUESTION, "output_1": "a", "output_2": "b", "label": 1}, "ab"),
        ({"conversation_input": TURNS, "bon_best": {"answer": "a"}, "loser_list": [{"answer": "b"}]}, "ab"),
        ({"conversation_input": TURNS, "chosen": {"answer": "a"}, "reject": {"answer": "b"}}, "ab"),
    ],
)
def test_every_benchmark_s_columns(tmp_path, given_row, answers):
    (text,) = benchmark_texts("bench", benchmark(tmp_path, given_row))
    assert [message["content"] for message in text.prompt] == [QUESTION]
    assert text.answers == tuple(answers)
    assert Contamination.of({"bench": tmp_path / "bench.jsonl"})(pair(QUESTION)) == "in benchmark bench (same prompt)"


@pytest.mark.parametrize(
    ("given_row", "sentence"),
    [
        ({"text": "x"}, r"bench.jsonl row 1: prompt or question .* is missing, but .* \(columns here: text\); rename"),
        ({"prompt": "x", "answer": "y"}, "row 1: answers is missing, but a benchmark's row has chosen and rejected"),
        ({"prompt": "x", "chosen": 3, "rejected": "y"}, "row 1: chosen is 3, but an answer is text"),
        (
            {"prompt": "x", "chosen": "y", "rejected": [{"llm": "z"}]},
            r"row 1: rejected\[0\] is .*, but an answer is text",
        ),
    ],
)
def test_files_that_are_no_benchmark(tmp_path, given_row, sentence):
    with pytest.raises(RowError, match=sentence):
        Contamination.of({"bench": benchmark(tmp_path, given_row)})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"benchmarks": {}}, "no benchmark is named"),
        ({"benchmarks": {"bench": "/nowhere/bench.jsonl"}}, "there is no file or folder /nowhere/bench.jsonl"),
        ({"words": 1}, "words is 1, but an n-gram has two words or more"),
        ({"share": 0}, "share is 0, but it is a part of a text"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, sentence):
    with pytest.raises(CookbookError, match=sentence):
        Contamination.of(**{"benchmarks": {"bench": benchmark(tmp_path, row())}} | arguments)


def shares_by_hand(known, new, length):
    """The definition, word by word: which words of a known text lie in an n-gram that `new` has."""
    grams = {tuple(new[i : i + length]) for i in range(len(new) - length + 1)}
    shares = []
    for text in known:
        starts = range(len(text) - length + 1)
        covered = {i + j for i in starts if tuple(text[i : i + length]) in grams for j in range(length)}
        countable = {i + j for i in starts for j in range(length)}
        shares.append(len(covered) / len(countable) if countable else 0.0)
    return shares


words = st.lists(st.sampled_from("abc"), max_size=14)


@settings(max_examples=200, deadline=None)
@given(st.lists(words, max_size=COMMON), words, st.integers(2, 4))
def test_shares_are_those_of_the_definition(known, new, length):
    best = WordOverlap(known, length).best(new)
    by_hand = shares_by_hand(known, new, length)
    assert (best[1] if best else 0.0) == pytest.approx(max(by_hand, default=0.0))
    if best:
        assert by_hand[best[0]] == pytest.approx(best[1])


def test_a_text_of_one_word_repeated_costs_no_more_than_the_index():
    """Naively, every occurrence here meets every occurrence there: 10^10 of them."""
    known = ["la"] * 100_000
    assert WordOverlap([known], 8).best(known) == (0, 1.0)


def test_words():
    words = " ".join(words_of("Don't STOP — naïve ﬁsh!", "x=2+3; 中文 ok"))
    assert words == "don t stop naïve fish \n x = 2 + 3 中 文 ok"


BENCHMARKS = {
    "judgebench": ("judgebench/dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl.gz",),
    "llmbar": ("llmbar/LLMBar_Natural.json",),
    "rm_bench": ("rm_bench/chat_filtered.json.gz", "rm_bench/code_filtered.json.gz"),
    "rmb": (
        "rmb/Pairwise_set__Helpfulness__Open_QA__Hypothetical_Scenarios.json",
        "rmb/BoN_set__Helpfulness__Chat__Casual_Conversation.json",
    ),
}


@pytest.fixture(scope="module")
def published(real_data):
    return {name: [real_data / file for file in files] for name, files in BENCHMARKS.items()}


def met(found, path, converter):
    """(row of the training data, benchmark, row of it, rule) of every record that is found."""
    for origin, given_row in json_rows(path, on_bad_row=lambda error: pytest.fail(str(error))):
        for record in converter(given_row, "pairs", RewardOptions()):
            if match := found.match(record):
                yield origin.row, match.benchmark, match.origin.row, match.how


def test_published_benchmarks_find_themselves_and_not_each_other(published):
    found = Contamination.of(published)
    assert {name: entry["rows"] for name, entry in found.summary().items()} == {
        "judgebench": 350,
        "llmbar": 100,
        "rm_bench": 357,
        "rmb": 113,
    }
    for name, files in published.items():
        for text in benchmark_texts(name, files):
            embedded = PreferencePair(
                (*user_turn("Please help me."), {"role": "assistant", "content": "Sure."}, *text.prompt), "x", "y"
            )
            assert found(PreferencePair(text.prompt, "x", "y")) == f"in benchmark {name} (same prompt)"
            if len(words_of(*(m["content"] for m in text.prompt if m["role"] == "user"))) >= 8:
                assert found.match(embedded).benchmark == name


def test_published_training_sets_ask_what_benchmarks_ask(published, real_data):
    """Two Open Assistant questions (13 pairs) are in RM-Bench, and a DPO demo holds one of JudgeBench's."""
    found = Contamination.of(published)
    trees = Counter(met(found, real_data / "oasst/en_100_tree.jsonl.gz", from_tree))
    assert set(trees) == {(23, "rm_bench", 59, "same prompt"), (53, "rm_bench", 90, "same prompt")}
    assert trees.total() == 13
    pairs = list(met(found, real_data / "llamafactory/dpo_en_demo.json.gz", from_preference))
    assert pairs == [(251, "judgebench", 30, "shared words")]
    assert list(met(found, real_data / "ultrafeedback/train_clean.jsonl.gz", prompt_alone)) == []


def prompt_alone(given_row, kind, options):
    return [PreferencePair(user_turn(given_row["prompt"]), "x", "y")]


def test_memory_is_that_of_the_benchmarks(tmp_path):
    found = Contamination.of({"bench": benchmark(tmp_path, row())})
    before = sum(array.nbytes for array in vars(found._prompts).values() if isinstance(array, np.ndarray))
    for n, word in product(range(20), ("alpha", "beta")):
        found(pair(f"{word} " * 50 + str(n)))
    after = sum(array.nbytes for array in vars(found._prompts).values() if isinstance(array, np.ndarray))
    assert before == after
    assert len(found._prompts._vocabulary) < 40
