"""Tokens as the loss sees them: who speaks, what is learned and with what weight, and in which packed document.

    ▕▔▔▔▔▔▔▔▔▔▔▔▏▔▔▔▔▔▔▔▔▔▔▔▔▔▏    the packed row: its documents, what is learned in green
    document 0 · 12 tokens · 3 learned
    user       ▏<|im_start|>user⏎Hi<|im_end|>⏎
    assistant  ▏<|im_start|>assistant⏎▒Hello.<|im_end|>▒⏎

token_view(rows) takes a dict for each token, in order:
{text, id, role, weight, document, position} and, where the chat template wrote it, template: True (shown fainter).
Neighbouring tokens have different shades, and hovering over one shows its id and what is to be predicted there.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from cookbook_lib.display.conversations import ROLES
from cookbook_lib.display.style import BLUE, GREEN, GREY, HAIRLINE, MONO, SANS, tint
from cookbook_lib.display.views import Html

Row = Mapping[str, Any]

SHADES = {True: (0.24, 0.38), False: (0.07, 0.15)}  # learned or not; neighbours differ
LABEL = "flex:0 0 82px;font-weight:600;font-size:12px;padding-top:1px"
RETURN = '<span style="opacity:.45">⏎</span>'


def token_view(rows: Sequence[Row], caption: str = "", *, limit: int = 4000, marked: str = "learned") -> Html:
    """The tokens of a conversation, or of several in one packed row. Beyond `limit` tokens it says how many are left out.

    marked: what it is called that a token has a weight."""
    shown = list(rows[:limit])
    left_out = f"{len(rows) - limit:,} more tokens are not shown" if len(rows) > limit else ""
    documents = [list(group) for _, group in groupby(shown, key=lambda row: row["document"])]
    page = (
        f'<div style="font:13px/1.6 {SANS};max-width:980px;margin:6px 0">{_heading(caption, rows, marked)}{_map(rows)}'
        f"{''.join(_document_html(document, marked) for document in documents)}"
        f'<div style="opacity:.6">{left_out}</div></div>'
    )
    texts = (
        [caption] * bool(caption)
        + [_document_text(document, marked) for document in documents]
        + [left_out] * bool(left_out)
    )
    return Html(page, "\n\n".join(texts))


def _turns(document: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    return ((str(role), list(rows)) for role, rows in groupby(document, key=lambda row: row["role"]))


# ---------------------------------------------------------------------------------------------------------- HTML


def _heading(caption: str, rows: Sequence[Row], marked: str) -> str:
    roles = [role for role in ROLES if any(row["role"] == role for row in rows)]
    marks = "".join(
        f'<span style="border-left:3px solid {ROLES[role]};padding-left:5px;margin-right:12px">{role}</span>'
        for role in roles
    )
    learned = (
        f'<span style="background:{tint(GREEN, 0.38)};border-radius:3px;padding:1px 6px">{html.escape(marked)}</span>'
    )
    title = f'<span style="font-weight:600;margin-right:18px">{html.escape(caption)}</span>' if caption else ""
    return f'<div style="margin-bottom:6px">{title}<span style="font-size:12px">{marks}{learned}</span></div>'


def _map(rows: Sequence[Row]) -> str:
    """The whole row, to scale: a frame for each document, green where it is learned."""
    documents = [(document, list(group)) for document, group in groupby(rows, key=lambda row: row["document"])]
    frame = f"display:flex;min-width:1px;border-right:2px solid {BLUE}"
    frames = "".join(
        f'<div title="document {document}" style="flex:{len(tokens)} 1 0;{frame}">{"".join(_stretches(tokens))}</div>'
        for document, tokens in documents
    )
    return f'<div style="display:flex;height:10px;border-left:2px solid {BLUE};margin:2px 0 8px">{frames}</div>'


def _stretches(tokens: list[Row]) -> Iterator[str]:
    for learned, group in groupby(tokens, key=lambda row: row["weight"] > 0):
        colour = tint(GREEN, 0.75) if learned else tint(GREY, 0.25)
        yield f'<div style="flex:{len(list(group))} 1 0;background:{colour}"></div>'


def _document_html(document: list[Row], marked: str) -> str:
    body = "".join(_turn_html(*turn, document) for turn in _turns(document))
    return (
        f'<div style="border:{HAIRLINE};border-radius:6px;margin:6px 0;padding:4px 10px 8px">'
        f'<div style="font-size:12px;opacity:.65;margin-bottom:3px">{_summary(document, marked)}</div>{body}</div>'
    )


def _turn_html(role: str, rows: list[Row], document: list[Row]) -> str:
    colour = ROLES.get(role, GREY)
    tokens = "".join(_run_html(run, document) for run in _runs(rows))
    text = f"font-family:{MONO};font-size:12.5px;white-space:pre-wrap;overflow-wrap:anywhere;min-width:0"
    return (
        f'<div style="display:flex;margin:3px 0"><span style="{LABEL};color:{colour}">{html.escape(role)}</span>'
        f'<span style="border-left:3px solid {colour};padding-left:9px;{text}">{tokens}</span></div>'
    )


def _runs(rows: list[Row]) -> Iterator[list[Row]]:
    """Neighbours of equal weight."""
    return (list(group) for _, group in groupby(rows, key=lambda row: row["weight"]))


def _run_html(run: list[Row], document: list[Row]) -> str:
    weight = run[0]["weight"]
    badge = "" if weight in (0, 1) else f'<sup style="color:{GREEN};font-weight:600">×{weight:g}</sup>'
    return badge + "".join(_token_html(row, document) for row in run)


def _token_html(row: Row, document: list[Row]) -> str:
    learned = row["weight"] > 0
    shade = tint(GREEN if learned else GREY, SHADES[learned][row["position"] % 2])
    faint = "opacity:.6;" if row.get("template") else ""
    text = html.escape(row["text"]).replace("\n", f"{RETURN}\n")
    hint = html.escape(_hint(row, document))
    return f'<span title="{hint}" style="{faint}background:{shade};border-radius:2px">{text}</span>'


def _hint(row: Row, document: list[Row]) -> str:
    """What a position holds, and what the model has to predict there: the next token of the same document."""
    writer = "template" if row.get("template") else row["role"]
    here = f"{row['text']!r} · id {row['id']} · position {row['position']} · {writer} · weight {row['weight']:g}"
    after = row["position"] - document[0]["position"] + 1
    if after >= len(document):
        return f"{here}\ntarget: none, the document ends here"
    target = document[after]
    wanted = f"weight {target['weight']:g}" if target["weight"] else "not learned"
    return f"{here}\ntarget: {target['text']!r} · id {target['id']} · {wanted}"


# ---------------------------------------------------------------------------------------------------------- text


def _summary(document: list[Row], marked: str) -> str:
    learned = sum(row["weight"] > 0 for row in document)
    said = f" · {learned:,} {marked}" if learned or marked == "learned" else ""
    return f"document {document[0]['document']} · {len(document):,} token{'s' * (len(document) != 1)}{said}"


def _document_text(document: list[Row], marked: str) -> str:
    lines = [_summary(document, marked) + ", shown ⟦so⟧"]
    for role, rows in _turns(document):
        said = "".join(_run_text(run) for run in _runs(rows))
        lines.append(f"{role:>9}  " + said.replace("\n", "⏎\n" + " " * 11).rstrip(" \n"))
    return "\n".join(lines)


def _run_text(run: list[Row]) -> str:
    text, weight = "".join(row["text"] for row in run), run[0]["weight"]
    if not weight:
        return text
    return f"⟦{text}⟧" if weight == 1 else f"⟦{text}⟧×{weight:g}"
