"""Kinds of bad input for the commands of reward models: one sentence on stderr, with a way out, and the exit status 2."""

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cookbook_lib.config.places import HOME
from tests.reward_setup import ANSWERED, ASKED, PAIR, Setup, World, open_world

RATED = {"helpfulness": 3, "correctness": 3, "coherence": 3, "complexity": 1, "verbosity": 1}
JUDGEBENCH = {
    "pair_id": "1",
    "source": "mmlu-pro",
    "question": "q",
    "response_A": "a",
    "response_B": "b",
    "label": "A>B",
}
REWARDBENCH2 = {"id": "1", "prompt": "p", "chosen": ["a"], "rejected": ["b"], "num_correct": 1, "num_incorrect": 1}
COMMANDS = {
    name: runpy.run_path(str(HOME / f"scripts/{name}.py"))["main"]
    for name in ("prepare_reward_data", "evaluate_pipeline", "serve_reward_model")
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("reward")) as opened:
        yield opened


@pytest.fixture
def setup(world: World, tmp_path: Path) -> Setup:
    return Setup(*world, tmp_path)


def prepare(setup: Setup, *rows: Any) -> list[Any]:
    return [
        "prepare_reward_data",
        "--source",
        "helpsteer2",
        "--input",
        setup.file(*rows),
        "--output",
        setup.folder / "out",
    ]


def evaluate(setup: Setup, *options: Any) -> list[Any]:
    return ["evaluate_pipeline", "--reward-model", setup.rewarding, *options]


