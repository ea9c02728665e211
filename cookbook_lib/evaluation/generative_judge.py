"""A judge that explains itself: it reads a question and an answer (or two), reasons, and ends in a verdict.

    conversation ─▶ data/judge/prompts ─▶ a generator writes, `votes` times ─▶ data/judge/verdicts, strictly ─▶ score, verdict
                                                                          └▶ no verdict: None, counted, never made up

    order="shown"    compare asks (a, b) as given; benchmarks ask both ways round where their rules say so
    order="both"     compare asks (a, b) and (b, a), and what both together prefer wins: A both times is a tie

A text is drawn with a seed made of its prompt's words and the number of the vote: the same question gets the same answer in
any order and any batch (but for rounding), and a prompt that comes up again is not asked again. A text that was cut at
max_new_tokens has no verdict: its last line is not its end.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.prompts import PROMPT_VERSION, compare_prompt, scale_asked, score_prompt
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric
from cookbook_lib.data.judge.verdicts import preference_reading, score_reading
from cookbook_lib.evaluation.generators import Answers, Generator, Progress, Written
from cookbook_lib.evaluation.judges import Key, Mark, Messages, Refused, ScoreJudge, Verdict, identity, key_of, reasons
from cookbook_lib.evaluation.transcripts import Statement
from cookbook_lib.evaluation.votes import Combine, Vote, both_orders, preference_of, score_of, verdict_for

Kind = Literal["score", "preference"]
Order = Literal["shown", "both"]
Scale = tuple[int, int]  # the lowest and the highest score
WARM = 0.7  # the temperature of several votes, unless another is given
CUT = "cut at max_new_tokens"


class NoPrompt(NamedTuple):
    """What no prompt could be made of, and why."""

    about: bytes
    why: str


Asked = Messages | NoPrompt


@dataclass(frozen=True)
class Judgement:
    """What came of one prompt: a vote for each text, None where it has no verdict; why not, and how long the texts are.

    `refused` says why the prompt could not be asked at all; then there are no votes.
    """

    kind: Kind
    votes: tuple[Vote, ...]
    faults: tuple[str | None, ...] = ()
    characters: tuple[int, ...] = ()
    refused: str = ""


class Swap(NamedTuple):
    """The verdicts on (a, b) and on (b, a), and of which prompt: pairs of one prompt are not independent."""

    shown: Verdict
    swapped: Verdict
    prompt: Key


class GenerativeJudge:
    """Scores and compares by what a generator writes.

    generator: who writes. rubric: what a good answer is; a file, a Rubric, the name of one of the project's own, or None for
    its default. scale: of scores, where a prompt does not say it; None: the rubric's. votes: texts a prompt. temperature: None
    is 0, the likeliest text, for one vote and WARM for several. combine: what several scores come to. order: see above;
    `preferences` asks both in any case. keep: every text is kept in `transcript`. progress: called with the number of texts
    just finished.
    Raises CookbookError for settings that contradict each other, and for a rubric that is none.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        rubric: Rubric | str | Path | None = None,
        scale: Scale | None = None,
        name: str | None = None,
        votes: int = 1,
        temperature: float | None = None,
        combine: Combine = "mean",
        order: Order = "shown",
        seed: int = 0,
        keep: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.temperature = (0.0 if votes == 1 else WARM) if temperature is None else temperature
        _check(votes, self.temperature, combine, order, scale)
        self.generator, self.name = generator, name or generator.name
        self.rubric = rubric if isinstance(rubric, Rubric) else load_rubric(rubric)
        self.scale = scale or (self.rubric.lowest, self.rubric.highest)
        self.votes, self.combine, self.order, self.seed, self.keep = votes, combine, order, seed, keep
        self.progress = progress
        self.judgements: dict[bytes, Judgement] = {}  # all that was ever said, by prompt
        self.swaps: dict[tuple[bytes, bytes], Swap] = {}  # of pairs asked both ways round
        self.transcript: list[Statement] = []
        self.refused: list[Refused] = []  # as RewardJudge's: a prompt each time that it could not be asked
        self.notes: list[str] = []

    @property
    def about(self) -> str:
        """How it is asked."""
        drawn = f"{self.votes} votes at temperature {self.temperature:g}" if self.votes > 1 else "one text a prompt"
        return f"writes its verdicts: prompts {PROMPT_VERSION}, rubric {self.rubric.title}, {drawn}"

    @property
    def unscored(self) -> list[str]:
        """Why prompts could not be asked: a sentence each."""
        return reasons(self.refused)

    def mark(self) -> Mark:
        """How much it has said so far."""
        return Mark(len(self.judgements), len(self.swaps), len(self.transcript), len(self.refused))

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        """One score for each conversation, whose last message is the answer, on the rubric's levels."""
        asked = [_tried(score_prompt, _plain(one), self.rubric) for one in conversations]
        return [score_of(found.votes, self.combine) for found in self.ask("score", asked)]

    def compare(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Verdict]:
        """A verdict for each pair of answers, in the order shown or in both."""
        if self.order == "both":
            return [verdict_for(preference) for preference in self.preferences(prompts, a, b)]
        found = self.ask("preference", self._shown(prompts, a, b))
        return [verdict_for(preference_of(one.votes)) for one in found]

    def preferences(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[float | None]:
        """For each pair from +1 (always a) to -1 (always b), the mean of both orders; None where one could not be read."""
        return [both_orders(*half) for half in self._in_both_orders(prompts, a, b)]

    def both_ways(
        self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]
    ) -> list[tuple[Verdict, Verdict]]:
        """The verdict on each pair as (a, b) and as (b, a), as it was given: what `order="both"` puts together."""
        return [(verdict_for(one), verdict_for(two)) for one, two in self._in_both_orders(prompts, a, b)]

    def _in_both_orders(
        self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]
    ) -> list[tuple[float | None, float | None]]:
        shown, swapped = self._shown(prompts, a, b), self._shown(prompts, b, a)
        n = len(shown)
        found = self.ask("preference", [*shown, *swapped], ["ab"] * n + ["ba"] * n)
        read = [preference_of(one.votes) for one in found]
        for i, (one, two) in enumerate(zip(shown, swapped, strict=True)):
            if not isinstance(one, NoPrompt) and not isinstance(two, NoPrompt):
                key = _digest("preference", one), _digest("preference", two)
                self.swaps[key] = Swap(verdict_for(read[i]), verdict_for(read[n + i]), key_of(prompts[i]))
        return list(zip(read[:n], read[n:], strict=True))

    def ask(self, kind: Kind, prompts: Sequence[Asked], orders: Sequence[str] | None = None) -> list[Judgement]:
        """Put prompts as they are; each distinct one is asked once. orders: what the transcript says of each."""
        said = list(orders) if orders is not None else ["ab" if kind == "preference" else ""] * len(prompts)
        given = {i: one for i, one in enumerate(prompts) if not isinstance(one, NoPrompt)}
        keys = {i: _digest(kind, prompt) for i, prompt in given.items()}
        first = {key: i for i, key in reversed(keys.items()) if key not in self.judgements}
        new = sorted(first.values())
        seeds = [[_seed(self.seed, keys[i], vote) for vote in range(self.votes)] for i in new]
        asked = [given[i] for i in new]
        written = self.generator.write(asked, seeds, temperature=self.temperature, progress=self.progress)
        for i, texts in zip(new, written, strict=True):
            self.judgements[keys[i]] = self._heard(kind, given[i], said[i], texts)
        found = [
            Judgement(kind, (), refused=prompt.why) if isinstance(prompt, NoPrompt) else self.judgements[keys[i]]
            for i, prompt in enumerate(prompts)
        ]
        about = [prompt.about if isinstance(prompt, NoPrompt) else keys[i] for i, prompt in enumerate(prompts)]
        self.refused += [(what, one.refused) for what, one in zip(about, found, strict=True) if one.refused]
        return found

    def _heard(self, kind: Kind, prompt: Messages, order: str, texts: Answers) -> Judgement:
        if isinstance(texts, CookbookError):
            return Judgement(kind, (), refused=str(texts))
        scale = scale_asked(_plain(prompt)) or self.scale
        votes, faults = zip(*(_read(kind, one, scale) for one in texts), strict=True)
        if self.keep:
            self.transcript += [
                Statement(kind, tuple(_plain(prompt)), order, n, one.text, vote, fault, one.finished)
                for n, (one, vote, fault) in enumerate(zip(texts, votes, faults, strict=True))
            ]
        return Judgement(kind, votes, faults, tuple(len(one.text) for one in texts))

    def _shown(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Asked]:
        rows = zip(prompts, a, b, strict=True)
        return [_tried(compare_prompt, _plain(prompt), one, two, self.rubric) for prompt, one, two in rows]


