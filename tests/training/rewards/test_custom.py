"""A user's reward: one function in a file, and every way in which it can be wrong."""

import re

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import RewardConfig
from cookbook_lib.training.rewards import open_reward
from tests.training.rewards.samples import score

SAMPLES = [
    score("Score: 3", 3, row=11, tokens=4),
    score("None of it.", 3, row=12, tokens=2),
    score("Score: 1", 3, row=13),
]


@pytest.fixture
def reward_of(tmp_path):
    def make(source, functions=("custom",), name="mine", **fields):
        path = tmp_path / "my_reward.py"
        path.write_text(source)
        config = RewardConfig(functions=list(functions), custom=f"{path}:{name}", **fields)
        return open_reward(config, max_new_tokens=8)

    return make


def test_one_function(reward_of):
    reward = reward_of("def mine(samples):\n    return [len(s.text) + s.task.truth for s in samples]\n")
    assert reward(SAMPLES).total.tolist() == [11, 14, 11]


def test_another_text_of_the_same_file_is_another_version(reward_of):
    """What a round has earned is known by it: the path alone says nothing."""
    one, again, other = (
        reward_of(f"def mine(samples):\n    return [{paid} for s in samples]\n") for paid in ("1.0", "1.0", "-1.0 + 2")
    )
    assert one.version == again.version != other.version
    assert open_reward(RewardConfig(functions=["exact"]), max_new_tokens=8).version.startswith("rewards ")


def test_beside_ours_with_a_weight(reward_of):
    source = "def mine(samples):\n    return [s.tokens for s in samples]\n"
    result = reward_of(source, ["exact", "custom"], weights=[1.0, 0.5])(SAMPLES)
    assert result.total.tolist() == [3.0, 0.0, 0.0]
    assert result.parts["custom"].tolist() == [4, 2, 0]
    assert result.parsed.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "returned",
    [
        "[1, 0.5, None]",
        "(1.0, 0.5, None)",
        "[True, 0.5, None]",
        "[np.float32(1), np.float64(0.5), None]",
        "[torch.tensor(1.0), np.array(0.5), None]",
    ],
)
def test_numbers_of_any_kind_and_none(reward_of, returned):
    result = reward_of(f"import numpy as np, torch\ndef mine(samples):\n    return {returned}\n")(SAMPLES)
    assert (result.total.tolist(), result.parsed.tolist()) == ([1.0, 0.5, 0.0], [True, True, False])


@pytest.mark.parametrize("returned", ["np.arange(3.0)", "np.arange(3)", "torch.arange(3.0, requires_grad=True)"])
def test_arrays_and_tensors(reward_of, returned):
    result = reward_of(f"import numpy as np, torch\ndef mine(samples):\n    return {returned}\n")(SAMPLES)
    assert result.total.tolist() == [0.0, 1.0, 2.0]


def test_a_declared_lowest_is_what_none_earns(reward_of):
    reward = reward_of("def mine(samples):\n    return [-0.5, None, 2]\nmine.lowest = -2\n")
    assert reward(SAMPLES).total.tolist() == [-0.5, -2.0, 2.0]


def test_what_a_function_does_to_its_list_is_its_own(reward_of):
    samples = list(SAMPLES)
    reward_of("def mine(samples):\n    samples.clear()\n    return [0, 0, 0]\n")(samples)
    assert samples == SAMPLES


def test_a_class_of_the_users_own(reward_of):
    """Dataclasses look their module up while they are made."""
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Rule:\n    weight: float = 2.0\n"
        "def mine(samples):\n    return [Rule().weight for _ in samples]\n"
    )
    assert reward_of(source)(SAMPLES).total.tolist() == [2.0, 2.0, 2.0]


# -------------------------------------------------------------------------------------------------------- what it says

