"""Answers to one prompt as tokens: the beginning that they share, and what each one adds.

    What is 2+2?<|im_end|>\n<|im_start|>assistant\n | 4.<|im_end|>\n          shared: the longest common beginning of
                                                     | Five.<|im_end|>\n       all answers' renderings, token by token

Each answer is rendered and tokenised as a whole conversation, exactly as plain transformers would; what is shared is found
afterwards, so sharing never changes a token. Computing it once is a saving that `CandidateSet.shared` turns on or off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.encoding import Files, Rows, encode_rows
from cookbook_lib.data.fingerprint import fingerprint
from cookbook_lib.data.masking import encode, encoder_for
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord, ScoredResponse
from cookbook_lib.data.token_set import Block, TokenSet

COLUMNS: dict[str, type] = {"ids.i32": np.int32, "parts.i32": np.int32, "targets.f32": np.float32}
TooLong = Literal["turns", "drop", "error"]
Record = TypeVar("Record", bound=RewardRecord)
ALL = 1 << 30


@dataclass(frozen=True)
class Candidates:
    """One row: k answers and what is known of them."""

    shared: NDArray[np.int32]  # (P,): what all answers begin with; empty where nothing is shared
    rests: tuple[NDArray[np.int32], ...]  # k of (L_i,), each at least one token
    targets: NDArray[np.float32]  # pairs: (margin or 0, share of the preference that `chosen` has: 1, or 1/2 of a tie)
    # scores: (A,), NaN where an attribute is not known


@dataclass(frozen=True)
class CandidateSet:
    """Rows of candidates on disk, opened and never loaded whole; `sharing` says whether beginnings are shared."""

    tokens: TokenSet
    sharing: bool = True
    parts: NDArray[np.int32] = field(init=False, repr=False)  # (n, 1 + k): tokens shared, and of each rest
    targets: NDArray[np.float32] = field(init=False, repr=False)  # (n, A)

    def __post_init__(self) -> None:
        _, parts, targets = self.tokens.columns
        rows = len(self.tokens)
        object.__setattr__(self, "parts", np.asarray(parts).reshape(rows, -1))
        object.__setattr__(self, "targets", np.asarray(targets).reshape(rows, -1))

    @staticmethod
    def open(folder: Path) -> "CandidateSet":
        """Raises CookbookError when the folder's files do not fit together."""
        return CandidateSet(TokenSet.open(folder, COLUMNS))

    def shared(self, on: bool) -> "CandidateSet":
        """The same rows, their beginnings computed once, or once for each answer."""
        return replace(self, sharing=on)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, i: int) -> Candidates:
        row = range(len(self))[i]  # an IndexError beyond the last, and -1 is the last
        start, parts = self.tokens.offsets[row], self.parts[row]
        ids = np.array(self.tokens.columns[0][start : start + parts.sum()])
        shared, *rests = np.split(ids, np.cumsum(parts)[:-1])
        if not self.sharing:
            shared, rests = shared[:0], [np.concatenate([shared, rest]) for rest in rests]
        return Candidates(shared, tuple(rests), self.targets[row])

    @property
    def answers(self) -> int:
        """Answers in a row: 2 for pairs, 1 for scored responses."""
        return self.parts.shape[1] - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens that each row computes, (n,)."""
        times = np.array([1 if self.sharing else self.answers, *[1] * self.answers])
        return (self.parts.astype(np.int64) * times).sum(1)

    @cached_property
    def document_lengths(self) -> NDArray[np.int64]:
        """Tokens of each answer with its prompt, (n, k)."""
        return self.parts[:, :1].astype(np.int64) + self.parts[:, 1:]

    @cached_property
    def squares(self) -> NDArray[np.int64]:
        """Twice the token pairs that attend in each row, (n,): L^2 of every document, a shared beginning's counted once."""
        whole = (self.document_lengths**2).sum(1)
        again = self.parts[:, 0].astype(np.int64) ** 2 * (self.answers - 1)
        return whole - again if self.sharing else whole

    @property
    def share_saved(self) -> float:
        """Share of all tokens that need not be computed when beginnings are shared."""
        return float(1 - self.parts.sum(dtype=np.int64) / self.document_lengths.sum())

    @property
    def largest_id(self) -> int:
        return self.tokens.largest_id

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return self.tokens.dropped

    @property
    def fingerprint(self) -> str:
        return self.tokens.fingerprint

    def report(self) -> str:
        """What was kept, what was dropped, why, and where the first of each kind are."""
        what = "pairs" if self.answers == 2 else "responses"
        tokens = int(self.document_lengths.sum())
        shared = f", {self.share_saved:.1%} of them shared beginnings" if self.answers > 1 else ""
        lines = [f"{len(self):,} {what}, {tokens:,} tokens{shared}"]
        for reason, entry in self.tokens.meta["dropped"].items():
            lines += [f"{entry['count']:,} dropped: {reason}"] + [f"    {sentence}" for sentence in entry["first"]]
        return "\n".join(lines)


