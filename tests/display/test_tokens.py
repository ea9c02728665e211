"""The token view: everything that the loss sees is on the page, once, and nothing that is not there."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest

from cookbook_lib.display import token_view


def row(
    text: str, role: str, *, weight: float = 0.0, template: bool = False, document: int = 0, position: int = 0
) -> dict:
    fields = {"text": text, "id": 100 + position, "role": role, "template": template}
    return {**fields, "weight": weight, "document": document, "position": position}


def document(number: int, weight: float = 1.0) -> list[dict]:
    tokens = [
        ("<u>", "user", 0.0, True),
        ("a &", "user", 0.0, False),
        (" b\n", "user", 0.0, False),
        ("<a>", "assistant", 0.0, True),
        ("yes", "assistant", weight, False),
        ("</s>", "assistant", weight, False),
    ]
    return [
        row(text, role, weight=w, template=template, document=number, position=i)
        for i, (text, role, w, template) in enumerate(tokens)
    ]


class Page(HTMLParser):
    """The text of a page, and the open elements at its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.open = "", []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hints(page: str) -> list[str]:
    return [unescape(hint) for hint in re.findall(r'<span title="([^"]*)"', page)]


def test_the_text_twin_shows_turns_and_what_is_learned():
    assert token_view([*document(0), *document(1, weight=0.5)], "Row").text.split("\n") == [
        "Row",
        "",
        "document 0 · 6 tokens · 2 learned, shown ⟦so⟧",
        "     user  <u>a & b⏎",
        "assistant  <a>⟦yes</s>⟧",
        "",
        "document 1 · 6 tokens · 2 learned, shown ⟦so⟧",
        "     user  <u>a & b⏎",
        "assistant  <a>⟦yes</s>⟧×0.5",
    ]


def test_the_page_holds_the_same_words_and_is_well_formed():
    page = Page(token_view([*document(0), *document(1, weight=0.5)]).html)
    assert page.open == []
    assert page.text.count("<u>a & b⏎\n") == 2
    assert page.text.count("×0.5") == 1


def test_a_hint_says_the_token_and_its_target():
    shown = hints(token_view([*document(0), *document(1)]).html)
    assert len(shown) == 12
    assert shown[0] == "'<u>' · id 100 · position 0 · template · weight 0\ntarget: 'a &' · id 101 · not learned"
    assert shown[3] == "'<a>' · id 103 · position 3 · template · weight 0\ntarget: 'yes' · id 104 · weight 1"
    assert shown[5].endswith("\ntarget: none, the document ends here")


def test_learned_tokens_are_green_and_template_tokens_faint():
    page = token_view(document(0)).html
    spans = dict(re.findall(r'style="([^"]*)">([^<>]+)</span>', page)[::-1])
    styles = {unescape(text): style for style, text in spans.items()}
    assert "rgba(63,154,108" in styles["yes"]
    assert "rgba(63,154,108" not in styles["a &"]
    assert "opacity" in styles["<a>"]
    assert "opacity" not in styles["a &"]


def test_documents_are_framed_to_scale():
    page = token_view([*document(0), *document(1)[:3]]).html
    assert re.findall(r'title="document (\d)" style="flex:(\d+)', page) == [("0", "6"), ("1", "3")]


@pytest.mark.parametrize("view", ["html", "text"])
def test_what_is_left_out_is_said(view):
    shown = token_view([*document(0), *document(1)], limit=6)
    assert "6 more tokens are not shown" in getattr(shown, view)
    assert "document 1 ·" not in getattr(shown, view)
    assert "not shown" not in getattr(token_view(document(0), limit=6), view)


def test_no_tokens_is_an_empty_view():
    assert token_view([]).text == ""


def test_what_is_marked_is_named_and_nothing_is_said_of_none():
    shown = token_view([row("a", "user"), row("b", "assistant", weight=1, document=1)], marked="score read here").text
    assert shown.splitlines()[0] == "document 0 · 1 token, shown ⟦so⟧"
    assert "document 1 · 1 token · 1 score read here" in shown
    assert "0 learned" in token_view([row("a", "user")]).text
