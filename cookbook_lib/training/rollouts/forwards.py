"""Which completions go through the model together: balanced forwards, the same number on every rank.

group    | prompt | a | b | c | d |          a group of more tokens than a forward may have is cut between completions:
parts    | prompt | a | b |                  each part repeats the prompt, and nothing else changes, for what is learned
         | prompt | c | d |                  from is a number a token or a completion by now

Groups of a step fewer than ranks, or not many more, leave some ranks with little to do, or nothing: the costliest are cut too.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from cookbook_lib.data.completions import CompletionBatch, Group, pack_completions, pad_completions
from cookbook_lib.data.loader import Load
from cookbook_lib.data.packing import balance

Part = tuple[int, tuple[int, ...]]  # (place of a group in a list, which of its completions)
Divided = list[list[list[Part]]]  # [rank][forward]
EVEN = 1.1  # the slowest rank's work over the mean up to which groups stay as they are
FINER = (1, 1.5, 2, 3, 4)  # parts for each rank, of which beyond it the best number is looked for


@dataclass(frozen=True)
class Forwards:
    """How a list of groups is divided.

    ranks: data-parallel groups. max_tokens of one forward; max_rows: of the padded form, completions. quadratic: as in
    data.packing.balance. share: compute a prompt once for its completions (packed only).
    """

    ranks: int
    max_tokens: int
    max_rows: int | None = None
    quadratic: float = 0.0
    padded: bool = False
    share: bool = True
    multiple: int = 1
    pad_id: int = 0

    def divide(self, groups: Sequence[Group]) -> Divided:
        """[rank][forward] -> parts of groups. Where the slowest rank would have over a tenth more than the mean, into as many more
        parts as leave it the least, the prompts that they repeat counted."""
        parts = [(place, some) for place, group in enumerate(groups) for some in self.parts(group)]
        divided = self._balanced(groups, parts)
        work = self._work(groups, divided)
        if max(work) * self.ranks <= EVEN * sum(work):
            return divided
        finer = [self._balanced(groups, self._cut(groups, parts, round(many * self.ranks))) for many in FINER]
        return min([divided, *finer], key=lambda one: max(self._work(groups, one)))

    def parts(self, group: Group) -> list[tuple[int, ...]]:
        """Its completions, in the fewest runs of which each fits behind its prompt into one forward."""
        if self.padded or not self.share:
            return [(i,) for i in range(len(group.completions))]
        runs: list[list[int]] = []
        room = 0
        for i, length in enumerate(group.lengths):
            if length > room or not runs:
                runs.append([])
                room = self.max_tokens - len(group.prompt)
            runs[-1].append(i)
            room -= length
        return [tuple(run) for run in runs]

    def batch(self, groups: Sequence[Group], parts: Sequence[Part]) -> CompletionBatch:
        """The tensors of one forward, possibly of no part at all."""
        make = pad_completions if self.padded else pack_completions
        chosen = [groups[place].take(some) for place, some in parts]
        return make(chosen, pad_id=self.pad_id, multiple=self.multiple, like=groups[0])

    def load(self, groups: Sequence[Group], parts: Sequence[Part]) -> Load:
        """What the forward of `batch` computes."""
        lengths = [groups[place].take(some).tokens for place, some in parts]
        width, count = (max(lengths, default=1), max(len(parts), 1)) if self.padded else (max(sum(lengths), 1), 1)
        positions = -(-width // self.multiple) * self.multiple * count
        return Load(sum(lengths), positions, sum(self._cost(groups, part) for part in parts))

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _balanced(self, groups: Sequence[Group], parts: Sequence[Part]) -> Divided:
        cut = [groups[place].take(some) for place, some in parts]
        divided = balance(
            [part.tokens for part in cut], self.ranks, max_tokens=self.max_tokens,
            max_rows=self.max_rows if self.padded else None, quadratic=self.quadratic, squares=[part.squares for part in cut],
        )  # fmt: skip
        return [[[parts[i] for i in forward] for forward in rank] for rank in divided]

    def _work(self, groups: Sequence[Group], divided: Divided) -> list[float]:
        """Cost of each rank's parts."""
        return [sum(self._cost(groups, part) for forward in rank for part in forward) for rank in divided]

    def _cost(self, groups: Sequence[Group], part: Part) -> float:
        place, some = part
        cut = groups[place].take(some)
        return cut.tokens + self.quadratic * cut.squares

    def _cut(self, groups: Sequence[Group], parts: Sequence[Part], count: int) -> list[Part]:
        """At least `count` parts, where there are as many completions: of these, the costliest in two, again and again."""

        def ordered(part: Part) -> tuple[float, Part]:
            return (-self._cost(groups, part) if len(part[1]) > 1 else 0.0), part

        heap = [ordered(part) for part in parts]
        heapq.heapify(heap)
        while len(heap) < count and heap[0][0] < 0:
            place, some = heap[0][1]
            longest_first = sorted(some, key=lambda i: (-groups[place].lengths[i], i))
            one, other = (ordered((place, tuple(sorted(longest_first[k::2])))) for k in (0, 1))
            heapq.heapreplace(heap, one)
            heapq.heappush(heap, other)
        return sorted(part for _, part in heap)
