"""Rows as the benchmarks publish them, and judges whose every word a test has chosen."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cookbook_lib.evaluation.benchmarks import Benchmark, BenchmarkResult, Item, evaluate
from cookbook_lib.evaluation.judges import Messages, ScoreJudge, Verdict


def rewardbench(subset: str, number: int = 0, **more: Any) -> dict[str, Any]:
    name = f"{subset} {number}"
    return {"prompt": name, "chosen": f"+{name}", "rejected": f"-{name}", "subset": subset, "id": number} | more


def rewardbench2(subset: str, identity: str, right: int = 1, wrong: int = 3) -> dict[str, Any]:
    chosen = [f"{identity}+{k}" for k in range(right)]
    rejected = [f"{identity}-{k}" for k in range(wrong)]
    counts = {"num_correct": right, "num_incorrect": wrong}
    return {"id": identity, "prompt": f"p{identity}", "chosen": chosen, "rejected": rejected, "subset": subset} | counts


def rm_bench(number: int, domain: str | None = "chat") -> dict[str, Any]:
    """Answers are named c0 c1 c2 and r0 r1 r2, each with the row's number."""
    answers = {name: [f"{name[0]}{k} {domain}{number}" for k in range(3)] for name in ("chosen", "rejected")}
    row = {"id": number, "prompt": f"{domain} {number}", "subset": "alpacaeval", **answers}
    return row if domain is None else row | {"domain": domain}


def judgebench(number: int, label: str = "A>B", source: str = "mmlu-pro-law") -> dict[str, Any]:
    answers = {"response_A": f"a{number}", "response_B": f"b{number}"}
    named = {"pair_id": f"id{number}", "source": source, "question": f"q{number}", "response_model": "m"}
    return named | answers | {"label": label}


def llmbar(number: int, label: int = 1) -> dict[str, Any]:
    return {"input": f"q{number}", "output_1": f"one{number}", "output_2": f"two{number}", "label": label}


def rmb_pair(number: int, path: str = "Helpfulness/Chat/Discussion") -> dict[str, Any]:
    asked = [{"content": f"q{number}", "language": "English", "role": "user"}]
    answers = {"chosen": {"llm_name": "x", "answer": f"+{number}"}, "reject": {"llm_name": "y", "answer": f"-{number}"}}
    return {"pair_uid": str(number), "conversation_input": asked, "category_path": f"Pairwise_set/{path}"} | answers


def rmb_best(number: int, losers: int = 2, path: str = "Helpfulness/Chat/Discussion") -> dict[str, Any]:
    asked = [{"content": f"q{number}", "language": "English", "role": "user"}]
    lost = [{"llm_name": "y", "answer": f"-{number}.{k}"} for k in range(losers)]
    best = {"bon_uid": str(number), "bon_best": {"llm_name": "x", "answer": f"+{number}"}, "loser_list": lost}
    return {"conversation_input": asked, "category_path": f"BoN_set/{path}"} | best


ONE_OF_EACH = {
    "rewardbench": rewardbench("hep-go"),
    "rewardbench2": rewardbench2("Math", "1"),
    "rm_bench": rm_bench(1),
    "judgebench": judgebench(1),
    "llmbar": llmbar(1),
    "rmb": rmb_pair(1),
}


def loaded(benchmark: Benchmark, rows: Iterable[dict[str, Any]], folder: Path, name: str = "rows.jsonl") -> list[Item]:
    """The items of these rows, through a file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return benchmark.load(path)


class Scored(ScoreJudge):
    """Scores by answer; `requests` counts calls and keeps what was asked."""

    def __init__(self, score: Callable[[str], float | None]) -> None:
        self.name, self._score, self.calls = "scored", score, []

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        self.calls.append(list(conversations))
        return [self._score(conversation[-1]["content"]) for conversation in conversations]


class Compared:
    """Verdicts by (a, b)."""

    name = "compared"

    def __init__(self, verdict: Callable[[str, str], Verdict]) -> None:
        self._verdict, self.calls = verdict, []

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        raise AssertionError("asked for scores")

    def compare(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Verdict]:
        self.calls.append(list(zip(a, b, strict=True)))
        return [self._verdict(*pair) for pair in zip(a, b, strict=True)]


def values(result: BenchmarkResult) -> dict[str, float]:
    return {name: part.value for name, part in result.parts.items()}


def judged(benchmark: Benchmark, items: list[Item], judge: Any) -> tuple[float, dict[str, float]]:
    result = evaluate(judge, benchmark, items)
    return result.value, values(result)
