"""RMB: pairs and the best of n, four quarters that count alike."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.benchmarks import RMB, evaluate
from tests.evaluation.benchmarks.rows import Compared, Scored, loaded, rmb_best, rmb_pair, values


def test_the_best_of_n_must_beat_every_loser(tmp_path):
    said = {"+1": 2, "-1.0": 1, "-1.1": 0, "+2": 2, "-2.0": 1, "-2.1": 3, "+3": 2, "-3.0": 2, "-3.1": 0}
    items = loaded(RMB, [rmb_best(n) for n in (1, 2, 3)], tmp_path)
    assert evaluate(Scored(lambda text: float(said[text])), RMB, items).value == pytest.approx(1 / 3)
    compared = Compared(lambda a, b: "A" if said[a] > said[b] else "B" if said[a] < said[b] else "tie")
    result = evaluate(compared, RMB, items)
    assert (result.value, result.asked) == (pytest.approx(1 / 3), 6)


def test_the_overall_is_the_mean_of_four_quarters(tmp_path):
    rows = [rmb_pair(n) for n in range(6)] + [rmb_best(9)]
    rows += [rmb_pair(n, "Harmlessness/S1") for n in (20, 21)] + [rmb_best(22, path="Harmlessness/S2")]
    judge = Scored(lambda text: float(text.startswith("+") == (text in {"+9", "-9.0", "-9.1", "+20", "-20"})))
    result = evaluate(judge, RMB, loaded(RMB, rows, tmp_path))
    found = values(result)
    quarters = {
        "Helpfulness best of n": 1,
        "Helpfulness pairs": 0,
        "Harmlessness best of n": 0,
        "Harmlessness pairs": 0.5,
    }
    assert {name: found[name] for name in quarters} == quarters
    assert result.value == pytest.approx(1.5 / 4)
    assert found["Harmlessness pairs/S1"] == 0.5
    assert found["Helpfulness pairs/Chat"] == 0
    assert result.notes == ()


def test_what_is_missing_is_said(tmp_path):
    notes = evaluate(Scored(lambda text: 0.0), RMB, loaded(RMB, [rmb_pair(1)], tmp_path)).notes
    expected = (
        "without Helpfulness best of n, Harmlessness best of n, Harmlessness pairs: the overall is the mean of what is"
    )
    assert notes == (f"{expected} there",)


def test_the_prompt_is_the_conversation(tmp_path):
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    row = rmb_pair(1) | {"conversation_input": [{"role": r, "content": c, "language": "English"} for r, c in turns]}
    (item,) = loaded(RMB, [row], tmp_path)
    assert [(message["role"], message["content"]) for message in item.prompt] == turns
    assert all(set(message) == {"role", "content"} for message in item.prompt)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({k: v for k, v in rmb_pair(1).items() if k != "reject"}, "reject is missing"),
        ({k: v for k, v in rmb_pair(1).items() if k != "chosen"}, "a row has chosen and reject, or bon_best and loser"),
        (rmb_best(1) | {"loser_list": []}, "loser_list is .., but in RMB it is a list of at least one"),
        (
            rmb_best(1) | {"loser_list": ["text"]},
            r"loser_list.0. is 'text', but in RMB it is an object with an `answer`",
        ),
        (
            rmb_pair(1) | {"category_path": "BoN_set/Helpfulness/Chat"},
            "here it is Pairwise_set/Helpfulness or Harmless",
        ),
        (rmb_pair(1) | {"conversation_input": []}, "conversation_input: messages is"),
        (rmb_pair(1) | {"conversation_input": "Hi"}, "conversation_input is 'Hi', but in RMB it is a list of"),
        (
            rmb_pair(1) | {"conversation_input": [{"role": "assistant", "content": "Hi"}]},
            "a prompt ends with the user's turn",
        ),
    ],
)
def test_rows_that_break_the_format(tmp_path, row, sentence):
    with pytest.raises(CookbookError, match=sentence):
        loaded(RMB, [row], tmp_path)
