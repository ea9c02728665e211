"""Trees whose replies were ranked: every pair, its path as the prompt, and the sentence for what is no tree."""

import gzip
import json

import pytest

from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.reward.converters.oasst import from_tree
from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.data.reward.registry import RewardOptions


def node(text, role="prompter", replies=(), **fields):
    return {"message_id": text, "text": text, "role": role, "lang": "en", "replies": list(replies)} | fields


def answers(*texts, **fields):
    return [node(text, "assistant", rank=rank, **fields) for rank, text in enumerate(texts)]


def pairs(prompt, **options):
    return list(from_tree({"message_tree_id": "t", "prompt": prompt}, "pairs", RewardOptions(**options)))


def spoken(pair):
    return [(message["role"], message["content"]) for message in pair.prompt]


def test_every_pair_of_a_ranking_with_its_distance():
    made = pairs(node("Why?", replies=answers("a", "b", "c")[::-1]))
    assert [(pair.chosen, pair.rejected, pair.margin) for pair in made] == [("a", "b", 1), ("a", "c", 2), ("b", "c", 1)]
    assert {pair.source for pair in made} == {"oasst"}
    assert not any(pair.tie for pair in made)


def test_the_path_from_the_root_is_the_prompt_and_the_tree_is_one_group():
    first = answers("a", "b")
    first[1]["replies"] = [node("And then?", replies=answers("c", "d"))]
    above, below = pairs(node("Why?", replies=first))
    assert spoken(above) == [("user", "Why?")]
    assert spoken(below) == [("user", "Why?"), ("assistant", "b"), ("user", "And then?")]
    assert (below.chosen, below.rejected) == ("c", "d")
    assert above.group == below.group


def test_equal_ranks_tie():
    (pair,) = pairs(node("Why?", replies=[node(text, "assistant", rank=1) for text in "ab"]))
    assert pair.tie
    assert pair.margin is None


@pytest.mark.parametrize("fields", [{"rank": None}, {"deleted": True}, {"review_result": False}])
def test_replies_that_nobody_ranked_are_left_out(fields):
    out = node("x", "assistant", **{"rank": 2} | fields)
    assert [(pair.chosen, pair.rejected) for pair in pairs(node("Why?", replies=[*answers("a", "b"), out]))] == [
        ("a", "b")
    ]


def test_questions_are_not_answers():
    asked = [node("What?", rank=0), node("Who?", rank=1)]
    with pytest.raises(RowSkipped, match="no two replies of the tree are ranked"):
        pairs(node("Why?", replies=[node("a", "assistant", replies=asked)]))


def test_the_same_text_twice_costs_one_pair_and_not_the_tree():
    made = pairs(node("Why?", replies=answers("a", "a", "b")))
    errors = [pair for pair in made if isinstance(pair, RowError)]
    assert [error.rule for error in errors] == ["the two answers of a pair differ"]
    assert [(pair.chosen, pair.rejected) for pair in made if isinstance(pair, PreferencePair)] == [("a", "b")] * 2


def test_language():
    tree = node("Warum?", replies=answers("a", "b"), lang="de")
    assert len(pairs(tree, language="de")) == 1
    with pytest.raises(RowSkipped, match="not in language en"):
        pairs(tree, language="en")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"message_id": "m", "parent_id": None, "text": "Why?"},
            r"prompt is missing, but a row is a tree.*_ready.trees",
        ),
        ({"prompt": "Why?"}, "prompt is 'Why\\?', but a row is a tree"),
        ({"prompt": node("Why?", role="human")}, "prompt.role is 'human', but a role is one of prompter, assistant"),
        ({"prompt": node("Why?", replies=[node(None, "assistant")])}, r"prompt.replies\[0\].text is None"),
        ({"prompt": node("Why?") | {"replies": "none"}}, "prompt.replies is 'none', but replies are a list"),
        ({"prompt": node("Why?", replies=[node("a", "assistant", rank="first")])}, r"replies\[0\].rank is 'first'"),
        ({"prompt": node("Why?", replies=[node("a", "assistant", rank=-1)])}, r"rank is -1, but it must lie between"),
    ],
)
def test_rows_that_are_no_trees(row, sentence):
    with pytest.raises(RowError, match=sentence):
        list(from_tree(row, "pairs", RewardOptions()))


def test_the_published_trees(real_data):
    """212 ranked groups among 1,167 messages, and 754 pairs in order."""
    with gzip.open(real_data / "oasst/en_100_tree.jsonl.gz", "rt", encoding="utf-8") as lines:
        trees = [json.loads(line) for line in lines]
    made, skipped = [], 0
    for tree in trees:
        try:
            made += from_tree(tree, "pairs", RewardOptions(language="en"))
        except RowSkipped:
            skipped += 1
    assert len(made) == 754
    assert all(isinstance(pair, PreferencePair) and not pair.tie and pair.margin >= 1 for pair in made)
    assert len({json.dumps(pair.prompt) for pair in made}) == 212
    assert len({pair.group for pair in made}) == len(trees) - skipped
