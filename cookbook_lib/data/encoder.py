"""A tokenizer and its chat template, taken apart once, and then applied to conversations.

    messages ─▶ rendered once ─▶ answers found ─▶ contents checked ─▶ tokens ─▶ weights, roles ─▶ Example
      ▲                                                                 │
      └──────────── shortened, when there are more than max_length ◀────┘

Every step raises RowRefused when it is not certain of its result.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.answers import Chat, answer_spans
from cookbook_lib.data.contents import by_marks, by_search, check_contents
from cookbook_lib.data.example import Example
from cookbook_lib.data.loss_weights import TrainOn, message_weights, token_weights
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Protection, Renderer, for_template
from cookbook_lib.data.scaffold import Scaffold, read_scaffold
from cookbook_lib.data.speakers import speakers
from cookbook_lib.data.text_tokens import TextTokenizer, TextTokens
from cookbook_lib.data.truncation import Cut, Measured, Truncation, cuts


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
        """See masking.encode."""
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
        learned = token_weights(len(tokens.ids), slices, weights, train_on)
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


def _measured(messages: tuple[dict, ...], weights: tuple[float, ...], encoded: Encoded) -> Measured:
    roles = tuple(message["role"] for message in messages)
    ends = tuple(accumulate((where.stop for where in encoded.slices), max))  # one without text is where the last ended
    begins = tuple(where.start or before for where, before in zip(encoded.slices, (0, *ends), strict=False))
    return Measured(len(encoded.example.input_ids), roles, weights, begins, ends)


def _too_long(measured: Measured, max_length: int, truncation: Truncation) -> RowRefused:
    found = f"the conversation has {measured.total:,} tokens, max_length is {max_length:,}"
    if truncation in ("error", "drop"):
        fix = "raise data.max_length, or allow truncation"
        return RowRefused("too_long", f"{found} and truncation is {truncation}", fix)
    if truncation == "right":
        first = next(end for end, weight in zip(measured.ends, measured.weights, strict=True) if weight)
        return RowRefused(
            "answer_cut", f"{found}, and its first learned answer ends at {first:,}", "raise data.max_length"
        )
    return RowRefused("too_long", f"{found}, and its last turn alone does not fit", "raise data.max_length")
