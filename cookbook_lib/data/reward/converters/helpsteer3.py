"""HelpSteer3 (nvidia/HelpSteer3, preference): context, two responses, overall_preference from -3 to 3.

The context is a list of messages, a text in older copies. A negative preference is for response1, 0 is a tie, and the size
is the margin. Copies in circulation map a tie to response1 twice, which teaches nothing: a tie is a tie here.
"""

from __future__ import annotations

from typing import Any

from cookbook_lib.data.converters.comparisons import comparison_of
from cookbook_lib.data.origin import MISSING, refuse
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import Kind, RewardOptions, register_reward_converter, user_turn
from cookbook_lib.data.spellings import normalise


@register_reward_converter("helpsteer3", about="context, response1, response2, overall_preference -3..3")
def from_helpsteer3(row: dict[str, Any], kind: Kind, options: RewardOptions) -> PreferencePair:
    """One comparison -> one pair, of the source helpsteer3/<domain>."""
    context = row.get("context", MISSING)
    if not isinstance(context, str | list):
        refuse("context", context, "it is a list of messages, or text", "name the source that fits the file")
    prompt = user_turn(context) if isinstance(context, str) else normalise(context)
    pair = comparison_of(row)
    chosen, rejected = (pair.first, pair.second) if pair.strength <= 0 else (pair.second, pair.first)
    source = f"helpsteer3/{row['domain']}" if row.get("domain") else "helpsteer3"
    return PreferencePair(prompt, chosen, rejected, float(abs(pair.strength)), pair.strength == 0, source=source)
