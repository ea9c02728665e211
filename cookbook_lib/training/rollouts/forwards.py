"""Which completions go through the model together: balanced forwards, the same number on every rank.

group    | prompt | a | b | c | d |          a group of more tokens than a forward may have is cut between completions:
parts    | prompt | a | b |                  each part repeats the prompt, and nothing else changes, for what is learned
         | prompt | c | d |                  from is a number a token or a completion by now
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cookbook_lib.data.completions import CompletionBatch, Group, pack_completions, pad_completions
from cookbook_lib.data.packing import balance

Part = tuple[int, tuple[int, ...]]  # (place of a group in a list, which of its completions)


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

    def divide(self, groups: Sequence[Group]) -> list[list[list[Part]]]:
        """[rank][forward] -> parts of groups."""
        parts = [(place, some) for place, group in enumerate(groups) for some in self.parts(group)]
        cut = [groups[place].take(some) for place, some in parts]
        divided = balance(
            [part.tokens for part in cut], self.ranks, max_tokens=self.max_tokens,
            max_rows=self.max_rows if self.padded else None, quadratic=self.quadratic, squares=[part.squares for part in cut],
        )  # fmt: skip
        return [[[parts[i] for i in forward] for forward in rank] for rank in divided]

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
