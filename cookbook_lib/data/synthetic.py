"""Larkspur Lane: a small world whose every answer is known, as rows of HelpSteer2's own schema.

Sixteen neighbours, each with a pet, a door, a trade and an instrument: 64 facts, the same whatever the seed. Questions:

    recall     What pet does Ada keep?                                    known only from training
    reading    Rosa plays the harp. Sam plays the horn. What does Sam...  stated in the prompt, by visitors
    check      Does Ada keep an owl?                                      yes or no, and the fact
    both       two questions at once                                      can be answered half right
    follow-up  ...<extra_id_1>User\\nAnd Ben?                              the turn before says about what

Every prompt comes twice in a row, with two responses of different quality, and the quality decides the scores:

    quality     what it is                            helpful correct coherent complex verbose
    exact       what was asked, nothing more              4       4       4     0 | 1   0 | 1
    padded      exact, between two empty sentences        3       4       4     0 | 1     3
    garbled     exact, with its words out of order        2       3       0     0 | 1   0 | 1
    partly      one of two questions answered wrong       2       2       4       1       1
    wrong       another value of the right kind           1       0       4     0 | 1   0 | 1
    off-topic   another true fact about the person        0       1       4       0       1

complex is 1 where two facts are asked; verbose is 0 where one word was asked for. The fields `expected_answer`,
`kind` and `quality` are the ground truth beside the published columns. A guess is right in 1 of 8.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from cookbook_lib.data.converters.helpsteer2 import marked_prompt, prompt_turns
from cookbook_lib.data.truth import PARTS

NEIGHBOURS = (
    *("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gwen", "Hugo"),
    *("Iris", "Jack", "Kate", "Leo", "Mina", "Noah", "Olive", "Paul"),
)
VISITORS = ("Rosa", "Sam", "Tess", "Umar", "Vera", "Will", "Yara", "Zoe")
OPENINGS = ("", "", "Hello! ", "Quick question: ", "I am new here. ", "Please tell me: ")
CLOSINGS = ("", "", " Thank you.", " A sentence will do.")
ONE_WORD = " One word is enough."
EMPTY_BEFORE = ("I am glad that you asked.", "That is a very good question.", "Let me think about it for a moment.")
EMPTY_AFTER = ("Please ask me again any time.", "I hope that this is of help to you.", "There is so much more to say.")


@dataclass(frozen=True)
class Attribute:
    """A kind of fact: its values, how it is stated, asked for and checked. {n} is a name, {v} a value."""

    values: tuple[str, ...]
    statement: str
    questions: tuple[str, ...]
    check: str


ATTRIBUTES = {
    "pet": Attribute(
        ("owl", "fox", "hen", "cat", "goat", "duck", "hare", "newt"),
        "{n} keeps a pet {v}.",
        ("What pet does {n} keep?", "Which animal lives with {n}?", "What is the pet of {n}?"),
        "Does {n} keep a pet {v}?",
    ),
    "door": Attribute(
        ("red", "teal", "plum", "gold", "grey", "pink", "navy", "lime"),
        "The door of {n} is {v}.",
        ("What colour is the door of {n}?", "Which colour did {n} paint the door?", "How is the door of {n} painted?"),
        "Is the door of {n} {v}?",
    ),
    "trade": Attribute(
        ("baker", "tailor", "potter", "miller", "painter", "smith", "weaver", "sailor"),
        "{n} works as a {v}.",
        ("What is the trade of {n}?", "What does {n} do for a living?", "Which work does {n} do?"),
        "Does {n} work as a {v}?",
    ),
    "instrument": Attribute(
        ("flute", "drum", "harp", "fiddle", "horn", "lute", "bell", "banjo"),
        "{n} plays the {v}.",
        ("Which instrument does {n} play?", "What does {n} play in the band?", "What can {n} play?"),
        "Does {n} play the {v}?",
    ),
}

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


@dataclass(frozen=True)
class Question:
    """A prompt and its truth: the facts (name, attribute, value) that an exact response states."""

    kind: str
    prompt: str
    facts: tuple[tuple[str, str, str], ...]
    verdict: str = ""
    one_word: bool = False

    @property
    def answer(self) -> str:
        """What a right response must state; several parts are joined by PARTS."""
        values = [value for _, _, value in self.facts]
        return PARTS.join([self.verdict.lower(), *values] if self.verdict else values)


@cache
def facts_of_the_lane() -> dict[tuple[str, str], str]:
    """(neighbour, attribute) -> value; each value belongs to two neighbours, so that no guess beats 1 in 8."""
    draw = random.Random("Larkspur Lane")
    facts = {}
    for name, attribute in ATTRIBUTES.items():
        values = list(attribute.values * 2)
        draw.shuffle(values)
        facts.update({(neighbour, name): value for neighbour, value in zip(NEIGHBOURS, values, strict=True)})
    return facts


def embedded_rows(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """n rows in HelpSteer2's schema, rows 2i and 2i+1 answering one prompt; the same for the same seed."""
    draw = random.Random(f"rows {seed}")
    for index in range((n + 1) // 2):
        question = draw.choice(tuple(KINDS.values()))(draw)
        qualities = _two_qualities(draw, question)
        for quality in qualities[: n - 2 * index]:
            yield _row(draw, question, quality)


def embedded_texts(n: int = 4000, seed: int = 0) -> Iterator[str]:
    """Texts of the world for training a tokenizer: prompts without turn marks, and responses."""
    for row in embedded_rows(n, seed):
        yield from (turn["content"] for turn in prompt_turns(row["prompt"]))
        yield row["response"]


# --------------------------------------------------------------------------------------------------------- questions


def _recall(draw: random.Random) -> Question:
    return _asked(draw, "recall", _fact(draw))


def _reading(draw: random.Random) -> Question:
    attribute = draw.choice(tuple(ATTRIBUTES))
    names = draw.sample(VISITORS, draw.choice((2, 3)))
    values = draw.sample(ATTRIBUTES[attribute].values, len(names))
    facts = [(name, attribute, value) for name, value in zip(names, values, strict=True)]
    story = " ".join(map(_statement, facts)) + " "
    return _asked(draw, "reading", draw.choice(facts), story)


def _check(draw: random.Random) -> Question:
    fact = name, attribute, value = _fact(draw)
    claimed = value if draw.random() < 0.5 else draw.choice(ATTRIBUTES[attribute].values)
    prompt = draw.choice(OPENINGS) + ATTRIBUTES[attribute].check.format(n=name, v=claimed)
    return Question("check", prompt, (fact,), verdict="Yes" if claimed == value else "No")


def _both(draw: random.Random) -> Question:
    name, asked = draw.choice(NEIGHBOURS), draw.sample(tuple(ATTRIBUTES), 2)
    facts = tuple((name, attribute, facts_of_the_lane()[name, attribute]) for attribute in asked)
    first, second = (draw.choice(ATTRIBUTES[attribute].questions).format(n=name) for _, attribute, _ in facts)
    return Question("both", f"{draw.choice(OPENINGS)}{first} {second}{draw.choice(CLOSINGS)}", facts)


def _follow_up(draw: random.Random) -> Question:
    before = first, attribute, _ = _fact(draw)
    name = draw.choice([neighbour for neighbour in NEIGHBOURS if neighbour != first])
    opening = draw.choice(OPENINGS) + draw.choice(ATTRIBUTES[attribute].questions).format(n=first)
    prompt = marked_prompt([opening, _statement(before), f"And {name}?"])
    return Question("follow-up", prompt, ((name, attribute, facts_of_the_lane()[name, attribute]),))


KINDS: dict[str, Callable[[random.Random], Question]] = {
    "recall": _recall,
    "reading": _reading,
    "check": _check,
    "both": _both,
    "follow-up": _follow_up,
}


def _asked(draw: random.Random, kind: str, fact: tuple[str, str, str], story: str = "") -> Question:
    name, attribute, _ = fact
    one_word = draw.random() < 0.2
    closing = ONE_WORD if one_word else draw.choice(CLOSINGS)
    question = draw.choice(ATTRIBUTES[attribute].questions).format(n=name)
    return Question(kind, f"{draw.choice(OPENINGS)}{story}{question}{closing}", (fact,), one_word=one_word)


def _fact(draw: random.Random) -> tuple[str, str, str]:
    name, attribute = draw.choice(NEIGHBOURS), draw.choice(tuple(ATTRIBUTES))
    return name, attribute, facts_of_the_lane()[name, attribute]


def _statement(fact: tuple[str, str, str]) -> str:
    name, attribute, value = fact
    return ATTRIBUTES[attribute].statement.format(n=name, v=value)


# --------------------------------------------------------------------------------------------------------- responses


def _two_qualities(draw: random.Random, question: Question) -> list[str]:
    possible = [quality for quality in FREQUENCY if quality != "partly" or len(question.facts) > 1]
    first = draw.choices(possible, [FREQUENCY[quality] for quality in possible])[0]
    possible.remove(first)
    return [first, draw.choices(possible, [FREQUENCY[quality] for quality in possible])[0]]


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
    said = " ".join(map(_statement, question.facts))
    return f"{question.verdict}. {said}" if question.verdict else said


def _padded(draw: random.Random, question: Question) -> str:
    return f"{draw.choice(EMPTY_BEFORE)} {_exact(draw, question)} {draw.choice(EMPTY_AFTER)}"


def _garbled(draw: random.Random, question: Question) -> str:
    words = " ".join(map(_statement, question.facts)).split()
    return " ".join(draw.sample(words, len(words)))


def _partly(draw: random.Random, question: Question) -> str:
    right, wrong = question.facts
    said = [right, _other(draw, wrong)] if draw.random() < 0.5 else [_other(draw, right), wrong]
    return " ".join(map(_statement, said))


def _wrong(draw: random.Random, question: Question) -> str:
    facts = tuple(_other(draw, fact) for fact in question.facts)
    verdict = {"Yes": "No", "No": "Yes", "": ""}[question.verdict]
    return _exact(draw, Question(question.kind, question.prompt, facts, verdict, question.one_word))


def _off_topic(draw: random.Random, question: Question) -> str:
    name = question.facts[0][0] if question.facts[0][0] in NEIGHBOURS else draw.choice(NEIGHBOURS)
    asked = {attribute for _, attribute, _ in question.facts}
    attribute = draw.choice([attribute for attribute in ATTRIBUTES if attribute not in asked])
    return _statement((name, attribute, facts_of_the_lane()[name, attribute]))


def _other(draw: random.Random, fact: tuple[str, str, str]) -> tuple[str, str, str]:
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
