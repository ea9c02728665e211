"""Rubrics by name and by file; a file that breaks a rule is told which."""

import pickle

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.converters.helpsteer2 import SCORES
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric, own_rubrics

GOOD = {
    "name": "support",
    "version": 2,
    "task": "Judge it.",
    "principles": ["Be strict."],
    "levels": {0: "bad", 1: "good"},
}


def written(tmp_path, **changes):
    import yaml

    file = tmp_path / "rubric.yaml"
    given = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    file.write_text(yaml.safe_dump(given), encoding="utf-8")
    return file


def test_every_attribute_has_a_short_rubric_and_there_is_a_full_one():
    assert set(own_rubrics()) == {*SCORES, "full"}
    assert load_rubric() == load_rubric("helpfulness")
    for name in own_rubrics():
        rubric = load_rubric(name)
        assert (rubric.name, rubric.lowest, rubric.highest) == (name, 0, 4)
        assert rubric.title == f"{name} {rubric.version}"


def test_a_file_is_read_and_read_again_when_it_changes(tmp_path):
    import os

    file = written(tmp_path)
    assert load_rubric(file) == Rubric("support", 2, "Judge it.", ("Be strict.",), {0: "bad", 1: "good"})
    assert load_rubric(str(file)) is load_rubric(file)
    written(tmp_path, levels={2: "c", 0: "a", 1: "b"})
    os.utime(file, ns=(1, 1))
    assert list(load_rubric(file).levels) == [0, 1, 2]


def test_principles_may_be_left_out(tmp_path):
    assert load_rubric(written(tmp_path, principles=...)).principles == ()


def test_a_rubric_travels_to_another_process():
    assert pickle.loads(pickle.dumps(load_rubric("full"))) == load_rubric("full")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"principle": ["x"]}, "key 'principle' is none of a rubric's; did you mean 'principles'?"),
        ({"colour": 1}, "key 'colour' is none of a rubric's; a rubric has name, version, task, principles, levels"),
        ({"task": ...}, "key 'task' is missing; a rubric has name, version, task, principles, levels"),
        ({"task": "  "}, "task is '  ', but it must be text; write a sentence"),
        ({"name": 3}, "name is 3, but it must be text"),
        ({"version": "one"}, "version is 'one', but it counts the wordings from 1; write a whole number"),
        ({"version": 0}, "version is 0, but it counts the wordings from 1"),
        ({"version": True}, "version is True, but it counts the wordings from 1"),
        (
            {"principles": "Be strict."},
            "principles is 'Be strict.', but it is a list of sentences; begin each with '- '",
        ),
        ({"principles": [None]}, "principle 1 is None, but it must be text"),
        (
            {"levels": ["bad", "good"]},
            "levels is ['bad', 'good'], but it says what each score means; write 0: ..., 1: ...",
        ),
        ({"levels": {0: "bad"}}, "levels has 0, but a scale has 2 to 101 whole numbers without gaps"),
        ({"levels": {0: "bad", 2: "good"}}, "levels has 0, 2, but a scale has 2 to 101 whole numbers without gaps"),
        ({"levels": {0: "bad", 1.5: "good"}}, "levels has 1.5, but a score is a whole number"),
        ({"levels": {"0": "bad", 1: "good"}}, "levels has '0', but a score is a whole number"),
        ({"levels": {0: "bad", 1: None}}, "level 1 is None, but it must be text"),
        ({"levels": {}}, "levels has nothing, but a scale has 2 to 101 whole numbers"),
    ],
)
def test_a_file_that_breaks_a_rule(tmp_path, changes, sentence):
    file = written(tmp_path, **changes)
    with pytest.raises(CookbookError) as found:
        load_rubric(file)
    assert str(found.value).startswith(f"rubric {file}: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "it cannot be read as YAML"),
        ("just words", "it holds str, but a rubric is keys with values"),
        ("", "it holds NoneType, but a rubric is keys with values"),
    ],
)
def test_a_file_that_is_no_rubric(tmp_path, text, sentence):
    file = tmp_path / "rubric.yaml"
    file.write_text(text)
    with pytest.raises(CookbookError, match=sentence):
        load_rubric(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CookbookError, match="cannot be read as YAML"):
        load_rubric(file)


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(CookbookError, match=r"there is no rubric helpfullness; .* did you mean 'helpfulness'\?"):
        load_rubric("helpfullness")
    with pytest.raises(CookbookError, match="there is no rubric .*; give a YAML file, or a name: coherence, "):
        load_rubric(tmp_path / "nowhere.yaml")
