"""Word n-grams of known texts, found again in others: how much of a known text does a new one repeat?

    known   what are the three laws of motion and who wrote them down        11 words, 4 n-grams of 8
    new     tell me : what are the three laws of motion and who ? thanks
                      └──── two n-grams, 9 words ─────────┘                  share 9 / 11

share = words of the known text that lie in a common n-gram / words that lie in any n-gram. N-grams that more than
COMMON known texts have in common are their template ("think step by step ...") and do not count on either side.

Memory is that of the known texts alone: 24 bytes a word, and their vocabulary. A lookup is exact: hashes find the
n-grams, and the words behind them are compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

COMMON = 10  # as in GPT-3's: n-grams that appear more often say nothing of where a text is from
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a word is lost
EAST_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # written without spaces: each character is a word
WORD = re.compile(rf"[{EAST_ASIAN}]|[^\W{EAST_ASIAN}]+|[+/=<>^%]")
TURN = "\n"  # between messages, a word of its own


def words_of(*texts: str) -> list[str]:
    """The words of messages, in lower case, without punctuation except for what changes a formula."""
    found: list[str] = []
    for text in texts:
        found += [TURN] if found else []
        found += WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found


class WordOverlap:
    """An index of known texts, each a list of words; `best` says which of them a new text repeats."""

    def __init__(self, known: Iterable[Sequence[str]], length: int) -> None:
        self.length = length
        self._vocabulary: dict[str, int] = {}
        ids = [self._learned(words) for words in known]
        ends = np.cumsum([0, *map(len, ids)])
        self._words = np.concatenate(ids) if ids else np.zeros(0, np.int32)
        self._text = np.repeat(np.arange(len(ids), dtype=np.int32), np.diff(ends))
        self._hashes, self._positions = self._distinctive(self._within_a_text())
        self._countable = self._covered(self._positions, len(ids))

    def best(self, words: Sequence[str]) -> tuple[int, float] | None:
        """The known text that these words repeat most, by share, and that share; None if no n-gram is common to both."""
        positions = self._found(words)
        if not len(positions):
            return None
        shares = self._covered(positions, len(self._countable)) / np.maximum(self._countable, 1)
        best = int(np.argmax(shares))
        return best, float(shares[best])

    def _learned(self, words: Sequence[str]) -> NDArray[np.int32]:
        vocabulary = self._vocabulary
        return np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], dtype=np.int32)

    def _within_a_text(self) -> NDArray[np.int64]:
        """Where n-grams begin that end in the text in which they began."""
        count = max(len(self._words) - self.length + 1, 0)
        return np.flatnonzero(self._text[:count] == self._text[self.length - 1 :])

    def _distinctive(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes in order, and where their n-grams begin; without n-grams that more than COMMON texts have."""
        hashes = self._hashed(self._words)[positions]
        order = np.argsort(hashes, kind="stable")  # of one n-gram, its texts stay in order
        hashes, positions = hashes[order], positions[order]
        another = np.diff(hashes, prepend=~hashes[:1]) != 0
        in_another_text = another | (np.diff(self._text[positions], prepend=-1) != 0)
        gram = np.cumsum(another) - 1
        keep = np.bincount(gram, weights=in_another_text)[gram] <= COMMON
        return hashes[keep], positions[keep]

    def _hashed(self, ids: NDArray[np.int32]) -> NDArray[np.uint64]:
        """One number for the n-gram that begins at each word."""
        count = max(len(ids) - self.length + 1, 0)
        result = np.zeros(count, dtype=np.uint64)
        for offset in range(self.length):
            result = result * FACTOR + (ids[offset : offset + count].astype(np.uint64) + np.uint64(1))
        return result

    def _found(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Where in the known texts the n-grams of these words stand."""
        ids = np.array([self._vocabulary.get(word, -1) for word in words], dtype=np.int32)
        hashes, first = np.unique(self._hashed(ids), return_index=True)
        left, right = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        times = right - left
        if not times.any():
            return np.zeros(0, dtype=np.int64)
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        positions = self._positions[np.repeat(left, times) + within]
        window = np.arange(self.length)
        same = self._words[positions[:, None] + window] == ids[np.repeat(first, times)[:, None] + window]
        return positions[same.all(axis=1)]

    def _covered(self, positions: NDArray[np.int64], texts: int) -> NDArray[np.int64]:
        """Words of each known text that lie in the n-grams that begin at these positions."""
        covered = np.unique(positions[:, None] + np.arange(self.length))
        return np.bincount(self._text[covered], minlength=texts)
