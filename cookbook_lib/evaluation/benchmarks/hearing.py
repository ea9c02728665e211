"""Asking a judge about many items: each distinct request once, in batches that the judge can pack, with progress.

    items ─▶ scores of every answer     ─▶ Heard(outcomes from scores, scores)       a ScoreJudge, or a benchmark of ratings
          └▶ duels, in the order shown  ─▶ Heard(outcomes from verdicts, None)       any other judge

An outcome is the chosen answer's: "win", "tie", "loss", or None where the judge's answer could not be read.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks.items import Item, Slot
from cookbook_lib.evaluation.judges import Judge, ScoreJudge, answered, chance, key_of, verdict_of

AT_ONCE = 512  # requests in one call of the judge: enough to pack, few enough for a progress bar to move

Outcome = Literal["win", "tie", "loss"] | None
Progress = Callable[[int, int], object]  # requests answered, of how many
K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


@dataclass(frozen=True)
class Duel:
    """chosen[i] against rejected[j], the chosen one shown as A or as B."""

    i: int
    j: int
    chosen_is: Slot


@dataclass(frozen=True)
class Scores:
    """A judge's scores of an item's answers, in the item's order."""

    chosen: tuple[float | None, ...]
    rejected: tuple[float | None, ...]


@dataclass(frozen=True)
class Heard:
    """What a judge said of one item: an outcome per duel, and the scores where it was asked for those."""

    outcomes: tuple[Outcome, ...]
    scores: Scores | None


@dataclass(frozen=True)
class Hearing:
    """All that a judge said: by item, and how many distinct requests it answered and failed to answer readably."""

    heard: tuple[Heard, ...]
    asked: int
    unparsed: int


def hear_scores(
    judge: Judge, items: Sequence[Item], duels: Sequence[Sequence[Duel]], progress: Progress | None
) -> Hearing:
    """Score every distinct conversation once; outcomes follow from the scores."""
    shown = [[answered(item.prompt, text) for text in (*item.chosen, *item.rejected)] for item in items]
    requests = {key_of(conversation): conversation for row in shown for conversation in row}
    found = _ask(requests, lambda part: _checked_scores(judge, part), progress)
    heard = []
    for item, row, games in zip(items, shown, duels, strict=True):
        values = [found[key_of(conversation)] for conversation in row]
        scores = Scores(tuple(values[: len(item.chosen)]), tuple(values[len(item.chosen) :]))
        heard.append(Heard(tuple(_by_score(scores, duel) for duel in games), scores))
    return Hearing(tuple(heard), len(found), sum(value is None for value in found.values()))


def hear_duels(
    judge: Judge, items: Sequence[Item], duels: Sequence[Sequence[Duel]], progress: Progress | None
) -> Hearing:
    """Hold every distinct duel once, in the order in which it shows its answers."""
    games = [
        [(key_of(item.prompt), *_shown(item, duel)) for duel in row] for item, row in zip(items, duels, strict=True)
    ]
    requests = {game: item.prompt for item, row in zip(items, games, strict=True) for game in row}
    triples = {game: (prompt, game[1], game[2]) for game, prompt in requests.items()}
    found = _ask(triples, lambda part: _checked_verdicts(judge, part), progress)
    heard = [
        Heard(tuple(_of_chosen(found[game], duel.chosen_is) for game, duel in zip(row, held, strict=True)), None)
        for row, held in zip(games, duels, strict=True)
    ]
    return Hearing(tuple(heard), len(found), sum(verdict is None for verdict in found.values()))


def compares_by_score(judge: Judge) -> bool:
    """Whether one score per answer says all that the judge has to say."""
    return isinstance(judge, ScoreJudge)


def same_both_ways(judge: Judge) -> bool:
    """Whether a verdict is the same in both orders by construction: by scores, or because a judge asks in both itself."""
    return compares_by_score(judge) or getattr(judge, "order", "shown") == "both"


def coin(seed: int, item: Item, i: int = 0, j: int = 0) -> Slot:
    """Where to show the chosen answer: at random, and the same whenever this item is asked with this seed."""
    return "A" if chance(seed, item.part, item.id, i, j) < 0.5 else "B"


def _ask(requests: dict[K, Any], ask: Callable[[list[Any]], list[A]], progress: Progress | None) -> dict[K, A]:
    keys = list(requests)
    found: dict[K, A] = {}
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        found.update(zip(part, ask([requests[key] for key in part]), strict=True))
        if progress is not None:
            progress(len(found), len(keys))
    return found


def _checked_scores(judge: Judge, conversations: list[Any]) -> list[float | None]:
    scores = list(judge.score(conversations))
    _check_count(judge, len(scores), len(conversations), "scores")
    for score in scores:
        if score is not None and not math.isfinite(score):
            raise CookbookError(
                f"judge {judge.name} gave the score {score}; a score is finite, or None where unreadable."
            )
    return scores


def _checked_verdicts(judge: Judge, triples: list[Any]) -> list[Any]:
    prompts, a, b = (list(column) for column in zip(*triples, strict=True))
    verdicts = list(judge.compare(prompts, a, b))
    _check_count(judge, len(verdicts), len(triples), "verdicts")
    for verdict in verdicts:
        if verdict not in ("A", "B", "tie", None):
            raise CookbookError(f"judge {judge.name} gave the verdict {verdict!r}; it is A, B, tie or None.")
    return verdicts


def _check_count(judge: Judge, found: int, asked: int, what: str) -> None:
    if found != asked:
        fix = "it must give one for each, None where unreadable"
        raise CookbookError(f"judge {judge.name}, asked for {asked} {what}, gave {found}; {fix}.")


def _shown(item: Item, duel: Duel) -> tuple[str, str]:
    chosen, rejected = item.chosen[duel.i], item.rejected[duel.j]
    return (chosen, rejected) if duel.chosen_is == "A" else (rejected, chosen)


def _by_score(scores: Scores, duel: Duel) -> Outcome:
    return _of_chosen(verdict_of(scores.chosen[duel.i], scores.rejected[duel.j]), "A")


def _of_chosen(verdict: str | None, chosen_is: Slot) -> Outcome:
    if verdict is None or verdict == "tie":
        return verdict  # type: ignore[return-value]  # narrowed to "tie"
    return "win" if verdict == chosen_is else "loss"
