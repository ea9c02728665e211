"""Pairs and scores in parquet, as their columns are named everywhere else.

    pairs     prompt · chosen · rejected · margin (or null) · tie                · source · group · origin
    scores    prompt · response · score · one column for each further attribute  · source · group · origin

`prompt` is text when every prompt of the data set is one question, else a list of {role, content}; which of the two is
known when the last record has been written. Prompts with more than role and content (tool calls, names) are kept in a
further column `prompt_json`, which reading prefers: parquet would merge the schemas of different calls.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.parquet import FORMAT_KEY, RecordWriter
from cookbook_lib.data.reward.records import PreferencePair, RewardRecord

TEXT = pa.string()
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))
PROMPT = [("prompt", MESSAGES), ("prompt_json", TEXT)]
LABELS = [("source", TEXT), ("group", TEXT), ("origin", TEXT)]
PAIRS = pa.schema(
    [*PROMPT, ("chosen", TEXT), ("rejected", TEXT), ("margin", pa.float64()), ("tie", pa.bool_()), *LABELS],
    metadata={FORMAT_KEY: b"pairs"},
)
SCORES = pa.schema(
    [*PROMPT, ("response", TEXT), ("scores", pa.map_(TEXT, pa.float64())), *LABELS],
    metadata={FORMAT_KEY: b"scores"},
)


class RewardWriter(RecordWriter[RewardRecord]):
    """Writes records of one kind, and finds out what their columns must be."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self.questions_only = True  # every prompt so far is one user message
        self.plain = True  # every message so far has role and content alone
        self.attributes: dict[str, None] = {}  # in the order in which they came

    def row_of(self, record: RewardRecord) -> dict[str, Any]:
        row: dict[str, Any] = {"prompt": record.prompt, "source": record.source, "group": record.group}
        row["origin"] = str(record.origin) if record.origin else None
        if isinstance(record, PreferencePair):
            answers = {"chosen": record.chosen, "rejected": record.rejected}
            row |= {"margin": record.margin, "tie": record.tie}
        else:
            answers = {"response": record.response}
            row |= {"scores": list(record.scores.items())}
            self.attributes |= dict.fromkeys(record.scores)
        for name, text in answers.items():
            _check_encodes(name, text)
        return row | answers | {"prompt_json": self._seen(record.prompt)}

    def _seen(self, prompt: tuple[Message, ...]) -> str | None:
        """Note what this prompt asks of the column; its JSON where the column cannot hold it."""
        plain = all(message.keys() == {"role", "content"} for message in prompt)
        self.questions_only &= plain and len(prompt) == 1 and prompt[0]["role"] == "user"
        self.plain &= plain
        return None if plain else json.dumps(prompt, ensure_ascii=False)

    def finished(self, table: pa.Table) -> pa.Table:
        if self.questions_only:
            question = pc.struct_field(pc.list_flatten(table["prompt"]), "content")
            table = table.set_column(0, "prompt", question)
        if self.plain:
            table = table.drop_columns(["prompt_json"])
        return _with_columns(table, self.attributes) if "scores" in table.column_names else table


def pair_writer(path: Path) -> RewardWriter:
    """A writer of preference pairs."""
    return RewardWriter(path, PAIRS)


def score_writer(path: Path) -> RewardWriter:
    """A writer of scored responses."""
    return RewardWriter(path, SCORES)


def _with_columns(table: pa.Table, attributes: dict[str, None]) -> pa.Table:
    """One column of numbers for each attribute, `score` first, where the map of scores stood."""
    at, scores = table.column_names.index("scores"), table["scores"]
    table = table.remove_column(at)
    for place, name in enumerate(sorted(attributes, key=lambda name: name != "score"), start=at):
        table = table.add_column(place, name, pc.map_lookup(scores, name, "first"))
    return table


def _check_encodes(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = text[error.start : error.end]
        refuse(field, found, "half a surrogate pair is no character", "mend the text's encoding")
