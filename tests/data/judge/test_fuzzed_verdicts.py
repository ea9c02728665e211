"""100,000 texts: the parser never raises and never finds a verdict that is not there.

Two oracles, neither of which shares a pattern with the parser:

    built     a text is put together of parts whose meaning is known, so its verdict is known before it is read
    broken    such a text is then damaged at random; whatever is still read must pass a check that only splits and counts
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.data.judge.verdicts import read_preference, read_score

TEXTS = 100_000

REASONING = (
    "",
    "",
    "<think>{}</think>",
    "<think>\n{}\n</think>\n\n",
    "{}</think>",
    "[THINK]{}[/THINK]",
    "<analysis>{}</analysis>\n",
)
ENDLESS = ("<think>{}", "<think>a</think>\n<think>{}", "{}</think><reasoning>", "<thought>{}</think>")
HARMLESS = (
    *(
        "It is right.",
        "",
        "Response B is better than Response A.",
        "A score is due.",
        "Scores: 0 useless; 4 excellent",
        "3.5",
    ),
    *(
        "Preference is given to none.",
        "\u2028",
        "4/5",
        "**bold**",
        "The tie is silk.",
        "> so it says",
        "the preference: none",
        "Ā\x00",
        "Reasons for the score:\n\n1. It is right.",
        "Reasons for my preference:\n\nB is right.",
    ),
)
SCORES_SAID = (
    "Score: 3",
    "**Score: 0**",
    "Final score: 2",
    "Score:\n2",
    "**Score:**\n\n2 of 4",
    "score = 4",
    "I say Score: 1, or so.",
    "> Score: 4",
    "SCORE:3/4",
)
PREFERENCES_SAID = (
    "Preference: A",
    "**Preference:** tie",
    "preference = B",
    "So this is my preference:\n**B**",
    "So Preference: A it is.",
    "> Preference: B",
)
OTHER_LINES = {
    "score": ("Preference: A", "**Preference: tie**"),
    "preference": ("Score: 3", "Score: **0**", "Score: 17"),
}
ENDS = ("", "\n", "  \n\n", "\r\n", "\t")
NOT_SCORES = (
    *(
        "Score: 3.5",
        "Score: 3/4",
        "Score: 5",
        "Score: -1",
        "Score: 04",
        "Score:",
        "Score: <a whole number from 0 to 4>",
        "3",
    ),
    *(
        "Score: 3 out of 4",
        "Score: ３",
        "score: 3",
        "**Score: 3",
        "Score: 3\n.",
        "Score: three",
        "Scores: 3",
        "Score: 3e0",
        "Score: ٣",
    ),
)
NOT_PREFERENCES = (
    *(
        "Preference: C",
        "Preference: A or B",
        "Preference: <A, B or tie>",
        "Preference:",
        "A",
        "[[A]]",
        "Preference: Ａ",
        "Preference: a",
    ),
    *(
        "Response B is better than Response A",
        "<better>A</better>",
        "Preference: A.",
        "*Preference: A*",
        "Preference: tied",
        "Preference: А",
    ),
)
FORMS = ("{0}: {1}", "**{0}: {1}**", "**{0}:** {1}", "**{0}**: {1}", "{0}: **{1}**", "{0}:{1}", "  {0}:   {1} ")
ALPHABET = "ScorePfn: *ABtie0123459.-+/<>think\n\r\t \u2028３#"


def built(draw, kind):
    """A text, and its verdict or None."""
    said, wrong = (SCORES_SAID, NOT_SCORES) if kind == "score" else (PREFERENCES_SAID, NOT_PREFERENCES)
    value = draw.choice((0, 1, 2, 3, 4) if kind == "score" else ("A", "B", "tie"))
    hidden = "\n".join(draw.choices(HARMLESS + SCORES_SAID + PREFERENCES_SAID, k=draw.randint(0, 3)))
    critique, truth = draw.choices(HARMLESS, k=draw.randint(0, 4)), value
    last = draw.choice(FORMS).format("Score" if kind == "score" else "Preference", value)
    reasoning, fate = draw.choice(REASONING), draw.random()
    if fate < 0.15:
        critique.insert(draw.randint(0, len(critique)), draw.choice(said))
        truth = None
    elif fate < 0.25:
        critique.insert(draw.randint(0, len(critique)), draw.choice(OTHER_LINES[kind]))
        truth = None
    elif fate < 0.5:
        last, truth = draw.choice(wrong), None
    elif fate < 0.6:
        reasoning, truth = draw.choice(ENDLESS), None
    elif fate < 0.65:
        last, truth = f"{last}\n{draw.choice(('That is all.', 'done', '*', '>'))}", None
    before = "\n".join(critique)
    return f"{reasoning.format(hidden)}{before}\n{last}{draw.choice(ENDS)}", truth


def broken(draw, text):
    """The text with a few characters added, taken away or repeated."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(text))
        what = draw.random()
        if what < 0.4:
            text = text[:at] + draw.choice(ALPHABET) + text[at:]
        elif what < 0.8:
            text = text[:at] + text[at + draw.randint(1, 6) :]
        else:
            text = text[at:] + text[: draw.randint(0, len(text))]
    return text


def plausible(text, kind, verdict):
    """Whether a verdict may be read at all: its line is the last, means exactly this, and nothing else says it."""
    label = "Score" if kind == "score" else "Preference"
    lines = [line.strip(" \t\r") for line in text.split("\n")]
    last = [line for line in lines if line][-1]
    for closing in ("</think>", "</analysis>", "</reasoning>", "</thought>", "[/THINK]"):
        position = last.casefold().rfind(closing.casefold())
        last = last[position + len(closing) :].strip(" \t\r") if position >= 0 else last
    name, colon, said = last.partition(":")
    stars = last.count("*")
    return (
        (name.strip("*"), colon, said.strip("* ")) == (label, ":", str(verdict))
        and stars in (0, 4)
        and "." not in said
        and not text.casefold().rstrip().endswith(("<think>", "[think]"))
    )


def test_built_texts_mean_what_they_were_built_to_mean():
    draw = random.Random("built")
    verdicts = {True: 0, False: 0}
    for number in range(TEXTS // 2):
        kind = ("score", "preference")[number % 2]
        text, truth = built(draw, kind)
        found = read_score(text) if kind == "score" else read_preference(text)
        assert found == truth, repr(text)
        verdicts[truth is not None] += 1
    assert min(verdicts.values()) > TEXTS // 8  # both are met often


def test_broken_texts_never_gain_a_verdict():
    draw = random.Random("broken")
    met = 0
    for number in range(TEXTS // 2):
        kind = ("score", "preference")[number % 2]
        text = broken(draw, built(draw, kind)[0])
        found = read_score(text) if kind == "score" else read_preference(text)
        if found is not None:
            met += 1
            assert plausible(text, kind, found), repr(text)
    assert met > TEXTS // 50


PIECES = st.sampled_from(
    [*HARMLESS, *SCORES_SAID, *PREFERENCES_SAID, *NOT_SCORES, *NOT_PREFERENCES, "<think>", "</think>", "\n"]
)


@settings(max_examples=300)
@given(
    st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5))).map("\n".join), st.lists(PIECES).map("".join))
)
def test_whatever_is_written_is_read_without_an_error(text):
    score, preference = read_score(text), read_preference(text)
    assert score is None or plausible(text, "score", score)
    assert preference is None or plausible(text, "preference", preference)
    assert score is None or preference is None
