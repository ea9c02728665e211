"""The best possible accuracy on the embedded world: a judge that knows its rules reaches it, and none does better."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.ceiling import best_accuracy, without_padding
from cookbook_lib.data.reward.conversion import converted_rewards
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import RewardOptions, reward_converter_named, weights_from
from cookbook_lib.data.synthetic import embedded_rows

ROWS = list(embedded_rows(6000, seed=2))
ASKED = ({"role": "user", "content": "What pet does Ada keep?"},)
PLAIN = "Ada keeps a pet owl."
PADDED = f"I am glad that you asked. {PLAIN} Please ask me again any time."


def pairs(attribute="helpfulness"):
    options = RewardOptions(aspect=weights_from(attribute))
    places = ((Origin("rows", n), row) for n, row in enumerate(ROWS, start=1))
    return list(converted_rewards(places, reward_converter_named("helpsteer2"), "pairs", options, Report()))


def knowing_judge(attribute):
    """The accuracy of a judge that is told the scores; of texts that were scored twice, it goes by the usual score."""
    told = {}
    for row in ROWS:
        counts = told.setdefault((row["prompt"], row["response"]), {})
        counts[row[attribute]] = counts.get(row[attribute], 0) + 1
    usual = {key: max(counts, key=counts.get) for key, counts in told.items()}
    right = []
    for first, second in zip(ROWS[::2], ROWS[1::2], strict=True):
        if first["response"] != second["response"]:
            truth = first[attribute] - second[attribute]
            gap = usual[first["prompt"], first["response"]] - usual[second["prompt"], second["response"]]
            right.append(0.5 if truth == 0 or gap == 0 else float(truth * gap > 0))
    return sum(right) / len(right)


@pytest.mark.parametrize("attribute", ["helpfulness", "correctness", "coherence", "verbosity", "complexity"])
def test_ties_are_what_cannot_be_told(attribute):
    made = pairs(attribute)
    ties = sum(pair.tie for pair in made) / len(made)
    assert ties > 0
    assert best_accuracy(made, attribute) == pytest.approx(1 - ties / 2, abs=0.002)
    assert best_accuracy(made, attribute) >= knowing_judge(attribute) - 0.002
    assert best_accuracy([pair for pair in made if not pair.tie], attribute) > 0.999


def test_a_judge_that_knows_the_scores_reaches_it():
    assert knowing_judge("helpfulness") == pytest.approx(best_accuracy(pairs()), abs=0.001)


def test_garbled_by_no_change_at_all():
    mislabelled = PreferencePair(ASKED, chosen=PADDED, rejected=PLAIN)
    assert best_accuracy([mislabelled]) == 0
    assert (
        best_accuracy([mislabelled], "correctness") == 1
    )  # exact and padded tie there, so only garbled pairs are left
    assert best_accuracy([PreferencePair(ASKED, chosen=PLAIN, rejected=PADDED), mislabelled]) == 0.5


def test_padding():
    assert without_padding(PADDED) == PLAIN
    assert without_padding(PLAIN) is None
    padded = {row["response"]: row for row in ROWS if row["quality"] == "padded"}
    assert padded
    assert all(without_padding(text) for text in padded)
    assert not any(without_padding(row["response"]) for row in ROWS if row["quality"] != "padded")


def test_what_has_no_ceiling():
    with pytest.raises(CookbookError, match="no pairs were given"):
        best_accuracy([])
    with pytest.raises(CookbookError, match="attribute 'wit' is not scored here"):
        best_accuracy(pairs(), "wit")