def tokenize_pairs(
    source: Files | Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    too_long: TooLong = "turns",
    prompt_key: str = "prompt",
    chosen_key: str = "chosen",
    rejected_key: str = "rejected",
    limit: int = -1,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
) -> CandidateSet:
    """Tokenise pairs, or open what an earlier call with the same made. Answer 0 is the chosen one.

    max_length: tokens of a prompt with either answer. too_long: "turns" drops the prompt's oldest turns, for both answers
    alike, "drop" leaves the pair out, "error" stops; an answer is never cut. Further options as in tokenized.tokenize.
    Raises CookbookError when no pair is left, or, with "error", at the first that is too long.
    """
    from cookbook_lib.data.reward.files import read_pairs

    keys = {"prompt_key": prompt_key, "chosen_key": chosen_key, "rejected_key": rejected_key}
    rows = Rows.of(source, "pair", PreferencePair, read_pairs, limit, **keys)
    return _tokenize(rows, EncodeCandidates(tokenizer, max_length, too_long), cache_dir, workers, progress)


def tokenize_scores(
    source: Files | Sequence[ScoredResponse],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    attributes: Sequence[str] = ("score",),
    too_long: TooLong = "turns",
    prompt_key: str = "prompt",
    response_key: str = "response",
    limit: int = -1,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
) -> CandidateSet:
    """Tokenise scored responses; see tokenize_pairs. The targets of a row are its scores in the order of `attributes`."""
    from cookbook_lib.data.reward.files import read_scores

    keys = {"prompt_key": prompt_key, "response_key": response_key, "attributes": tuple(attributes)}
    rows = Rows.of(source, "scored response", ScoredResponse, read_scores, limit, **keys)
    work = EncodeCandidates(tokenizer, max_length, too_long, tuple(attributes))
    return _tokenize(rows, work, cache_dir, workers, progress)


def _tokenize(
    rows: Rows, work: "EncodeCandidates", cache_dir: str | Path, workers: int, progress: Callable[[int], object] | None
) -> CandidateSet:
    if work.too_long not in get_args(TooLong):
        raise CookbookError(f"data.truncation is {work.too_long!r}; for answers that are judged it must be "
                            f"one of {', '.join(get_args(TooLong))}: an answer is never cut.")  # fmt: skip
    encoder_for(work.tokenizer).require_usable()  # before any work
    options = {name: value for name, value in vars(work).items() if name != "tokenizer"} | {"kind": rows.kind}
    folder = Path(cache_dir).expanduser() / fingerprint(work.tokenizer, options, rows.digest)
    encode_rows(rows, work, folder, COLUMNS, workers=workers, progress=progress, **options)
    return CandidateSet.open(folder)


