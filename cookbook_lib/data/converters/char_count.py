"""Words and letters to be counted in them -> a question, and an answer that counts aloud (data/char_count.py)."""

from __future__ import annotations

from typing import Any

from cookbook_lib.data.converters.fields import text_field
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.records import Conversation, chat, group_of


@register_converter("char_count", about="word, letter: how often the one stands in the other")
def from_word(row: dict[str, Any], options: Options) -> Conversation:
    """One word -> one conversation whose `answer` is the count."""
    word, letter = text_field(row, "word"), text_field(row, "letter")
    if len(letter) != 1 or not word or not word.isprintable():
        refuse("letter", (word, letter), "one letter is counted in one word", "correct the row")
    question = f"How many {letter} are there in {'-'.join(word)}?"
    answer = str(word.count(letter))
    return chat(question, _counted(word, letter), group=group_of(question), source="char_count", answer=answer)


def _counted(word: str, letter: str) -> str:
    """The word letter by letter, with the count so far at each that is meant."""
    found, said = 0, []
    for each in word:
        found += each == letter
        said.append(f"{each} {found if each == letter else 'no'}")
    return f"{'; '.join(said)}. So it is \\boxed{{{found}}}."
