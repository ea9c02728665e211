"""Counting letters: questions that any model can be asked, and whose answers are counted and not known.

    How many o are there in c-o-o-k-b-o-o-k?     c no; o 1; o 2; k no; b no; o 3; o 4; k no. So it is \\boxed{4}.

The letters are drawn, not looked up, so nobody has seen the words; the count is drawn first, so that every one is as likely
as any other that its word has room for. The form is that of verl's recipe of this name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Any

SHORTEST, LONGEST = 3, 8


def char_count_rows(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """n rows {word, letter}; the same for the same seed."""
    draw = random.Random(f"letters {seed}")
    for _ in range(n):
        length, letter = draw.randint(SHORTEST, LONGEST), draw.choice(ascii_lowercase)
        count = draw.randint(0, length)
        others = draw.choices(ascii_lowercase.replace(letter, ""), k=length - count)
        yield {"word": "".join(draw.sample([letter] * count + others, length)), "letter": letter}
