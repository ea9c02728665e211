"""Every conversation of a source tokenised and masked, once.

    files ─▶ conversations ─▶ encode (masking.py), in parallel and in order (encoding.py) ─▶ <cache>/<fingerprint>/ ─▶ TokenSet

The fingerprint covers what the tokens depend on: the bytes of the files (or the conversations), tokenizer, template,
options and the code of this room.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.encoding import Files, Rows, encode_rows
from cookbook_lib.data.fingerprint import fingerprint
from cookbook_lib.data.masking import TrainOn, encode, encoder_for
from cookbook_lib.data.records import Conversation, read_conversations
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.token_set import COLUMNS, Block, TokenSet
from cookbook_lib.data.truncation import Truncation


@dataclass(frozen=True)
class Options:
    """What `encode` is told about every row."""

    max_length: int
    truncation: Truncation
    train_on: TrainOn


@dataclass(frozen=True)
class Encode:
    """A chunk of conversations -> a Block. Pickled once for each process."""

    tokenizer: PreTrainedTokenizerBase
    options: Options

    def __call__(self, chunk: list[Conversation]) -> Block:
        examples, dropped = [], []
        for conversation in chunk:
            try:
                examples.append(encode(conversation, self.tokenizer, **asdict(self.options)))
            except RowRefused as refusal:
                if refusal.reason == "too_long" and self.options.truncation == "error":
                    raise
                dropped.append((refusal.reason, str(refusal)))
        rows = [(example.input_ids, example.weights, example.roles) for example in examples]
        return Block.of(rows, COLUMNS, sum(int(np.count_nonzero(row[1])) for row in rows), dropped)


def tokenize(
    source: Files | Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | Path,
    truncation: Truncation = "right",
    train_on: TrainOn = "assistant",
    messages_key: str = "messages",
    tools_key: str | None = None,
    limit: int = -1,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
) -> TokenSet:
    """Tokenise files (or conversations), or open what an earlier call with the same made; see `encode` for the options.

    limit: only this many conversations, -1 = all. workers: processes, 0 = one per core. progress: called with the number
    of rows just done; `tqdm(unit=" rows").update` fits. Rows left out are in the set's `dropped` and `report()`.
    Raises CookbookError when no row is left, or, with truncation "error", at the first that is too long.
    """
    encoder_for(tokenizer).require_usable()  # before any work
    options = Options(max_length, truncation, train_on)
    keys = {"messages_key": messages_key, "tools_key": tools_key}
    rows = Rows.of(source, "conversation", Conversation, read_conversations, limit, **keys)
    folder = Path(cache_dir).expanduser() / fingerprint(tokenizer, asdict(options), rows.digest)
    encode_rows(
        rows, Encode(tokenizer, options), folder, COLUMNS, workers=workers, progress=progress, **asdict(options)
    )
    return TokenSet.open(folder)