TYPED: dict[str, tuple[Callable[[Setup], list[Any]], str]] = {
    "nothing but ties": (
        lambda s: prepare(s, *({"prompt": f"p{n // 2}", "response": f"r{n}", **RATED} for n in range(8))),
        r"none of 8 rows was kept \(a tie: neither answer is better: 4\); see .*report.json",
    ),
    "a rating out of range": (
        lambda s: [*prepare(s, {"prompt": "p", "response": "r", **RATED, "helpfulness": 9}), "--kind", "scores"],
        "helpfulness is 9, but it must lie between 0 and 4; correct the row",
    ),
    "unknown aspect": (
        lambda s: [*prepare(s, {"prompt": "p", "response": "r", **RATED}), "--kind", "scores", "--aspect", "charm"],
        "aspect 'charm' is not scored here; choose from helpfulness,",
    ),
    "scores of comparisons": (
        lambda s: ["prepare_reward_data", "--source", "hh", "--kind", "scores", "--output", s.folder / "out"],
        "'hh' rows make pairs, and no scores; leave --kind out",
    ),
    "decontaminated against nothing": (
        lambda s: [*prepare(s, RATED), "--decontaminate", "rewardbench2"],
        "--decontaminate is 'rewardbench2', but it names a benchmark and its file; write NAME=FILE",
    ),
    "data written into a file": (
        lambda s: ["prepare_reward_data", "--source", "embedded", "--limit", 20, "--output", s.file()],
        r"cannot write to .*jsonl \(.*\); choose another --output",
    ),
    "nothing to evaluate": (
        lambda s: ["evaluate_pipeline"],
        "nothing to evaluate; give --sft-model, --reward-model, --judge-model, or several",
    ),
    "a causal checkpoint as reward model": (
        lambda s: evaluate(s, "--pairs", s.file(PAIR), "--reward-model", s.base.folder),
        "is no reward model .*: give a trained one, or train one",
    ),
    "a reward model as SFT model": (
        lambda s: [
            "evaluate_pipeline",
            "--sft-model",
            s.rewarding,
            "--sft-data",
            s.file({"messages": [ASKED, ANSWERED]}),
        ],
        "bt-final is a reward model, which writes no answers: give a language model",
    ),
    "a reward model as a judge that writes": (
        lambda s: ["evaluate_pipeline", "--judge-model", s.rewarding, "--pairs", s.file(PAIR)],
        "bt-final is a reward model, which writes no answers: give a language model",
    ),
    "an unknown rubric": (
        lambda s: [
            "evaluate_pipeline",
            "--judge-model",
            s.base.folder,
            "--rubric",
            "helpfulnes",
            "--pairs",
            s.file(PAIR),
        ],
        "there is no rubric helpfulnes; .*did you mean 'helpfulness'",
    ),
    "no votes": (
        lambda s: ["evaluate_pipeline", "--judge-model", s.base.folder, "--votes", 0, "--pairs", s.file(PAIR)],
        "votes is 0, but a judge is asked at least once; give 1 or more",
    ),
    "votes of nobody": (
        lambda s: evaluate(s, "--votes", 3, "--rubric", "full"),
        "--rubric, --votes has no effect without --judge-model; give one, or leave it out",
    ),
    "a judge without anything to judge": (
        lambda s: ["evaluate_pipeline", "--judge-model", s.base.folder],
        "names no validation pairs; give --pairs FILE or --benchmark NAME=FILE",
    ),
    "pairs as tasks": (
        lambda s: ["evaluate_pipeline", "--judge-model", s.base.folder, "--tasks", s.file(PAIR)],
        "reward_model is missing, but a task has verl's prompt and reward_model",
    ),
    "no such server": (
        lambda s: ["evaluate_pipeline", "--judge-url", "localhost:8000", "--judge-model", "x", "--pairs", s.file(PAIR)],
        "base_url is 'localhost:8000': give the server's address",
    ),
    "a reward model that is not there": (
        lambda s: ["evaluate_pipeline", "--reward-model", s.rewarding.parent / "gone"],
        "gone is not there; models under .*: bt-final",
    ),
    "no pairs": (lambda s: evaluate(s), "names no validation pairs; give --pairs FILE or --benchmark NAME=FILE"),
    "a limit of none": (lambda s: evaluate(s, "--limit", 0), "--limit is 0, .*; give a number of rows, or -1 for all"),
    "unknown benchmark": (
        lambda s: evaluate(s, "--benchmark", "mtbench"),
        "benchmark 'mtbench' is not known; choose one of judgebench, llmbar,",
    ),
    "a benchmark named twice": (
        lambda s: evaluate(s, "--benchmark", "judgebench=gpt.jsonl", "--benchmark", "judgebench=claude.jsonl"),
        "--benchmark names judgebench 2 times, but it is evaluated once; name a folder that holds all its files, or ",
    ),
    "a benchmark without its column": (
        lambda s: evaluate(s, "--benchmark", f"rewardbench2={s.file(REWARDBENCH2)}"),
        "row 1: .* is missing, but in RewardBench 2 the row must have it .*; take the published file",
    ),
    "another benchmark's file": (
        lambda s: evaluate(s, "--benchmark", f"rewardbench2={s.file(JUDGEBENCH)}"),
        "it is a row of JudgeBench: choose benchmark judgebench",
    ),
    "an empty benchmark": (
        lambda s: evaluate(s, "--benchmark", f"llmbar={s.file()}"),
        "has no rows; give a file with at least one",
    ),
    "no such benchmark file": (
        lambda s: evaluate(s, "--benchmark", f"rm_bench={s.folder}/gone.json"),
        "there is no file or folder .*gone.json; check the path",
    ),
    "a report that cannot be written": (
        lambda s: evaluate(s, "--pairs", s.file(PAIR), "--output", s.file()),
        "report.json cannot be written .*; name another folder",
    ),
    "no such model to serve": (
        lambda s: ["serve_reward_model", "--port", 0, "--model", s.folder / "gone"],
        "gone is not there; there is no model under .*: train one, or give the folder",
    ),
    "a causal checkpoint to serve": (
        lambda s: ["serve_reward_model", "--port", 0, "--model", s.base.folder],
        "is no reward model .*: give a trained one",
    ),
    "an attribute to serve": (
        lambda s: ["serve_reward_model", "--port", 0, "--model", s.rewarding, "--attribute", "tone"],
        "has no attribute 'tone': choose one of score",
    ),
}


@pytest.mark.parametrize("kind", TYPED)
def test_a_command_says_it_in_one_sentence_and_fails(
    kind: str, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    typed, sentence = TYPED[kind]
    if kind.endswith("serve"):
        pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    name, *arguments = typed(setup)
    assert COMMANDS[name]([str(argument) for argument in arguments]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ")
    assert re.search(sentence, said), said
