r"""From a conversation to token ids and, for each token, how much the loss wants it: the one place that decides.

    text      <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n
    weights   0            0   0 0 0         0 0           0        0 1    1         0

The weight of a token is its weight AS A TARGET; nothing is shifted here (packing shifts). Learned is what the model
must generate: the answer and its end-of-turn token. Not learned: the header, an empty thinking block that the template
puts in, the newline after the end of turn.

    train_on          learned by default
    assistant         every assistant message
    last_assistant    the last one (nothing else, whatever the messages say)
    all               every token

A message's own `train: false` or `weight` (a factor, 0 or more) goes before the default; any role may have one. A row
for which a check fails is refused: whole, with the reason (refusals.py), never repaired in silence.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.answers import Chat, answer_spans
from cookbook_lib.data.contents import by_marks, by_search, check_contents, visible
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Protection, Renderer, for_template
from cookbook_lib.data.scaffold import Scaffold, read_scaffold
from cookbook_lib.data.speakers import speakers
from cookbook_lib.data.templates import own_template
from cookbook_lib.data.text_tokens import TextTokenizer, TextTokens
from cookbook_lib.data.truncation import Cut, Measured, Truncation, cuts

TrainOn = Literal["assistant", "last_assistant", "all"]


@dataclass(frozen=True)
class Example:
    """One conversation of T tokens."""

    input_ids: NDArray[np.int32]  # (T,)
    weights: NDArray[np.float32]  # (T,): loss weight of token t as a target, 0 = not learned; weights[0] = 0
    roles: NDArray[np.uint8] | None = None  # (T,): who speaks (speakers.py); for looking at, not for training


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


def encoder_for(tokenizer: PreTrainedTokenizerBase) -> "Encoder":
    """The encoder of a tokenizer with its chat template; taken apart once, and again when either changes."""
    return _encoder(tokenizer, own_template(tokenizer), len(tokenizer))


@lru_cache(maxsize=4)
def _encoder(tokenizer: PreTrainedTokenizerBase, template: str, vocabulary: int) -> "Encoder":
    return Encoder(tokenizer, Renderer(tokenizer, template))


@dataclass(frozen=True)
class Encoded:
    """An example, with the tokens of each of its messages."""

    example: Example
    slices: tuple[slice, ...]


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and its chat template, understood."""

    tokenizer: PreTrainedTokenizerBase
    render: Renderer

    @cached_property
    def scaffold(self) -> Scaffold:
        """What the template writes around answers. Raises CookbookError for a template without an end of turn."""
        try:
            return read_scaffold(self.tokenizer, self.render)
        except RowRefused as refusal:
            raise CookbookError(str(refusal)) from None  # the template's fault: no row can be learned with it

    @cached_property
    def protection(self) -> Protection:
        return Protection(self.scaffold.control)

    @cached_property
    def tokens(self) -> TextTokenizer:
        return TextTokenizer(self.tokenizer, self.protection)

    @cached_property
    def stop_ids(self) -> set[int]:
        """The end-of-turn tokens: generation has to stop at these."""
        vocabulary = self.tokenizer.get_vocab()
        return {vocabulary[stop] for stop in self.scaffold.stops}

    def require_usable(self) -> None:
        """Raise CookbookError for a tokenizer or a template with which no row could be learned."""
        _ = self.tokens, self.stop_ids

    def encode(self, conversation: Conversation, max_length: int, truncation: Truncation, train_on: TrainOn) -> Example:
        """See `encode` above."""
        messages, tools = conversation.messages, conversation.tools
        weights = message_weights(messages, train_on)
        encoded = self.whole(messages, tools, weights, train_on)
        if len(encoded.example.input_ids) <= max_length:
            return encoded.example
        measured = _measured(messages, weights, encoded)
        for cut in cuts(measured, max_length, truncation):
            found = self._attempt(conversation, cut, weights, train_on, max_length)
            if found is not None:
                return found
        raise _too_long(measured, max_length, truncation)

    def whole(
        self, messages: tuple[dict, ...], tools: tuple[dict, ...] | None, weights: tuple[float, ...], train_on: TrainOn
    ) -> Encoded:
        """The conversation as it stands, whatever its length."""
        chat, protected = self.rendered(messages, tools)
        marked = by_marks(chat, self.render)
        spans = answer_spans(chat, self.scaffold, self.render, marked)
        contents = by_search(chat) if marked is None else marked
        check_contents(chat, spans, contents)
        places = contents | {span.message: (span.start, span.end) for span in spans}
        tokens = self.tokens(chat.text, protected)
        slices = tuple(tokens.within(*places.get(m, (0, 0))) for m in range(len(messages)))
        self._check_tokens(chat, tokens, slices, [span.start for span in spans])
        learned = _token_weights(len(tokens.ids), slices, weights, train_on)
        roles = [message["role"] for message in messages]
        spoken = speakers(roles, chat.text, places, self.scaffold.closing, tokens)
        return Encoded(Example(tokens.ids, learned, spoken), slices)

    def rendered(self, messages: tuple[dict, ...], tools: tuple[dict, ...] | None) -> tuple[Chat, bool]:
        """The conversation through its template, once; and whether its own control tokens were put aside for that."""
        described = list(tools) if tools else None
        own = self._as_template_wants(messages, described)
        protected = self.protection.forged([own, described])
        if not protected:
            return self._chat(own, described), False
        chat = self._chat(self.protection.put(own), self.protection.put(described))
        if self.protection.undo(chat.text) != self.render(own, described):
            found = "the text contains control tokens, and the chat template looks at them"
            raise RowRefused("control_token", found, "remove them from the text")
        return chat, True

    def _as_template_wants(self, messages: tuple[dict, ...], tools: list[dict] | None) -> list[dict]:
        """Call arguments as objects; as their JSON where the template can print them only so, as DeepSeek's own does."""
        own = for_template(messages)
        if not any(message.get("tool_calls") for message in messages) or self.render.accepts(own, tools):
            return own
        written = for_template(messages, arguments_as_text=True)
        return written if self.render.accepts(written, tools) else own

    def _chat(self, messages: list[dict], tools: list[dict] | None) -> Chat:
        text, generated = self.render.with_answers(messages, tools)
        return Chat(messages, tools, text, generated)

    def _check_tokens(self, chat: Chat, tokens: TextTokens, slices: tuple[slice, ...], starts: list[int]) -> None:
        """Answers begin at a token of their own (white space apart) and end with one that generation stops at."""
        for m, start in zip(chat.answers, starts, strict=True):
            first, last = slices[m].start, slices[m].stop - 1
            if first > last or int(tokens.ids[last]) not in self.stop_ids:
                found = f"the end-of-turn token of messages[{m}] is not one token"
                raise RowRefused("no_end_of_turn", found, "add it to the tokenizer as a special token")
            if chat.text[start : tokens.starts[first]].strip():
                found = f"the first letters of messages[{m}] share a token with the header before them"
                raise RowRefused("header_merges", found, "use a template whose headers end with a special token")

    def _attempt(
        self, conversation: Conversation, cut: Cut, weights: tuple[float, ...], train_on: TrainOn, max_length: int
    ) -> Example | None:
        """The conversation so shortened, or None if it is still too long."""
        kept = tuple(weights[m] for m in cut.keep)
        trim = cut.trim
        while True:
            messages = self._shortened(conversation.messages, replace(cut, trim=trim))
            if messages is None:
                return None
            example = self.whole(messages, conversation.tools, kept, train_on).example
            over = len(example.input_ids) - max_length
            if over <= 0:
                return example
            if not cut.trim:
                return None
            trim += over

    def _shortened(self, messages: tuple[dict, ...], cut: Cut) -> tuple[dict, ...] | None:
        kept = [messages[m] for m in cut.keep]
        if cut.trim:
            question = next(i for i, message in enumerate(kept) if message["role"] == "user")
            text = kept[question]["content"].strip()
            starts = self.tokenizer(text, add_special_tokens=False, verbose=False).encodings[0].offsets
            if cut.trim >= len(starts):
                return None
            kept[question] = {**kept[question], "content": text[starts[cut.trim][0] :]}
        return tuple(kept)


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