WRONG = {
    "raises": ("return [1 / (i - 1) for i, _ in enumerate(samples)]", "line 2, raises ZeroDivisionError: .* for 3 samples"),
    "raises for one": (
        "return [int(s.text[-1]) for s in samples]",
        r"line 2, raises ValueError: .* for sample 1 \(scores.jsonl row 12, text 'None of it.'\); mend the function",
    ),
    "raises without a word": ("raise KeyError", "raises KeyError for sample 0"),
    "nan": ("return [0, float('nan'), 1]", r"returned nan for sample 1 \(scores.jsonl row 12, .*finite number that fp32 can"),
    "infinity": ("return [0, 1, float('inf')]", "returned inf for sample 2"),
    "beyond fp32": ("return [1e39, 0, 0]", r"returned 1e\+39 for sample 0"),
    "beyond floats": ("return [10**400, 0, 0]", "returned inf for sample 0"),
    "too few": ("return [1, 2]", "returned 2 values for 3 samples, .* one for each, in their order"),
    "too many": ("return [1, 2, 3, 4]", "returned 4 values for 3 samples"),
    "nothing": ("pass", "returned None of type NoneType, .* a list, one number or None for each"),
    "one number": ("return 1.0", "returned 1.0 of type float, .* a list"),
    "a text": ("return 'abc'", "returned 'abc' of type str"),
    "a set": ("return {1, 2, 3}", "of type set"),
    "a generator": ("return (1 for s in samples)", "of type generator"),
    "a promise": ("yield 1", "of type generator"),
    "a text among the numbers": ("return [1, '2', 3]", "returned '2' of type str for sample 1"),
    "a list among them": ("return [1, [2], 3]", r"returned \[2\] of type list for sample 1"),
    "a matrix": ("import numpy; return numpy.ones((3, 2))", r"returned \[1.0, 1.0\] of type list for sample 0"),
    "complex": ("return [1j, 0, 0]", "returned 1j of type complex for sample 0"),
    "below its lowest": ("return [0, -0.5, 1]", r"returned -0.5 for sample 1 .* nothing below its lowest, 0; .*mine.lowest = -0.5"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_what_it_returns_is_checked(reward_of, tmp_path, body, message):
    reward = reward_of(f"def mine(samples):\n    {body}\n")
    place = f"^reward.custom={re.escape(str(tmp_path))}/my_reward.py:mine"
    with pytest.raises(CookbookError, match=f"{place},? .*{message}"):
        reward(SAMPLES)


def test_the_line_is_the_deepest_of_the_users_file(reward_of):
    source = "import json\ndef inner(text):\n    return json.loads(text)\ndef mine(samples):\n    return [inner(s.text) for s in samples]\n"
    with pytest.raises(CookbookError, match="my_reward.py:mine, line 3, raises JSONDecodeError: .* for sample 0"):
        reward_of(source)(SAMPLES)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def my(samples):\n    return []\n", "has no function mine; did you mean my?"),
        ("mine = 3\n", "has no function mine; it defines no function at all"),
        ("class mine:\n    pass\n", "has no function mine"),
        ("from json import loads as mines\n", "it defines no function at all"),
        ("def mine(samples:\n", "line 1, raises SyntaxError"),
        ("import json\nimport no_such_module_at_all\n", "line 2, raises ModuleNotFoundError: No module named 'no_such"),
        ("x = 1\nassert x == 2\n", "line 2, raises AssertionError"),
        ("def mine(s):\n    return [0]\nmine.lowest = 'low'\n", "mine.lowest is 'low', but it is the least"),
        ("def mine(s):\n    return [0]\nmine.lowest = float('nan')\n", "mine.lowest is nan, but it is the least"),
    ],
)
def test_a_file_that_does_not_do(reward_of, source, message):
    with pytest.raises(CookbookError, match=message):
        reward_of(source)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my_reward", "names a file and a function in it: path/to/file.py:function"),
        ("my_reward.py", "names a file and a function"),
        ("my_reward.py:", "names a file and a function"),
        ("my_reward.py:a b", "names a file and a function"),
        ("no/such/my_reward.py:mine", "there is no file .*no/such/my_reward.py; correct the path"),
    ],
)
def test_a_place_that_is_none(place, message):
    with pytest.raises(CookbookError, match=message):
        open_reward(RewardConfig(functions=["custom"], custom=place), max_new_tokens=8)
