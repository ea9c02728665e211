r"""Where each message's text stands in the rendered conversation, and whether all of it got there.

    rendered a second time with marks at the edges of every text:    <|im_start|>user\n(Hi)<|im_end|>\n
    without the marks it must be the first rendering; then they say exactly where each text is

A template that looks at the edges of its texts fails that test; then the texts are searched for, in order. A message
that the template drops or rewrites is a refusal: training on what is left would teach something else than the data say.
"""

import json
import re

from cookbook_lib.data.answers import Chat, Span, Texts, thoughts
from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import FIRST_MARK, Renderer

MARK = re.compile(f"[{chr(FIRST_MARK)}-\U0010ffff]")
USE_ANOTHER = "use a data.chat_template that can write it, or change the row"


def visible(message: dict) -> str:
    """The text that has to show: without the thinking of an answer, which templates may drop, and outer whitespace."""
    content = message.get("content") or ""
    return (content.rpartition("</think>")[2] if message["role"] == "assistant" else content).strip()


def texts_of(chat: Chat) -> dict[int, str]:
    """Message -> the text that has to show; messages without any are left out."""
    texts = {m: visible(message) for m, message in enumerate(chat.messages)}
    return {m: text for m, text in texts.items() if text}


def by_marks(chat: Chat, render: Renderer) -> Texts | None:
    """Message -> characters [start, end) of its text, exactly; None if the template treats marked texts differently."""
    texts = texts_of(chat)
    marked = [_marked(message, texts[m], m) if m in texts else message for m, message in enumerate(chat.messages)]
    try:
        text = render(marked, chat.tools)
    except RowRefused:
        return None
    if MARK.sub("", text) != chat.text:
        return None
    places = {ord(mark[0]) - FIRST_MARK: mark.start() - i for i, mark in enumerate(MARK.finditer(text))}
    return {m: (places[2 * m], places[2 * m + 1]) for m in texts if 2 * m in places and 2 * m + 1 in places}


def _marked(message: dict, text: str, m: int) -> dict:
    head, _, tail = message["content"].rpartition(text)
    return {**message, "content": f"{head}{chr(FIRST_MARK + 2 * m)}{text}{chr(FIRST_MARK + 2 * m + 1)}{tail}"}


def by_search(chat: Chat) -> Texts:
    """Message -> characters of its text, the first that come in order; texts that do not show are left out."""
    found: Texts = {}
    position = 0
    for m, text in texts_of(chat).items():
        first = 0 if chat.messages[m]["role"] == "system" else position
        start, written = next(
            (
                (chat.text.find(form, first), form)
                for form in (text, json.dumps(text)[1:-1])
                if form in chat.text[first:]
            ),
            (-1, ""),
        )
        if start >= 0:
            found[m] = (start, start + len(written))
            position = position if chat.messages[m]["role"] == "system" else start + len(written)
    return found


def check_contents(chat: Chat, spans: list[Span], contents: Texts) -> None:
    """Raise RowRefused unless texts, tools, calls and the last thinking all show, and answers inside their spans."""
    for m, message in enumerate(chat.messages):
        if visible(message) and m not in contents:
            found = f"the chat template drops or rewrites the text of messages[{m}] ({message['role']})"
            raise RowRefused("content_lost", found, USE_ANOTHER)
    for span in spans:
        _check_answer(chat, span, contents)
    for tool in chat.tools or ():
        if tool.get("function", tool).get("name", "") not in chat.text:
            raise RowRefused("tools_lost", "the chat template does not show the tools", USE_ANOTHER)


def _check_answer(chat: Chat, span: Span, contents: Texts) -> None:
    message, text = chat.messages[span.message], chat.text[span.start : span.end]
    start, end = contents.get(span.message, (span.start, span.end))
    if not span.start <= start <= end <= span.end:
        found = f"the answer found for messages[{span.message}] is not its text"
        raise RowRefused("spans_disagree", found, "use another data.chat_template")
    for call in message.get("tool_calls") or ():
        if call["function"]["name"] not in text:
            raise RowRefused(
                "calls_lost", f"the chat template drops the calls of messages[{span.message}]", USE_ANOTHER
            )
    if span.message == len(chat.messages) - 1 and thoughts(message) not in text:
        raise RowRefused("thinking_lost", "the chat template drops the thinking of the last answer", USE_ANOTHER)
