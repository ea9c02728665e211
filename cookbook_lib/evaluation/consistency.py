"""Does a judge contradict itself? What it says of pairs of answers to one prompt, put together.

    symmetry        (i, j) and (j, i) get the same winner
    transitivity    of three answers all compared:  i ≥ j and j ≥ k  imply  i ≥ k      (≥: wins or ties)
    cycles          i > j > ... > i: a strongly connected component, of two answers or more, of the graph of wins
                    (Tarjan 1972, by networkx)

      a ──▶ b          {a, b, c} is one component: no score could put them in an order,
      ▲     │          so no scalar reward model can learn these verdicts.
      └─ c ◀┘          d, which only loses, is none.

Where a pair was compared several times (both ways round, several samples) the majority counts. A judge that scores is
consistent by construction; one that compares need not be. A pair of which one order has no verdict is not symmetric; elsewhere
verdicts of None are left out, and counted.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import networkx

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.intervals import share_by_group
from cookbook_lib.evaluation.measure import Measure, counted, joined, undefined

SIGN = {"A": 1, "tie": 0, "B": -1}


@dataclass(frozen=True)
class Comparison:
    """One verdict: of `first` (shown first, place A) and `second`, answers to the prompt `group`."""

    group: Hashable
    first: Hashable
    second: Hashable
    verdict: str | None


@dataclass(frozen=True)
class Conflict:
    """Answers to one prompt that cannot be put in an order: `kind` cycle, or tie (i ≥ j ≥ k, and yet k > i)."""

    group: Hashable
    kind: str
    answers: tuple[Hashable, ...]

    def __str__(self) -> str:
        return " > ".join(map(str, [*self.answers, self.answers[0]])) if self.kind == "cycle" else self._tied()

    def _tied(self) -> str:
        i, j, k = self.answers
        return f"{i} ≥ {j} ≥ {k}, and yet {k} > {i}"


@dataclass(frozen=True)
class Consistency:
    """Shares over pairs, triples and prompts, and every conflict: the offending triples, and cycles that no triple shows."""

    symmetric: Measure  # of pairs asked both ways round
    transitive: Measure  # of triples whose three pairs were compared
    ordered: Measure  # of prompts whose wins have no cycle
    conflicts: tuple[Conflict, ...]

    def measures(self) -> dict[str, Measure]:
        """Name -> figure."""
        return {
            "same winner both ways round": self.symmetric,
            "triples that are transitive": self.transitive,
            "prompts without a cycle": self.ordered,
        }

    def conflict_rows(self) -> list[dict[str, Any]]:
        """Plain rows: prompt, kind, answers, said."""
        return [{"prompt": c.group, "kind": c.kind, "answers": list(c.answers), "said": str(c)} for c in self.conflicts]


Relation = dict[tuple[Hashable, Hashable], int]  # (i, j) -> 1 where i beats j, 0 tie, -1; with its mirror image


def consistency(comparisons: Iterable[Comparison], *, seed: int = 0) -> Consistency:
    """Raises CookbookError for a verdict that is none, or an answer compared with itself."""
    votes: dict[Hashable, dict[tuple[Hashable, Hashable], int]] = defaultdict(lambda: defaultdict(int))
    asked: dict[Hashable, dict[tuple[Hashable, Hashable], None]] = defaultdict(dict)  # a set that keeps its order
    missing = 0
    for comparison in comparisons:
        _check(comparison)
        asked[comparison.group][comparison.first, comparison.second] = None
        if comparison.verdict is None:
            missing += 1
        else:
            votes[comparison.group][comparison.first, comparison.second] += SIGN[comparison.verdict]
    note = counted(missing, "verdict is missing", "verdicts are missing")
    symmetric = [(group, same) for group, pairs in asked.items() for same in _mirrored(pairs, votes.get(group, {}))]
    relations = {group: _majority(cast) for group, cast in votes.items()}
    triples = [(group, *found) for group, relation in relations.items() for found in _triples(relation)]
    cycles = {group: _cycles(relation) for group, relation in relations.items()}
    return Consistency(
        _share([same for _, same in symmetric], [g for g, _ in symmetric], "no pair was asked both ways round", note, seed),
        _share([c is None for _, _, c in triples], [g for g, _, _ in triples], "no three answers were all compared", note, seed),
        _share([not found for found in cycles.values()], list(cycles), "nothing was compared", note, seed),
        tuple(_conflicts(triples, cycles)),
    )  # fmt: skip


def _check(comparison: Comparison) -> None:
    if comparison.verdict is not None and comparison.verdict not in SIGN:
        raise CookbookError(f'{comparison.verdict!r} is no verdict: say "A", "B", "tie" or None.')
    if comparison.first == comparison.second:
        raise CookbookError(f"prompt {comparison.group!r} compares answer {comparison.first!r} with itself: name two.")


def _share(yes: Sequence[bool], groups: list[Hashable], nothing: str, note: str, seed: int) -> Measure:
    if not yes:
        return undefined(joined(nothing, note))
    return Measure(share_by_group(yes, groups, seed=seed), len(yes), note)


def _majority(cast: dict[tuple[Hashable, Hashable], int]) -> Relation:
    """Who wins each pair, all votes for both orders together."""
    total: Relation = defaultdict(int)
    for (first, second), votes in cast.items():
        total[first, second] += votes
        total[second, first] -= votes
    return {pair: (votes > 0) - (votes < 0) for pair, votes in total.items()}


def _mirrored(asked: Iterable[tuple[Hashable, Hashable]], cast: dict[tuple[Hashable, Hashable], int]) -> list[bool]:
    """For each pair asked both ways round, whether the winner is the same; it is not where one order has no verdict."""
    sign = {pair: (votes > 0) - (votes < 0) for pair, votes in cast.items()}
    known = set(asked)
    both = dict.fromkeys(frozenset(pair) for pair in asked if pair[::-1] in known)
    return [(i, j) in sign and (j, i) in sign and sign[i, j] == -sign[j, i] for i, j in both]


def _triples(relation: Relation) -> list[tuple[tuple[Hashable, ...], str | None]]:
    """Every triple whose pairs were all compared, with its kind of conflict or None; in conflict, ordered as it reads."""
    answers = list(dict.fromkeys(i for i, _ in relation))
    whole = [t for t in combinations(answers, 3) if all(pair in relation for pair in combinations(t, 2))]
    return [_judged(relation, triple) for triple in whole]


def _judged(relation: Relation, triple: tuple[Hashable, ...]) -> tuple[tuple[Hashable, ...], str | None]:
    orders = list(permutations(triple))
    for i, j, k in orders:
        if relation[i, j] == relation[j, k] == relation[k, i] == 1:
            return (i, j, k), "cycle"
    for i, j, k in orders:
        if relation[i, j] >= 0 and relation[j, k] >= 0 and relation[k, i] == 1:
            return (i, j, k), "tie"
    return triple, None


def _cycles(relation: Relation) -> list[tuple[Hashable, ...]]:
    """A shortest cycle of each strongly connected component of the wins."""
    wins = networkx.DiGraph([pair for pair, sign in relation.items() if sign == 1])
    parts = [part for part in networkx.strongly_connected_components(wins) if len(part) > 1]
    return [_shortest_cycle(wins.subgraph(part)) for part in parts]


def _shortest_cycle(wins: Any) -> tuple[Hashable, ...]:
    ways = (networkx.shortest_path(wins, loser, winner) for winner, loser in wins.edges)
    return min(map(tuple, ways), key=len)


def _conflicts(
    triples: list[tuple[Hashable, tuple[Hashable, ...], str | None]],
    cycles: dict[Hashable, list[tuple[Hashable, ...]]],
) -> Iterable[Conflict]:
    """The offending triples, and longer cycles (where not all pairs were compared, or some tie)."""
    for group, answers, kind in triples:
        if kind is not None:
            yield Conflict(group, kind, answers)
    for group, found in cycles.items():
        yield from (Conflict(group, "cycle", cycle) for cycle in found if len(cycle) > 3)
