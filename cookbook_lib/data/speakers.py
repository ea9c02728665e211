r"""Who speaks at each token: for the pictures, which show whose turn it is and what the template wrote around the words.

    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n
    [ user + FRAME ][us][user+FRAME][ assistant + FRAME  ][assistant    ][asF]

What stands before a text belongs to its message, and after it the closing (of a question: what ends one, <|im_end|> here;
of an answer, which ends with its own end-of-turn token: white space).
"""

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.data.answers import Texts
from cookbook_lib.data.text_tokens import TextTokens

ROLES = ("template", "system", "user", "assistant", "tool")
FRAME = 8  # added to a role: not the message's own text, but the template's around it


def speakers(roles: list[str], text: str, places: Texts, closing: str, tokens: TextTokens) -> NDArray[np.uint8]:
    """For each token a position in ROLES, plus FRAME for the template's own; (T,).

    roles: of the messages. places: message -> characters of its text (of its whole span, for an answer).
    """
    found = np.zeros(len(tokens.ids), dtype=np.uint8)
    ordered = sorted(places.items(), key=lambda place: place[1])
    limits = [start for _, (start, _) in ordered[1:]] + [len(text)]
    begin = 0
    for (m, (start, end)), limit in zip(ordered, limits, strict=True):
        role = ROLES.index(roles[m])
        until = limit if limit == len(text) else _closed(text, end, limit, "" if roles[m] == "assistant" else closing)
        found[tokens.within(begin, until)] = role + FRAME
        found[tokens.within(start, end)] = role
        begin = until
    return found


def _closed(text: str, end: int, limit: int, closing: str) -> int:
    """Where the message whose text ends at `end` is closed, before `limit`."""
    mark = closing.strip()
    place = text.find(mark, end, limit)
    if place < 0:
        return end
    after = text[place + len(mark) : limit]
    return limit - len(after.lstrip())
