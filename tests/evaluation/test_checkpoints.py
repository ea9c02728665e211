"""A model folder, its base, its run's data; and what is said when one of them is not there."""

import json

import pytest
import yaml

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.checkpoints import find_base, held_out_files, open_checkpoint


def model(folder, **origin):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if origin:
        (folder / "cookbook.json").write_text(json.dumps(origin))
    return folder


def test_a_path_that_is_not_there_is_answered_with_what_is(tmp_path):
    for name in ("best", "sft-final", "step_00000500"):
        model(tmp_path / "checkpoints" / name)
    with pytest.raises(
        CookbookError, match=r"best_model is not there; models under .*checkpoints: best, sft-final, step_0"
    ):
        open_checkpoint(tmp_path / "checkpoints" / "best_model")
    with pytest.raises(CookbookError, match=r"holds no config\.json, so no model; models under .*: best"):
        open_checkpoint(tmp_path / "checkpoints")


def test_a_place_without_any_model(tmp_path):
    with pytest.raises(CookbookError, match="is not there; there is no model under"):
        open_checkpoint(tmp_path / "no" / "such")


def test_a_long_list_is_cut(tmp_path):
    for i in range(15):
        model(tmp_path / f"step_{i:08}")
    with pytest.raises(CookbookError, match=r"step_00000011 and 3 more\.$"):
        open_checkpoint(tmp_path / "best_model")


def test_the_base_is_the_recorded_one_unless_given(tmp_path):
    base, other = model(tmp_path / "base"), model(tmp_path / "other")
    checkpoint = open_checkpoint(model(tmp_path / "best", base=str(base)))
    assert find_base(checkpoint, None) == (base, f"base: {base}, which this model was trained from")
    assert find_base(checkpoint, str(other))[0] == other
    with pytest.raises(CookbookError, match="nowhere is not there"):
        find_base(checkpoint, str(tmp_path / "nowhere"))


def test_without_a_base_it_says_so(tmp_path):
    gone = open_checkpoint(model(tmp_path / "a", base="/gone/model"))
    assert find_base(gone, None)[0] is None
    assert "/gone/model, which this model was trained from, is not there; give --base-path" in find_base(gone, None)[1]
    unknown = open_checkpoint(model(tmp_path / "b"))
    assert find_base(unknown, None)[0] is None
    assert "names none; give --base-path" in find_base(unknown, None)[1]


def test_a_broken_origin_is_an_error(tmp_path):
    folder = model(tmp_path / "a")
    (folder / "cookbook.json").write_text("[")
    with pytest.raises(CookbookError, match=r"cookbook\.json is no JSON object"):
        open_checkpoint(folder)


def test_the_run_names_the_held_out_data_also_through_a_link(tmp_path):
    run = tmp_path / "run"
    folder = model(run / "step_00000001")
    (tmp_path / "val.jsonl").write_text("{}")
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"val_files": str(tmp_path / "val.jsonl")}}))
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        assert held_out_files(open_checkpoint(path)) == [str(tmp_path / "val.jsonl")]
    (tmp_path / "val.jsonl").unlink()
    with pytest.raises(
        CookbookError, match=r"val\.jsonl, the validation data of this model's run, is not there; give --data"
    ):
        held_out_files(open_checkpoint(folder))


def test_no_run_no_data(tmp_path):
    with pytest.raises(CookbookError, match="no run beside it names held-out data; give it with --data FILE"):
        held_out_files(open_checkpoint(model(tmp_path / "a")))


def test_an_origin_that_is_no_object_is_an_error(tmp_path):
    folder = model(tmp_path / "a")
    for text, found in (
        ("[1]", r"it holds \[1\]"),
        ('[["base", "b"]]', r"it holds \[\['base'"),
        ("null", "it holds None"),
    ):
        (folder / "cookbook.json").write_text(text)
        with pytest.raises(CookbookError, match=rf"a/cookbook\.json is no JSON object \({found}.*; delete it"):
            open_checkpoint(folder)


FOREIGN = [
    ("- a\n", r"it is \['a'\], but in the config of a run it is keys"),
    ("data: imagenet\n", "data is 'imagenet', but in the config of a run it is keys"),
    ("a: [\n", r"cannot be read as YAML \(while parsing"),
    ("data: {val_files: 3}\n", r"data\.val_files is 3, but it names files"),
]


@pytest.mark.parametrize(("text", "sentence"), FOREIGN)
def test_another_programs_config_concerns_nobody_until_the_run_is_asked_for(text, sentence, tmp_path):
    checkpoint = open_checkpoint(model(tmp_path / "best"))
    (tmp_path / "config.yaml").write_text(text)
    assert find_base(checkpoint, None)[0] is None
    with pytest.raises(CookbookError, match=rf"config\.yaml:? {sentence}.*; correct it, or keep the model in a folder"):
        held_out_files(checkpoint)


def test_a_run_without_a_section(tmp_path):
    (tmp_path / "config.yaml").write_text("data:\njudge: {}\n")
    checkpoint = open_checkpoint(model(tmp_path / "best"))
    for names in (("data",), ("data", "multiturn"), ("judge",), ("rollout",)):
        assert checkpoint.section(*names) == {}
    with pytest.raises(CookbookError, match="no run beside it names held-out data"):
        held_out_files(checkpoint)
