"""How good a model of the embedded world can be at best, so that its figures can be read beside their ceiling.

    validation loss    sum of least_nats / supervised tokens     which of the right answers the data gives is chance
    exact answers      1                                         every question has an answer, and the data knows it
    pairs in order     ceiling.best_accuracy                     1, but for ties and a pair in some ten thousand

Of other data nobody knows: None.
"""

from collections.abc import Sequence

from cookbook_lib.data.records import Conversation
from cookbook_lib.data.reward.ceiling import best_accuracy
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.synthetic import least_nats

EMBEDDED = "embedded"


def least_loss(conversations: Sequence[Conversation], supervised: float) -> float | None:
    """Nats per token of a model that knows Larkspur Lane by heart, on these validation rows with `supervised` tokens."""
    if not conversations or not all(is_embedded(one) for one in conversations):
        return None
    nats = sum(
        least_nats(one.messages[-1]["content"], both=(one.source or "").endswith("/both")) for one in conversations
    )
    return nats / supervised


def best_order(pairs: Sequence[PreferencePair]) -> float | None:
    """The highest accuracy that a judge can be expected to have on these pairs."""
    return best_accuracy(pairs) if pairs and all(is_embedded(pair) for pair in pairs) else None


def is_embedded(record: Conversation | PreferencePair) -> bool:
    """Whether a record is of the embedded world: its source has one of the world's kinds."""
    from cookbook_lib.data.larkspur import KINDS

    return (record.source or "").rpartition("/")[2] in KINDS
