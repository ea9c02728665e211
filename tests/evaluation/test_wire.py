"""Any JSON is read or refused in a sentence; what outputs mean on the wire."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation import wire
from cookbook_lib.evaluation.score_model import Scored, ScoringModel
from cookbook_lib.models.score_head import ScoreHead

ATOMS = st.none() | st.booleans() | st.integers(-5, 500) | st.floats(allow_nan=False) | st.text(max_size=5)
WORDS = st.sampled_from(["user", "assistant", "robot", "What?", "\ud800", "<|im_end|>"])
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "name", "tool_calls", "weight"]), WORDS | ATOMS, max_size=4
)
VALUE = st.recursive(ATOMS | MESSAGE, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
NAMES = ["input", "messages", "text_1", "text_2", "queries", "documents", "model", "use_activation", "task", "other"]
BODY = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=3) | VALUE


@pytest.fixture(scope="module")
def model(reward_folder):
    return ScoringModel(reward_folder)


@settings(deadline=None, max_examples=300)
@given(body=BODY)
def test_any_json_is_scored_or_refused_in_a_sentence(model, body):
    body = json.loads(json.dumps(body))
    for read in (wire.read_inputs, wire.read_scores):
        try:
            asked = read(body)
        except wire.Refused as refusal:
            assert refusal.status == 400 and str(refusal).endswith(".")
            assert json.dumps(wire.problem(str(refusal), 400, refusal.param))
            continue
        for found in model.attempt(asked.conversations):
            assert isinstance(found, Scored | CookbookError)


def test_probabilities_are_of_what_has_some():
    raw = torch.tensor([[0.3, -1.0, 2.0, 0.5]])
    assert wire.activated(ScoreHead("regression", tuple("abcd")), raw).tolist() == raw.tolist()
    assert wire.activated(ScoreHead("ordinal", ("a",), 0, 4), raw).tolist() == raw.sigmoid().tolist()
    two = wire.activated(ScoreHead("classification", ("a", "b"), 0, 1), raw)[0]
    assert [two[:2].sum().item(), two[2:].sum().item()] == pytest.approx([1, 1])
    assert two[:2].tolist() == pytest.approx(raw[0, :2].softmax(0).tolist())
    one = raw[:, :1]
    assert wire.activated(ScoreHead(), one).tolist() == one.sigmoid().tolist()
    assert wire.activated(ScoreHead(), one, "regression").tolist() == one.tolist()
    foreign = ScoreHead("regression", tuple("abcd"))
    assert wire.activated(foreign, raw, "single_label_classification")[0].tolist() == raw[0].softmax(0).tolist()
    assert wire.activated(foreign, raw, "multi_label_classification").tolist() == raw.sigmoid().tolist()


def test_the_label_is_of_the_largest_output():
    head = ScoreHead("classification", ("quality",), 0, 2)
    asked = wire.Asked(("x",), ("input",), activation=False)
    rows = wire.outputs(asked, [Scored({"quality": 1.1}, (0.0, 2.0, 1.0), 3)], head, None)
    (item,) = wire.classify_response(rows, head.labels)
    assert item == {"index": 0, "label": "quality=1", "probs": [0.0, 2.0, 1.0], "num_classes": 3}
