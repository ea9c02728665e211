r"""From a conversation to token ids and, for each token, how much the loss wants it: the one place that decides.

    text      <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n
    weights   0            0   0 0 0         0 0           0        0 1    1         0

The weight of a token is its weight AS A TARGET; nothing is shifted here (packing shifts). Learned is what the model
must generate: the answer and its end-of-turn token. Not learned: the header, an empty thinking block that the template
puts in, the newline after the end of turn.

Which messages are learned is said in loss_weights.py, what becomes of long ones in truncation.py. A row for which a check
fails is refused: whole, with the reason (refusals.py), never repaired in silence.
"""

from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.encoder import Encoder
from cookbook_lib.data.example import Example as Example
from cookbook_lib.data.loss_weights import TrainOn as TrainOn
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Renderer
from cookbook_lib.data.templates import own_template
from cookbook_lib.data.truncation import Truncation


def encode(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncation: Truncation = "right",
    train_on: TrainOn = "assistant",
) -> Example:
    """Token ids and loss weights of a conversation of at most max_length tokens, by the tokenizer's chat template.

    Raises RowRefused, with file, row, reason and fix, when the row cannot be learned from exactly as it stands;
    CookbookError when no row could, because of the tokenizer or an option.
    """
    encoder = encoder_for(tokenizer)
    try:
        return encoder.encode(conversation, max_length, truncation, train_on)
    except RowRefused as refusal:
        raise refusal.at(conversation.origin) from None


def encoder_for(tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """The encoder of a tokenizer with its chat template; taken apart once, and again when either changes."""
    return _encoder(tokenizer, own_template(tokenizer), len(tokenizer), str(tokenizer.special_tokens_map))


@lru_cache(maxsize=4)
def _encoder(tokenizer: PreTrainedTokenizerBase, template: str, vocabulary: int, special: str) -> Encoder:
    return Encoder(tokenizer, Renderer(tokenizer, template))