class ScoringJudge(GenerativeJudge, ScoreJudge):
    """Compares by its scores: for a model that was trained on single answers. It never sees two of them side by side.

    Raises CookbookError for order="both", which such a judge cannot tell from one.
    """

    def __init__(self, generator: Generator, *, order: Order = "shown", **options: Any) -> None:
        if order == "both":
            raise CookbookError(
                'order is "both", but a judge that compares by scores sees one answer at a time: there is no order; leave it out.'
            )
        super().__init__(generator, order=order, **options)

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        return GenerativeJudge.score(self, conversations)

    def compare(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[Verdict]:
        return ScoreJudge.compare(self, prompts, a, b)

    def preferences(self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[float | None]:
        """+1, -1 or 0 by the scores of the two answers; None where one of them has none."""
        return [preference_of([verdict]) for verdict in self.compare(prompts, a, b)]

    def both_ways(
        self, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]
    ) -> list[tuple[Verdict, Verdict]]:
        """By the scores of the two answers, which no order changes."""
        return list(zip(self.compare(prompts, a, b), self.compare(prompts, b, a), strict=True))


def _read(kind: Kind, written: Written, scale: Scale) -> tuple[Vote, str | None]:
    """The verdict and what was in its way; scores on the scale that the prompt asks for."""
    if not written.finished:
        return None, CUT
    return preference_reading(written.text) if kind == "preference" else score_reading(written.text, *scale)


def _plain(messages: Messages) -> list[dict[str, Any]]:
    return [dict(message) for message in messages]


def _tried(make: Callable[..., Messages], *given: Any) -> Asked:
    """The prompt, or the sentence that says why there is none; the others are asked all the same."""
    try:
        return make(*given)
    except CookbookError as error:
        return NoPrompt(identity(given), str(error))


def _digest(kind: Kind, prompt: Messages) -> bytes:
    words = "\1".join([kind, *("\0".join(part) for part in key_of(prompt))])
    return hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _seed(seed: int, prompt: bytes, vote: int) -> int:
    """31 bits, which every server takes."""
    words = f"{seed} {vote} ".encode() + prompt
    return int.from_bytes(hashlib.blake2b(words, digest_size=4).digest()) & 0x7FFFFFFF


def _check(votes: int, temperature: float, combine: str, order: str, scale: Scale | None) -> None:
    if votes < 1:
        raise CookbookError(f"votes is {votes}, but a judge is asked at least once; give 1 or more.")
    if not 0 <= temperature < float("inf"):
        raise CookbookError(f"temperature is {temperature}, but it must be 0 or more; 0 takes the likeliest text.")
    if votes > 1 and not temperature:
        raise CookbookError(f"votes is {votes} at temperature 0, where all say the same; give 1, or a temperature.")
    if combine not in ("mean", "majority"):
        raise CookbookError(
            f"combine is {combine!r}, but scores come to their mean, or to what most say; write mean or majority."
        )
    if order not in ("shown", "both"):
        raise CookbookError(
            f"order is {order!r}, but a pair is asked as shown, or both ways round; write shown or both."
        )
    if scale and scale[0] >= scale[1]:
        raise CookbookError(
            f"scale is {scale}, but it goes from the lowest score up to the highest; give both, in order."
        )
