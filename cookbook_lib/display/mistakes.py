"""Pairs that a judge got wrong, as cards: what was asked, both answers side by side, and the scores they got.

    ┌ prompt ────────────────────────────────┐
    │ chosen  -1.20        rejected  +3.45   │     the judge's preference is shaded
    │ ...                  ...               │
    └────────────────────────────────────────┘

Long texts fold: a click opens them in a notebook (`<details>`, no script), the text twin says how much is left out.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from cookbook_lib.display.style import GREEN, GREY, HAIRLINE, RED, SANS, tint
from cookbook_lib.display.views import Html

SHOWN = 600  # characters of a text before it folds
TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;min-width:0"


def confident_mistakes(
    samples: Sequence[Mapping[str, Any]], caption: str = "The most confident mistakes", *, shown: int = SHOWN
) -> Html:
    """samples: {prompt (text or messages), chosen, rejected, score_chosen, score_rejected}, in the order to show.

    shown: characters of each text before it folds.
    """
    if not samples:
        return Html(f'<div style="font:13px {SANS}">{html.escape(caption)}: none</div>', f"{caption}: none")
    cards = "".join(_card(sample, shown) for sample in samples)
    head = f'<div style="font-weight:600;margin-bottom:4px">{html.escape(caption)}</div>'
    page = f'<div style="font:13px/1.5 {SANS};margin:6px 0;max-width:1100px">{head}{cards}</div>'
    return Html(page, "\n\n".join([caption, *(_text(sample, shown) for sample in samples)]))


def _card(sample: Mapping[str, Any], shown: int) -> str:
    prompt = _folded(_said(sample["prompt"]), shown)
    sides = (("chosen", GREEN), ("rejected", RED))
    answers = "".join(_answer(sample, side, colour, shown) for side, colour in sides)
    return (
        f'<div style="border:{HAIRLINE};border-radius:6px;margin:8px 0;overflow:hidden">'
        f'<div style="padding:6px 12px;background:{tint(GREY, 0.1)};{TEXT}">{prompt}</div>'
        f'<div style="display:flex;flex-wrap:wrap">{answers}</div></div>'
    )


def _answer(sample: Mapping[str, Any], side: str, colour: str, shown: int) -> str:
    preferred = sample[f"score_{side}"] == max(sample["score_chosen"], sample["score_rejected"])
    shade = f"background:{tint(colour, 0.09)};" if preferred else ""
    mark = ' <span style="opacity:.7;font-weight:400">the judge prefers this</span>' if preferred else ""
    return (
        f'<div style="flex:1 1 300px;min-width:0;padding:6px 12px;border-top:2px solid {colour};{shade}">'
        f'<div style="font-weight:600;font-size:12px">{side} '
        f'<span style="font-variant-numeric:tabular-nums">{sample[f"score_{side}"]:+.3f}</span>{mark}</div>'
        f'<div style="{TEXT}">{_folded(str(sample[side]), shown)}</div></div>'
    )


def _folded(text: str, shown: int) -> str:
    if len(text) <= shown:
        return html.escape(text)
    end = _end(text, shown)
    fold = f'<details><summary style="cursor:pointer;opacity:.6">… {len(text) - end:,} more characters</summary>'
    return f"{html.escape(text[:end])}{fold}{html.escape(text[end:])}</details>"


def _end(text: str, shown: int) -> int:
    """Where to fold: before the word that reaches beyond `shown`, unless that word is most of it."""
    space = max(text.rfind(mark, 0, shown + 1) for mark in " \n")
    return space if space > shown // 2 else shown


def _said(prompt: Any) -> str:
    """A prompt in words: as it is, or its turns, each with who speaks when there are several."""
    if isinstance(prompt, str):
        return prompt
    turns = [(str(turn.get("role", "?")), str(turn.get("content") or "")) for turn in prompt]
    return turns[0][1] if len(turns) == 1 else "\n".join(f"{role}: {content}" for role, content in turns)


def _text(sample: Mapping[str, Any], shown: int) -> str:
    names = {
        "prompt": _said(sample["prompt"]),
        f"chosen {sample['score_chosen']:+.3f}": str(sample["chosen"]),
        f"rejected {sample['score_rejected']:+.3f}": str(sample["rejected"]),
    }
    width = max(map(len, names))
    lines = [f"{name:>{width}}  {_cut(text, shown)}" for name, text in names.items()]
    return "\n".join(line.replace("\n", "\n" + " " * (width + 2)) for line in lines)


def _cut(text: str, shown: int) -> str:
    end = _end(text, shown)
    return text if len(text) <= shown else f"{text[:end]} … {len(text) - end:,} more characters"
