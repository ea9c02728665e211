"""Counting letters: questions that any model can be asked, and whose answers are counted and not known.

    How many times does the letter o stand in c-o-o-k-b-o-o-k?     c no; o 1; o 2; k no; b no; o 3; o 4; k no.  #### 4

The letters are drawn, not looked up, so nobody has seen the words; the count is drawn first, so that every one is as likely
as any other. The worked answer walks through the word and ends as GSM8K's do: one reward checks both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Any

SHORTEST, LONGEST = 3, 8


def char_count_rows(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """n rows {question, answer}; the same for the same seed."""
    draw = random.Random(f"letters {seed}")
    for _ in range(n):
        length, letter = draw.randint(SHORTEST, LONGEST), draw.choice(ascii_lowercase)
        count = draw.randint(0, length)
        others = draw.choices(ascii_lowercase.replace(letter, ""), k=length - count)
        word = draw.sample([letter] * count + others, length)
        question = f"How many times does the letter {letter} stand in {'-'.join(word)}?"
        yield {"question": question, "answer": f"{_counted(word, letter)}\n#### {count}"}


def _counted(word: list[str], letter: str) -> str:
    """The word letter by letter, with the count so far at each that is meant."""
    found, said = 0, []
    for each in word:
        found += each == letter
        said.append(f"{each} {found if each == letter else 'no'}")
    return "; ".join(said) + "."
