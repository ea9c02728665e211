"""The sources that the project knows by name: which converter reads them, and where they are on the hub.

Importing this module registers them. `hub` is `name[#config]` or `name/file`, read when there is no --input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cookbook_lib.data import converters as converters
from cookbook_lib.data.char_count import char_count_rows
from cookbook_lib.data.sources import SOURCES as SOURCES
from cookbook_lib.data.sources import Source, register_source
from cookbook_lib.data.synthetic import embedded_rows, hasty_rows

EMBEDDED_ROWS = 8000

SHAREGPT = "anon8231489123/ShareGPT_Vicuna_unfiltered/ShareGPT_V3_unfiltered_cleaned_split.json"

# Beside the scored responses: comparisons by people, and scores in lists, one of each annotator.
HELPSTEER2_PARTS = ("preference", "disagreements")

PUBLISHED = (
    Source("sharegpt", "sharegpt", "conversations of {from, value}", SHAREGPT),
    Source("alpaca", "alpaca", "instruction, input, output | response", "tatsu-lab/alpaca"),
    Source("openai", "openai", "messages of {role, content, tool_calls, ...}"),
    Source(
        "helpsteer2",
        "helpsteer2",
        "prompt, response, five scores; SFT keeps the correct",
        "nvidia/HelpSteer2",
        parts=HELPSTEER2_PARTS,
    ),
    Source(
        "judge",
        "judge",
        "verdicts with critiques, from scored or compared responses",
        "nvidia/HelpSteer2",
        parts=HELPSTEER2_PARTS,
    ),
    Source("gym", "gym", "NeMo Gym rollouts with rewards"),
    Source("gsm8k", "gsm8k", "grade-school mathematics with worked answers", "openai/gsm8k#main"),
)

SOURCES.update({source.name: source for source in PUBLISHED})


@register_source("embedded", converter="helpsteer2", about="a small procedural world in HelpSteer2's schema")
def embedded(limit: int, seed: int) -> Iterable[dict[str, Any]]:
    """Rows of Larkspur Lane (synthetic.py)."""
    return embedded_rows(EMBEDDED_ROWS if limit < 0 else limit, seed)


@register_source(
    "embedded-hasty", converter="judge", about="the same, scored by annotators who overlook faults of form"
)
def embedded_hasty(limit: int, seed: int) -> Iterable[dict[str, Any]]:
    """Rows of Larkspur Lane whose scores are often wrong in a known way (synthetic.py)."""
    return hasty_rows(EMBEDDED_ROWS if limit < 0 else limit, seed)


@register_source("char_count", converter="char_count", about="how often a letter stands in a made-up word; made here")
def char_count(limit: int, seed: int) -> Iterable[dict[str, Any]]:
    """Questions whose answers can be counted (char_count.py)."""
    return char_count_rows(EMBEDDED_ROWS if limit < 0 else limit, seed)
