r"""The tokens from which an answer is generated: a conversation through its chat template, up to the answer's header.

    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n│ here generation begins, and it ends at one of `stop_ids`

Tokenised as masking.py tokenises what is learned: text cannot forge control tokens.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data import messages as schema
from cookbook_lib.data.masking import encoder_for
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.rendering import for_template
from cookbook_lib.data.scaffold import without_open_thinking
from cookbook_lib.data.spellings import normalise


def prompt_ids(
    messages: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[dict[str, Any]] | None = None,
    *,
    thinking: bool = False,
) -> list[int]:
    """Token ids (T,) of messages that the assistant is to answer.

    thinking: the prompt as the template gives it where thinking is enabled (`enable_thinking`), after which a thinking model
    thinks. False: what training put before an answer without thinking, for some templates an empty block, <think></think>;
    for the others it is the same.
    Raises RowError for messages that break the schema, RowRefused where the template objects to them, CookbookError for a
    tokenizer or template that cannot be used at all.
    """
    given = normalise(messages)
    schema.check(given)
    if given[-1]["role"] == "assistant":
        refuse(
            f"messages[{len(given) - 1}].role", "assistant", "a model answers a user or a tool", "leave the answer out"
        )
    encoder = encoder_for(tokenizer)
    own, described = for_template(given), list(tools) if tools else None
    protected = encoder.protection.forged([own, described])
    if protected:
        own, described = encoder.protection.put(own), encoder.protection.put(described)
    text = encoder.render(own, described, prompt=True, thinking=thinking)
    if not thinking:
        text = without_open_thinking(text) + (encoder.scaffold.lead if "<think>" in encoder.scaffold.lead else "")
    return encoder.tokens(text, protected).ids.tolist()


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer in this tokenizer's chat template."""
    return set(encoder_for(tokenizer).stop_ids)