@dataclass(frozen=True)
class EncodeCandidates:
    """A chunk of pairs or scored responses -> a Block."""

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    too_long: TooLong = "turns"
    attributes: tuple[str, ...] = ()

    def __call__(self, chunk: list[Any]) -> Block:
        rows, dropped = [], []
        for record in chunk:
            try:
                candidates = self.encode(record)
            except RowRefused as refusal:
                if refusal.reason == "too_long" and self.too_long == "error":
                    raise
                dropped.append((refusal.reason, str(refusal)))
                continue
            parts = np.array([len(part) for part in (candidates.shared, *candidates.rests)], np.int32)
            rows.append((np.concatenate([candidates.shared, *candidates.rests]), parts, candidates.targets))
        return Block.of(rows, COLUMNS, sum(len(row[0]) for row in rows), dropped)

    def encode(self, record: RewardRecord) -> Candidates:
        """Raises RowRefused, with the place, where the record cannot be learned from as it stands."""
        _, documents = self._read(record)
        targets = np.array(self._targets(record), np.float32)
        if len(documents) == 1:
            return Candidates(documents[0][:0], (documents[0],), targets)
        shared = common_beginning(documents)
        rests = tuple(document[shared:] for document in documents)
        return Candidates(documents[0][:shared], rests, targets)

    def shortened(self, record: Record) -> Record:
        """The record under the prompt that `encode` leaves of it, so that others read what training reads. Raises RowRefused
        as `encode` does. The record's group stays that of the whole prompt."""
        prompt, _ = self._read(record)
        return record if prompt == record.prompt else replace(record, prompt=prompt)

    def _read(self, record: RewardRecord) -> tuple[tuple[Message, ...], list[NDArray[np.int32]]]:
        """What is left of the prompt, and each answer's conversation behind it."""
        if np.isnan(self._targets(record)).all():
            found = f"the response has no {' and no '.join(self.attributes)}"
            raise RowRefused("no_score", found, "name the attributes that it has", record.origin)
        answers = (record.chosen, record.rejected) if isinstance(record, PreferencePair) else (record.response,)
        prompt, documents = self._fitting(record.prompt, answers, record.origin)
        if len(documents) == 2 and np.array_equal(
            documents[0], documents[1]
        ):  # of templates that strip, when a space is all the difference
            found = "the two answers are the same tokens under this chat template"
            raise RowRefused("same_answers", found, "drop the pair", record.origin)
        return prompt, documents

    def _targets(self, record: RewardRecord) -> list[float]:
        if isinstance(record, PreferencePair):
            return [record.margin or 0.0, 0.5 if record.tie else 1.0]
        return [record.scores.get(name, np.nan) for name in self.attributes]

    def _fitting(
        self, prompt: tuple[Message, ...], answers: tuple[str, ...], origin: Origin | None
    ) -> tuple[tuple[Message, ...], list[NDArray[np.int32]]]:
        """The prompt without as many of its oldest turns as it takes, and each answer's conversation behind it."""
        documents = self._documents(prompt, answers, origin)
        while (longest := max(map(len, documents))) > self.max_length:
            shorter = without_oldest_turn(prompt) if self.too_long == "turns" else None
            if shorter is None:
                raise _refused(longest, self.max_length, self.too_long, origin)
            prompt = shorter
            documents = self._documents(prompt, answers, origin)
        return prompt, documents

    def _documents(
        self, prompt: tuple[Message, ...], answers: tuple[str, ...], origin: Origin | None
    ) -> list[NDArray[np.int32]]:
        whole = [Conversation((*prompt, {"role": "assistant", "content": answer}), origin=origin) for answer in answers]
        return [
            encode(
                conversation, self.tokenizer, max_length=ALL, truncation="error", train_on="last_assistant"
            ).input_ids
            for conversation in whole
        ]


def without_oldest_turn(prompt: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The prompt less its first question and what followed until the next one, system message kept; None if only one is left."""
    asked = [i for i, message in enumerate(prompt) if message["role"] == "user"]
    return None if len(asked) < 2 else (*prompt[: asked[0]], *prompt[asked[1] :])


def common_beginning(documents: Sequence[NDArray[np.int32]]) -> int:
    """Tokens that all documents begin with, at least one of each document's own left over."""
    width = min(map(len, documents)) - 1
    alike = np.all([document[:width] == documents[0][:width] for document in documents[1:]], axis=0)
    return int(width if alike.all() else np.argmin(alike))


def _refused(found: int, max_length: int, policy: TooLong, origin: Origin | None) -> RowRefused:
    why = {
        "turns": "and its last turn alone does not fit",
        "drop": "and truncation is drop",
        "error": "and truncation is error",
    }[policy]
    sentence = f"the prompt with its longest answer has {found:,} tokens, max_length is {max_length:,}, {why}"
    return RowRefused("too_long", sentence, "raise data.max_length", origin)
