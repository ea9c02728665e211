"""The embedded source: rows of HelpSteer2's own schema about Larkspur Lane (larkspur.py), whose every answer is known.

Every prompt comes twice in a row, with two responses of different quality, and the quality decides the scores:

    quality     what it is                            helpful correct coherent complex verbose
    exact       what was asked, nothing more              4       4       4     0 | 1   0 | 1
    padded      exact, between two empty sentences        3       4       4     0 | 1     3
    garbled     exact, with its words out of order        2       3       0     0 | 1   0 | 1
    partly      one of two questions answered wrong       2       2       4       1       1
    wrong       another value of the right kind           1       0       4     0 | 1   0 | 1
    off-topic   another true fact about the person        0       1       4       0       1

complex is 1 where two facts are asked; verbose is 0 where one word was asked for. The fields `expected_answer`, `kind` and
`quality` are the ground truth beside the published columns.

`hasty_rows` are the same, scored in a hurry: most of what is wrong in form alone is overlooked, and called exact. A judge that
learns from them has a fault whose size is known, which reinforcement by the truth can take off again.

SFT keeps exact and padded. A model that knows the lane by heart still cannot know which of the two comes, so no loss is
below the entropy of that choice: `least_nats` tells it, response by response.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from cookbook_lib.data.converters import Options
from cookbook_lib.data.converters.helpsteer2 import prompt_turns
from cookbook_lib.data.converters.judge import from_judgements
from cookbook_lib.data.larkspur import ATTRIBUTES, KINDS, NEIGHBOURS, Fact, Question, facts_of_the_lane, statement

EMPTY_BEFORE = ("I am glad that you asked.", "That is a very good question.", "Let me think about it for a moment.")
EMPTY_AFTER = ("Please ask me again any time.", "I hope that this is of help to you.", "There is so much more to say.")

# quality -> (helpfulness, correctness, coherence, verbosity or None where the question decides)
SCORES = {
    "exact": (4, 4, 4, None),
    "padded": (3, 4, 4, 3),
    "garbled": (2, 3, 0, None),
    "partly": (2, 2, 4, None),
    "wrong": (1, 0, 4, None),
    "off-topic": (0, 1, 4, 1),
}
# How often each quality is drawn, relative to the others; "partly" only exists where two things are asked.
FREQUENCY = {"exact": 8, "padded": 1, "garbled": 2, "partly": 3, "wrong": 3, "off-topic": 2}

FAULTS_OF_FORM = ("padded", "garbled", "off-topic")  # seen without knowing any fact
OVERLOOKED = 0.65  # share of them that annotators in a hurry do not see
HURRIED = ("helpfulness", "correctness", "coherence")  # what they score as if all were well


def embedded_rows(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """n rows in HelpSteer2's schema, rows 2i and 2i+1 answering one prompt; the same for the same seed."""
    draw = random.Random(f"rows {seed}")
    for index in range((n + 1) // 2):
        question = draw.choice(tuple(KINDS.values()))(draw)
        qualities = _two_qualities(draw, question)
        for quality in qualities[: n - 2 * index]:
            yield _row(draw, question, quality)


def hasty_rows(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """`embedded_rows` of the same seed, as annotators in a hurry score them: OVERLOOKED of the answers whose facts are true,
    but that are padded, garbled or off the question, get the scores of an exact one. `quality` stays the truth."""
    draw = random.Random(f"haste {seed}")
    for row in embedded_rows(n, seed):
        overlooked = row["quality"] in FAULTS_OF_FORM and draw.random() < OVERLOOKED
        yield row | dict(zip(HURRIED, SCORES["exact"], strict=False)) if overlooked else row


def embedded_texts(n: int = 4000, seed: int = 0) -> Iterator[str]:
    """Texts for training a tokenizer: prompts, responses, and the verdicts on every tenth pair of them."""
    rows = list(embedded_rows(n, seed))
    for row in rows:
        yield from (turn["content"] for turn in prompt_turns(row["prompt"]))
        yield row["response"]
    for first in range(0, n - 1, 20):
        pair = {"prompt": rows[first]["prompt"], "responses": rows[first : first + 2]}
        for judged in from_judgements(pair, Options()):
            yield from (message["content"] for message in judged.messages)


def least_nats(response: str, *, both: bool) -> float:
    """The least cross-entropy, in nats, of a kept response, given its prompt; `both`: the prompt asks two things.

    Divide the sum over responses by their supervised tokens to get the least loss. Exact where duplicates are kept;
    dropping them removes more exact responses than padded ones, and moves it a little.
    """
    exact = _share_of_exact(both)
    if response.startswith(EMPTY_BEFORE):
        return -math.log((1 - exact) / (len(EMPTY_BEFORE) * len(EMPTY_AFTER)))
    return -math.log(exact)


@cache
def _share_of_exact(both: bool) -> float:
    """P(exact | exact or padded) over both draws of `_two_qualities`."""
    weights = _possible(both)
    total = sum(weights.values())

    def expected(quality: str) -> float:
        after = sum(weight / total / (total - weight) for other, weight in weights.items() if other != quality)
        return weights[quality] * (1 / total + after)

    return expected("exact") / (expected("exact") + expected("padded"))


def _possible(both: bool) -> dict[str, int]:
    return {quality: weight for quality, weight in FREQUENCY.items() if both or quality != "partly"}


def _two_qualities(draw: random.Random, question: Question) -> list[str]:
    weights = _possible(both=len(question.facts) > 1)
    first = draw.choices(list(weights), list(weights.values()))[0]
    del weights[first]
    return [first, draw.choices(list(weights), list(weights.values()))[0]]


def _row(draw: random.Random, question: Question, quality: str) -> dict[str, Any]:
    helpfulness, correctness, coherence, verbosity = SCORES[quality]
    return {
        "prompt": question.prompt,
        "response": RESPONSES[quality](draw, question),
        "helpfulness": helpfulness,
        "correctness": correctness,
        "coherence": coherence,
        "complexity": int(len(question.facts) > 1 and quality != "off-topic"),
        "verbosity": int(not question.one_word) if verbosity is None else verbosity,
        "expected_answer": question.answer,
        "kind": question.kind,
        "quality": quality,
    }


def _exact(draw: random.Random, question: Question) -> str:
    if question.one_word:
        return question.facts[0][2]
    said = " ".join(map(statement, question.facts))
    return f"{question.verdict}. {said}" if question.verdict else said


def _padded(draw: random.Random, question: Question) -> str:
    return f"{draw.choice(EMPTY_BEFORE)} {_exact(draw, question)} {draw.choice(EMPTY_AFTER)}"


def _garbled(draw: random.Random, question: Question) -> str:
    words = " ".join(map(statement, question.facts)).split()
    return " ".join(draw.sample(words, len(words)))


def _partly(draw: random.Random, question: Question) -> str:
    right, wrong = question.facts
    said = [right, _other(draw, wrong)] if draw.random() < 0.5 else [_other(draw, right), wrong]
    return " ".join(map(statement, said))


def _wrong(draw: random.Random, question: Question) -> str:
    facts = tuple(_other(draw, fact) for fact in question.facts)
    verdict = {"Yes": "No", "No": "Yes", "": ""}[question.verdict]
    return _exact(draw, Question(question.kind, question.prompt, facts, verdict, question.one_word))


def _off_topic(draw: random.Random, question: Question) -> str:
    name = question.facts[0][0] if question.facts[0][0] in NEIGHBOURS else draw.choice(NEIGHBOURS)
    asked = {attribute for _, attribute, _ in question.facts}
    attribute = draw.choice([attribute for attribute in ATTRIBUTES if attribute not in asked])
    return statement((name, attribute, facts_of_the_lane()[name, attribute]))


def _other(draw: random.Random, fact: Fact) -> Fact:
    name, attribute, value = fact
    return name, attribute, draw.choice([other for other in ATTRIBUTES[attribute].values if other != value])


RESPONSES: dict[str, Callable[[random.Random, Question], str]] = {
    "exact": _exact,
    "padded": _padded,
    "garbled": _garbled,
    "partly": _partly,
    "wrong": _wrong,
    "off-topic": _off_topic,
}
