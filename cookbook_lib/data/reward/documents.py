r"""What a reward model reads: a whole conversation, answer included, as tokens.

    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n        scored at its last token

Rendered and tokenised as answers are for training (candidates.py), so that a score means the same in both. Models of others
may have a template that training would refuse, or none at all:

    template, understood       control tokens in the texts are spelled in letters, as in training
    template, not understood   `apply_chat_template` as it is                                         (said in `note`)
    no template                tokenizer(question, answer), the pair of cross-encoders: one turn only  (said in `note`)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data import messages as schema
from cookbook_lib.data.masking import encoder_for
from cookbook_lib.data.origin import refuse
from cookbook_lib.data.rendering import for_template
from cookbook_lib.data.spellings import normalise, normalise_tools

Ids = NDArray[np.int32]
PAIR = "the tokenizer has no chat template: a question and its answer are read as a pair of texts"


class DocumentReader:
    """Conversations -> token ids (T,). Raises RowError or RowRefused, without a place, for one that cannot be read."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.note: str | None = None
        self._read = self._as_trained
        if not tokenizer.chat_template:
            self._read, self.note = self._as_pair, PAIR
            return
        try:
            encoder_for(tokenizer).require_usable()
        except CookbookError as problem:
            self._read = self._by_template
            self.note = f"chat template used as it is, control tokens in texts included ({problem})"

    def __call__(self, messages: Sequence[Any], tools: Sequence[Any] | None = None) -> Ids:
        """messages: {role, content}, the last one the assistant's."""
        given = normalise(messages)
        schema.check(given)
        last = given[-1]
        if last["role"] != "assistant":
            rule, fix = "what is scored is the assistant's answer", "end the conversation with it"
            refuse(f"messages[{len(given) - 1}].role", last["role"], rule, fix)
        return self._read(given, normalise_tools(tools))

    def text(self, text: str) -> Ids:
        """Text that somebody has rendered already: tokens of the template become tokens."""
        schema.check([{"role": "user", "content": text}])
        own = getattr(self.tokenizer, "bos_token", None)
        special = not (own and text.startswith(own))  # a rendered conversation that begins with it has its own
        return np.array(self.tokenizer(text, add_special_tokens=special, verbose=False).input_ids, np.int32)

    def _as_trained(self, messages: tuple[dict, ...], tools: tuple[dict, ...] | None) -> Ids:
        encoder = encoder_for(self.tokenizer)
        chat, protected = encoder.rendered(messages, tools)
        return encoder.tokens(chat.text, protected).ids

    def _by_template(self, messages: tuple[dict, ...], tools: tuple[dict, ...] | None) -> Ids:
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                for_template(messages), tools=list(tools) if tools else None, return_dict=True
            )
        except (TemplateError, TypeError, ValueError) as error:
            refuse("messages", [m["role"] for m in messages], f"the chat template objects: {error}", "change them")
        return np.array(rendered["input_ids"], np.int32)

    def _as_pair(self, messages: tuple[dict, ...], tools: tuple[dict, ...] | None) -> Ids:
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] or tools:
            rule = "without a chat template only one question and its answer can be read"
            refuse("messages", roles, rule, "score single turns, or give the tokenizer a chat template")
        question, answer = (message["content"] or "" for message in messages)
        return np.array(self.tokenizer(question, answer, verbose=False).input_ids, np.int32)
