"""Options that contradict, attributes that nobody scored, converters that are not there: a sentence each."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward import registry
from cookbook_lib.data.reward.registry import (
    RewardOptions,
    check_reward_options,
    kind_for,
    register_reward_converter,
    reward_converter_named,
    user_turn,
    weights_from,
)


def test_a_converter_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "REWARD_CONVERTERS", {})

    @register_reward_converter("mine", kinds=("scores", "pairs"), uses=("aspect",))
    def from_mine(row, kind, options):
        """My rows."""

    mine = reward_converter_named("mine")
    assert (mine.convert, mine.about, mine.gather) == (from_mine, "My rows.", None)
    assert kind_for(mine, None) == "scores"
    assert kind_for(mine, "pairs") == "pairs"
    with pytest.raises(CookbookError, match="'theirs' is not known; choose one of mine"):
        reward_converter_named("theirs")


def test_a_kind_that_is_not_made(monkeypatch):
    converter = registry.RewardConverter("only", lambda row, kind, options: (), "", ("pairs",))
    with pytest.raises(CookbookError, match="'only' rows make pairs, and no scores; leave --kind out"):
        kind_for(converter, "scores")


def test_the_score_is_one_attribute_or_a_mix():
    scores = {"helpfulness": 3.0, "verbosity": 1.0}
    assert RewardOptions().score_of(scores, "helpfulness") == 3
    assert RewardOptions(aspect=(("verbosity", 1.0),)).score_of(scores, "helpfulness") == 1
    mix = RewardOptions(aspect=weights_from("helpfulness=0.65, verbosity=-0.4"))
    assert mix.score_of(scores, "helpfulness") == pytest.approx(0.65 * 3 - 0.4)
    with pytest.raises(CookbookError, match="aspect 'wit' is not scored here; choose from helpfulness, verbosity"):
        RewardOptions(aspect=weights_from("wit")).score_of(scores, "helpfulness")


def test_sums_that_are_equal_on_paper_are_equal():
    options = RewardOptions(aspect=weights_from("a=0.1,b=0.2"))
    assert options.score_of({"a": 1.0, "b": 1.0}, "a") == 0.3


@pytest.mark.parametrize(("text", "found"), [("", "''"), ("a=x", "'a=x'"), ("a,a=2", "'a,a=2'"), ("a=", "'a='")])
def test_weights_that_cannot_be_read(text, found):
    with pytest.raises(CookbookError, match=f"aspect {found}"):
        weights_from(text)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(ties="maybe"), "ties is 'maybe'"),
        (dict(min_gap=-1.0), "min gap is -1.0"),
        (dict(min_gap=float("nan")), "min gap is nan"),
    ],
)
def test_options_that_mean_nothing(options, sentence):
    with pytest.raises(CookbookError, match=sentence):
        RewardOptions(**options)


@pytest.mark.parametrize(
    ("kind", "options", "idle"),
    [
        ("pairs", dict(aspect=(("a", 1.0),)), "--aspect"),
        ("scores", dict(ties="keep"), "--ties"),
        ("scores", dict(min_gap=1.0), "--min-gap"),
    ],
)
def test_options_without_effect_are_errors(kind, options, idle):
    converter = registry.RewardConverter("rows", lambda row, kind, options: (), "", ("pairs", "scores"))
    with pytest.raises(CookbookError, match=f"{idle} has no effect on {kind} of 'rows' rows"):
        check_reward_options(converter, kind, RewardOptions(**options))
    check_reward_options(converter, "pairs", RewardOptions(ties="keep", min_gap=1.0))


def test_an_empty_question_is_refused():
    with pytest.raises(CookbookError, match="a prompt is not empty"):
        user_turn(" \n")
