"""The catalogue of keys: complete, documented, and each with a rule or a type that can refuse something."""

import ast
import subprocess
import sys

from cookbook_lib.config.keys import ALIASES, ALL_RECIPES, ELSEWHERE, SYNONYMS, catalogue, describe, sections
from cookbook_lib.config.layers import LAUNCHER
from cookbook_lib.config.rules import RANGES
from cookbook_lib.config.show import reference_page
from cookbook_lib.config.verl_names import COMPUTED, FIXED, NAMES, SEVERAL


def test_every_key_has_a_documentation_line():
    assert [key.name for key in catalogue().values() if len(key.doc) < 15] == []


def test_every_name_that_points_at_a_key_finds_one():
    names = {
        *ALIASES.values(),
        *LAUNCHER.values(),
        *RANGES,
        *ELSEWHERE.values(),
        *NAMES.values(),
        *sum(SEVERAL.values(), ()),
        *(key for key, _ in SYNONYMS),
    }
    names |= {key for found in COMPUTED.values() for key in (found.key, found.other)}
    assert names - set(catalogue()) == set()
    tables = [ALIASES, NAMES, SEVERAL, COMPUTED, FIXED]
    assert not set().union(*tables) & set(catalogue())
    assert len(set().union(*tables)) == sum(map(len, tables)), "a name with two meanings"


def test_sections():
    assert {"model", "model.fsdp_config", "data.multiturn"} < sections()


def test_keys_of_one_recipe_and_defaults_that_differ():
    keys = catalogue()
    assert keys["data.chosen_key"].recipes == ("bradley_terry", "dpo")
    assert keys["rollout.n"].recipes == ("generative_pointwise", "generative_pairwise")
    assert keys["pointwise.loss"].recipes == ("pointwise",)  # its section's
    assert keys["data.multiturn.messages_key"].recipes == ("sft",)
    assert keys["optim.lr"].recipes == ALL_RECIPES
    assert [keys["data.truncation"].default_in(recipe) for recipe in ("sft", "pointwise", "dpo")] == [
        "right",
        "turns",
        "turns",
    ]
    assert keys["reward.functions"].default_in("generative_pairwise") == ["correct"]


def test_types_in_words():
    assert describe(int | None) == "a whole number or null"
    assert describe(str | list[str]) == "text or a list of text"
    assert describe(tuple[float, float]) == "a list of 2 numbers"
    assert describe(list[float]) == "a list of numbers"


def test_the_reference_page_is_the_one_committed(home):
    assert (home / "docs/reference/config.md").read_text() == reference_page()


def test_the_reference_page_lists_every_other_spelling_of_a_value():
    page = reference_page()
    assert all(f"| `{key}` | `{value}` | `" in page for key, value in SYNONYMS)
    assert "| `algorithm.kl_loss_type` | `low_var_kl` | `k3` |" in page
    assert "| `optim.warmup_steps` | `-1` | `null` |" in page


def test_every_number_has_a_range():
    numbers = {key.name for key in catalogue().values() if key.type in (int, float, int | None, float | None)}
    any_number = {
        "pointwise.lowest",
        "pointwise.highest",
        "judge.lowest",
        "judge.highest",
    }  # their order is what matters: test_recipe_rules.py
    assert numbers - set(RANGES) == any_number


def test_loading_a_config_needs_no_torch():
    code = "import sys; from cookbook_lib.config import load_config; load_config('sft'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


# Only one value of these is accepted, and the rules refuse every other.
ONE_VALUE = {
    "model.strategy",
    "data.multiturn.enable",
    "trainer.default_hdfs_dir",
}


def test_every_key_is_read_by_somebody(home):
    """A key that is accepted and never read is a lie to whoever set it."""
    read = {
        node.attr
        for path in (home / "cookbook_lib").rglob("*.py")
        if path.parent.name != "config"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    unread = {name for name in catalogue() if name.rsplit(".", 1)[-1] not in read}
    assert sorted(unread - ONE_VALUE) == []
