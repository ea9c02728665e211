"""Scores put into words, so that a verdict comes with its reasons: our words for the annotators' scores."""

from __future__ import annotations

REMARKS = {
    "correctness": (
        "What it says is wrong.",
        "Little of what it says is to the point.",
        "It is right in part and wrong in part.",
        "It is right but for a detail.",
        "What it says is right.",
    ),
    "coherence": (
        "It cannot be followed.",
        "It is hard to follow.",
        "It takes a second reading.",
        "It is easy to follow but for a slip.",
        "It is easy to follow.",
    ),
    "verbosity": (
        "It is as short as can be.",
        "It is short.",
        "Its length is fitting.",
        "It says more than was asked.",
        "It is far too long.",
    ),
    "helpfulness": (
        "It does not help.",
        "It helps little.",
        "It helps in part.",
        "It helps.",
        "It helps as much as can be.",
    ),
}
DEGREES = {1: "slightly better", 2: "better", 3: "much better"}


def of_scores(scores: dict[str, int], leave_out: str) -> str:
    """A remark for each score but the one that the verdict already gives; complexity is neither good nor bad."""
    return " ".join(REMARKS[aspect][scores[aspect]] for aspect in REMARKS if aspect in scores and aspect != leave_out)


def of_pair(first: dict[str, int], second: dict[str, int], leave_out: str) -> str:
    """What is to be said of each response where their scores differ; speaks of Response 1 and Response 2."""
    shared = [aspect for aspect in REMARKS if aspect in first and aspect in second and aspect != leave_out]
    differ = [aspect for aspect in shared if first[aspect] != second[aspect]]
    said = (" ".join(REMARKS[aspect][scores[aspect]] for aspect in differ) for scores in (first, second))
    return "\n".join(f"Response {number}: {remarks}" for number, remarks in enumerate(said, start=1) if remarks)


def of_strength(strength: int) -> str:
    """The opening sentence of a preference: negative prefers Response 1, positive Response 2, 0 neither."""
    if strength == 0:
        return "Neither response is better."
    return f"Response {1 if strength < 0 else 2} is {DEGREES[abs(strength)]}."
