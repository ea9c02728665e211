"""The reward sources that the project knows by name: which converter reads them, and where they are on the hub.

Importing this module registers them and all converters. A source of your own, in a file that --loader runs:

    @register_reward_source("tickets", converter="preferences")
    def tickets(limit, seed):
        for ticket in my_database():
            yield {"prompt": ticket.question, "chosen": ticket.good, "rejected": ticket.bad}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cookbook_lib.data.catalog import EMBEDDED_ROWS, HELPSTEER2_PARTS
from cookbook_lib.data.reward import converters as converters
from cookbook_lib.data.sources import Generator, Source
from cookbook_lib.data.synthetic import embedded_rows

OASST = "OpenAssistant/oasst1/2023-04-12_oasst_ready.trees.jsonl.gz"

PUBLISHED = (
    Source(
        "helpsteer2",
        "helpsteer2",
        "prompt, response, five scores 0-4; pairs of both responses",
        "nvidia/HelpSteer2",
        parts=HELPSTEER2_PARTS,
    ),
    Source(
        "helpsteer2-preference",
        "helpsteer2-preference",
        "the same prompts, responses compared by people, -3..3",
        "nvidia/HelpSteer2/preference/preference.jsonl.gz",
        parts=HELPSTEER2_PARTS,
        part="preference",
    ),
    Source(
        "helpsteer3",
        "helpsteer3",
        "context, two responses, preference -3..3",
        "nvidia/HelpSteer3#preference",
        parts=("preference", "feedback", "edit", "edit_quality"),
        part="preference",
    ),
    Source("ultrafeedback", "ultrafeedback", "four rated completions; binarized files, too", "openbmb/UltraFeedback"),
    Source("hh", "hh", "chosen and rejected flat dialogues", "Anthropic/hh-rlhf"),
    Source("gsm8k", "gsm8k", "model solutions of school mathematics: correct over wrong; --input"),
    Source("oasst", "oasst", "Open Assistant's trees of ranked replies", OASST),
    Source("preferences", "preferences", "prompt, chosen, rejected in the usual layouts; --input"),
    Source("kto", "kto", "answers marked as good or bad; --input"),
    Source("openjudge", "openjudge", "OpenJudge and RM-Gallery: JSON pairs, or input and output with labels; --input"),
    Source("label_studio", "label_studio", "Label Studio's JSON export, several annotators; --input"),
)

REWARD_SOURCES: dict[str, Source] = {source.name: source for source in PUBLISHED}


def register_reward_source(name: str, *, converter: str, about: str = "") -> Callable[[Generator], Generator]:
    """Decorator: the function takes (limit, seed) and yields the rows (dicts) that the reward converter understands."""

    def register(generate: Generator) -> Generator:
        REWARD_SOURCES[name] = Source(name, converter, about or (generate.__doc__ or "").strip(), generate=generate)
        return generate

    return register


@register_reward_source("embedded", converter="helpsteer2", about="a small procedural world whose truth is known")
def embedded(limit: int, seed: int) -> Iterable[dict[str, Any]]:
    """Rows of Larkspur Lane (synthetic.py)."""
    return embedded_rows(EMBEDDED_ROWS if limit < 0 else limit, seed)
