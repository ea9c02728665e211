"""Larkspur Lane: sixteen neighbours, what is true of them, and the questions one can ask.

    recall     What pet does Ada keep?                                    known only from training
    reading    Rosa plays the harp. Sam plays the horn. What does Sam...  stated in the prompt, by visitors
    check      Does Ada keep an owl?                                      yes or no, and the fact
    both       two questions at once                                      can be answered half right
    follow-up  ...<extra_id_1>User\\nAnd Ben?                              the turn before says about what

Each neighbour has a pet, a door, a trade and an instrument: 64 facts, the same whatever the seed. Each attribute has eight
values, and each value belongs to two neighbours, so a guess is right in 1 of 8.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cookbook_lib.data.converters.helpsteer2 import marked_prompt
from cookbook_lib.data.truth import PARTS

Fact = tuple[str, str, str]
"""(name, attribute, value)"""

NEIGHBOURS = (
    *("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gwen", "Hugo"),
    *("Iris", "Jack", "Kate", "Leo", "Mina", "Noah", "Olive", "Paul"),
)
VISITORS = ("Rosa", "Sam", "Tess", "Umar", "Vera", "Will", "Yara", "Zoe")
OPENINGS = ("", "", "Hello! ", "Quick question: ", "I am new here. ", "Please tell me: ")
CLOSINGS = ("", "", " Thank you.", " A sentence will do.")
ONE_WORD = " One word is enough."


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


@dataclass(frozen=True)
class Question:
    """A prompt and its truth: the facts (name, attribute, value) that an exact response states."""

    kind: str
    prompt: str
    facts: tuple[Fact, ...]
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


def _recall(draw: random.Random) -> Question:
    return _asked(draw, "recall", _fact(draw))


def _reading(draw: random.Random) -> Question:
    attribute = draw.choice(tuple(ATTRIBUTES))
    names = draw.sample(VISITORS, draw.choice((2, 3)))
    values = draw.sample(ATTRIBUTES[attribute].values, len(names))
    facts = [(name, attribute, value) for name, value in zip(names, values, strict=True)]
    story = " ".join(map(statement, facts)) + " "
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
    prompt = marked_prompt([opening, statement(before), f"And {name}?"])
    return Question("follow-up", prompt, ((name, attribute, facts_of_the_lane()[name, attribute]),))


KINDS: dict[str, Callable[[random.Random], Question]] = {
    "recall": _recall,
    "reading": _reading,
    "check": _check,
    "both": _both,
    "follow-up": _follow_up,
}


def _asked(draw: random.Random, kind: str, fact: Fact, story: str = "") -> Question:
    name, attribute, _ = fact
    one_word = draw.random() < 0.2
    closing = ONE_WORD if one_word else draw.choice(CLOSINGS)
    question = draw.choice(ATTRIBUTES[attribute].questions).format(n=name)
    return Question(kind, f"{draw.choice(OPENINGS)}{story}{question}{closing}", (fact,), one_word=one_word)


def _fact(draw: random.Random) -> Fact:
    name, attribute = draw.choice(NEIGHBOURS), draw.choice(tuple(ATTRIBUTES))
    return name, attribute, facts_of_the_lane()[name, attribute]


def statement(fact: Fact) -> str:
    """The sentence that states a fact."""
    name, attribute, value = fact
    return ATTRIBUTES[attribute].statement.format(n=name, v=value)
