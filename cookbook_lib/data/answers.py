r"""Where the assistant speaks: for each of its messages the characters from after the header to after the end token.

    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n
                                                          [---------------)     learned: what the model must generate

The conversation is rendered once, whole; messages are never rendered or tokenised alone. Four ways to find the starts,
the first that applies:

    1. {% generation %} blocks, where the template has one per answer
    2. headers: user text cannot contain the header's tokens, so each occurrence is the template's own; when there are
       as many as answers, they are the answers'
    3. texts: after the text of a question and its closing, or before the text of the answer itself; both places are
       known from a second, marked rendering (contents.py)
    4. prefixes: the conversation rendered up to each answer, with its generation prompt, must begin the whole text

An answer ends at the first end-of-turn token after its start; user text cannot contain that either.
"""

import re
from dataclasses import dataclass

from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Renderer
from cookbook_lib.data.scaffold import Scaffold, without_open_thinking
from cookbook_lib.data.templates import strip_thinking

Texts = dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the rendered text that message number `message` generated."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Chat:
    """A conversation ready for its template, and what the template made of it."""

    messages: list[dict]
    tools: list[dict] | None
    text: str
    generated: list[tuple[int, int]]  # the {% generation %} blocks

    @property
    def answers(self) -> list[int]:
        """Which messages are the assistant's."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]


def answer_spans(chat: Chat, scaffold: Scaffold, render: Renderer, texts: Texts | None) -> list[Span]:
    """The span of every assistant message, in order. Raises RowRefused unless each is certain.

    texts: message -> characters of its text, from a marked rendering; None if the template does not allow one.
    """
    starts = (
        from_generation_blocks(chat, scaffold)
        or from_headers(chat, scaffold)
        or from_texts(chat, scaffold, texts)
        or from_prefixes(chat, scaffold, render)
    )
    limits = [*starts[1:], len(chat.text)][: len(starts)]
    ends = [_end(chat, scaffold, start, limit) for start, limit in zip(starts, limits, strict=True)]
    return [Span(*span) for span in zip(chat.answers, starts, ends, strict=True)]


def from_generation_blocks(chat: Chat, scaffold: Scaffold) -> list[int] | None:
    """Starts of the answers where the template marks each of them once."""
    if len(chat.generated) != len(chat.answers):
        return None
    return [_after_prompt(chat, scaffold, _after_header(chat, scaffold, start)) for start, _ in chat.generated]


def from_headers(chat: Chat, scaffold: Scaffold) -> list[int] | None:
    """Starts of the answers where there is one certain header for each."""
    if not scaffold.header_is_certain or chat.text.count(scaffold.header) != len(chat.answers):
        return None
    starts, position = [], 0
    for _ in chat.answers:
        position = chat.text.index(scaffold.header, position) + len(scaffold.header)
        starts.append(_after_prompt(chat, scaffold, position))
    return starts


def from_texts(chat: Chat, scaffold: Scaffold, texts: Texts | None) -> list[int] | None:
    """Starts of the answers from where the texts of questions end, or those of the answers begin."""
    starts = [_from_texts(chat, scaffold, texts or {}, m) for m in chat.answers]
    found = [start for start in starts if start is not None]
    return found if len(found) == len(starts) else None


def _from_texts(chat: Chat, scaffold: Scaffold, texts: Texts, m: int) -> int | None:
    if m > 0 and chat.messages[m - 1]["role"] == "user" and m - 1 in texts:
        opening = re.compile(r"\s*" + re.escape(scaffold.closing + scaffold.header)).match(chat.text, texts[m - 1][1])
        return _after_prompt(chat, scaffold, opening.end()) if opening else None
    if m in texts and not thoughts(chat.messages[m]) and chat.text.endswith(scaffold.lead, 0, texts[m][0]):
        return texts[m][0] - (0 if "<think>" in scaffold.lead else len(scaffold.lead))
    return None


def from_prefixes(chat: Chat, scaffold: Scaffold, render: Renderer) -> list[int]:
    """Starts of the answers from the conversation up to each; raises RowRefused where that does not begin the whole."""
    messages = without_dropped_thinking(chat, render)
    starts = []
    for m in chat.answers:
        prefix = without_open_thinking(render(messages[:m], chat.tools, prompt=True))
        if not chat.text.startswith(prefix):
            found = f"what the template renders up to messages[{m}] is not how it renders the whole conversation"
            raise RowRefused("prefix_changes", found, "use a template that does not rewrite earlier messages")
        position = len(prefix)
        starts.append(_after_prompt(chat, scaffold, position))
    return starts


def without_dropped_thinking(chat: Chat, render: Renderer) -> list[dict]:
    """The messages less the thinking that does not show in the whole text, so that prefixes do not show it either."""
    messages = list(chat.messages)
    for m in chat.answers:
        thoughtless = _without_thinking(messages[m])
        tried = [*messages[:m], thoughtless, *messages[m + 1 :]]
        if thoughtless != messages[m] and render(tried, chat.tools) == chat.text:
            messages = tried
    return messages


def thoughts(message: dict) -> str:
    """What an answer thinks before it speaks, in its field or in a <think> block of its text."""
    before, closed, _ = (message.get("content") or "").partition("</think>")
    inside = before.rpartition("<think>")[2] if closed else ""
    return str(message.get("reasoning_content") or inside).strip()


def _without_thinking(message: dict) -> dict:
    kept = {key: value for key, value in message.items() if key != "reasoning_content"}
    return {**kept, "content": strip_thinking(message["content"])} if message.get("content") else kept


def _after_header(chat: Chat, scaffold: Scaffold, position: int) -> int:
    """Past the header, or the rest of it, that some templates put inside their {% generation %} blocks."""
    length = len(scaffold.header) if scaffold.header_is_certain else 0
    begin = chat.text.find(scaffold.header, max(0, position - length + 1), position + length) if length else -1
    return begin + length if begin >= 0 else position


def _after_prompt(chat: Chat, scaffold: Scaffold, position: int) -> int:
    """Past what generation starts from: a forced "<think>\n", or the empty block that the template writes itself."""
    lead, forced = scaffold.lead, scaffold.prompt[len(scaffold.header) :]
    if "<think>" in lead and chat.text.startswith(lead, position):
        return position + len(lead)
    return position + len(forced) if chat.text.startswith(forced, position) else position


def _end(chat: Chat, scaffold: Scaffold, start: int, limit: int) -> int:
    found = [(chat.text.find(stop, start, limit), stop) for stop in scaffold.stops]
    ends = [position + len(stop) for position, stop in found if position >= 0]
    if not ends:
        fix = "use a template that ends every answer with its end-of-turn token"
        raise RowRefused("no_end_of_turn", f"an answer is not followed by {' or '.join(scaffold.stops)}", fix)
    return min(ends)
