"""Which documents are computed behind one shared beginning, and which of these families share a forward.

    documents in lexical order       families                    forwards, longest first, of at most max_tokens
    What is 2+2? | Four.             What is 2+2? + 2 rests      | What is 2+2? | Four. | Five. | Who ... |
    What is 2+2? | Five.             Who ...                     | ...
    Who ...

In lexical order, documents that begin alike are neighbours, so families are runs; the runs are chosen (dynamic programming)
so that as few tokens as possible are computed. Nothing here knows what a prompt is: equal beginnings are equal tokens.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.data.reward.candidates import Candidates, common_beginning

Ids = NDArray[np.int32]
SHORTEST_SHARED = 16  # tokens: a template's first header, which all documents share, is not worth a segment
LARGEST_FAMILY = 64  # documents: bounds the search, and what is lost when one of several hundred is longer
NO_TARGETS = np.zeros(0, np.float32)


def families(documents: Sequence[Ids], max_tokens: int, *, sharing: bool = True) -> list[list[int]]:
    """Numbers of the documents, divided into families, each of which computes at most max_tokens (or is one document)."""
    order = sorted(range(len(documents)), key=lambda i: documents[i].tobytes())
    if not sharing:
        return [[i] for i in order]
    lengths = [len(documents[i]) for i in order]
    alike = [_alike(documents[order[n]], documents[order[n + 1]]) for n in range(len(order) - 1)]
    saved, begins = [0] * (len(order) + 1), list(range(-1, len(order)))
    for end in range(1, len(order) + 1):
        for begin, gain in _runs(end, lengths, alike, max_tokens):
            if saved[begin] + gain > saved[end] or begin == end - 1:
                saved[end], begins[end] = saved[begin] + gain, begin
    found, end = [], len(order)
    while end:
        found.append([order[n] for n in range(begins[end], end)])
        end = begins[end]
    return found[::-1]


def _runs(end: int, lengths: list[int], alike: list[int], max_tokens: int) -> Iterator[tuple[int, int]]:
    """(begin, tokens saved) of the runs that end before `end`, the single document first."""
    yield end - 1, 0
    total, shared = lengths[end - 1], lengths[end - 1]
    for begin in range(end - 2, max(end - 1 - LARGEST_FAMILY, -1), -1):
        total, shared = total + lengths[begin], min(shared, alike[begin])
        gain = shared * (end - begin - 1)
        if shared < SHORTEST_SHARED or total - gain > max_tokens:
            return
        yield begin, gain


def _alike(one: Ids, other: Ids) -> int:
    return common_beginning([one, other])


def family(documents: Sequence[Ids]) -> Candidates:
    """Documents as what they begin with and the rest of each."""
    shared = common_beginning(documents) if len(documents) > 1 else 0
    return Candidates(documents[0][:shared], tuple(document[shared:] for document in documents), NO_TARGETS)


def forwards(costs: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Numbers of items of these costs, divided so that each group costs at most max_tokens (or is one item), longest first."""
    made: list[list[int]] = []
    room = 0
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        if not made or costs[i] > room:
            made.append([])
            room = max_tokens
        made[-1].append(i)
        room -= costs[i]
    return made
