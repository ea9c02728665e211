"""How much the loss wants each message, and each token.

    train_on          learned by default
    assistant         every assistant message
    last_assistant    the last one (nothing else, whatever the messages say)
    all               every token

A message's own `train: false` or `weight` (a factor, 0 or more) goes before the default; any role may have one.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.data.contents import visible
from cookbook_lib.data.refusals import RowRefused

TrainOn = Literal["assistant", "last_assistant", "all"]


def message_weights(messages: tuple[dict, ...], train_on: TrainOn) -> tuple[float, ...]:
    """The loss weight of each message, by `train_on` and its own `train` and `weight`; some must have one."""
    if train_on not in get_args(TrainOn):
        raise CookbookError(f"data.train_on is {train_on!r}; it must be one of {', '.join(get_args(TrainOn))}.")
    answers = [m for m, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers and train_on != "all":
        raise RowRefused("no_answer", "there is no assistant message", "drop the row, or set data.train_on=all")
    if train_on == "last_assistant":
        weights = tuple(
            _own_weight(message, m == answers[-1]) * (m == answers[-1]) for m, message in enumerate(messages)
        )
    else:
        weights = tuple(_own_weight(message, train_on == "all" or m in answers) for m, message in enumerate(messages))
    if not any(weights):
        raise RowRefused("nothing_to_learn", "every message has train: false or weight 0", "drop the row")
    for m in answers:
        if weights[m] and not visible(messages[m]) and not messages[m].get("tool_calls"):
            raise RowRefused("empty_answer", f"messages[{m}] is an empty answer", "drop it, or give it train: false")
    return weights


def _own_weight(message: dict, default: bool) -> float:
    if message.get("train") is False:
        return 0.0
    weight = message.get("weight")
    return float(default or message.get("train") is True) if weight is None else float(weight)


def token_weights(
    count: int, slices: tuple[slice, ...], weights: tuple[float, ...], train_on: TrainOn
) -> NDArray[np.float32]:
    """Weights of `count` tokens as targets, from those of the messages whose tokens are in `slices`; (T,)."""
    learned = np.full(count, float(train_on == "all"), dtype=np.float32)
    for where, weight in zip(slices, weights, strict=True):
        learned[where] = weight
    learned[:1] = 0  # nothing comes before the first token, so it is nobody's target
    return learned