def _token_weights(
    count: int, slices: tuple[slice, ...], weights: tuple[float, ...], train_on: TrainOn
) -> NDArray[np.float32]:
    learned = np.full(count, float(train_on == "all"), dtype=np.float32)
    for where, weight in zip(slices, weights, strict=True):
        learned[where] = weight
    learned[:1] = 0  # nothing comes before the first token, so it is nobody's target
    return learned


def _measured(messages: tuple[dict, ...], weights: tuple[float, ...], encoded: Encoded) -> Measured:
    roles = tuple(message["role"] for message in messages)
    begins = tuple(where.start for where in encoded.slices)
    ends = tuple(where.stop for where in encoded.slices)
    return Measured(len(encoded.example.input_ids), roles, weights, begins, ends)


def _too_long(measured: Measured, max_length: int, truncation: Truncation) -> RowRefused:
    found = f"the conversation has {measured.total} tokens, max_length is {max_length}"
    if truncation == "error":
        return RowRefused("too_long", f"{found} and truncation is error", "raise data.max_length, or allow truncation")
    if truncation == "right":
        first = next(end for end, weight in zip(measured.ends, measured.weights, strict=True) if weight)
        return RowRefused(
            "answer_cut", f"{found}, and its first learned answer ends at {first}", "raise data.max_length"
        )
    return RowRefused("too_long", f"{found}, and its last turn alone does not fit", "raise data.max_length")
