"""A round's file: it comes back to the bit, says what it was made of, and is whole or not there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.completions import COLUMNS
from cookbook_lib.training.rollouts.store import Round, read_round, round_file, write_round
from tests.training.rollouts.test_rounds import maker_of


@pytest.fixture(scope="module")
def made():
    chosen, answered, seconds = maker_of(filter_groups=True).make(3)
    return Round(3, tuple(one.group for one in chosen), seconds, "settings", 77), answered


def test_it_comes_back_to_the_bit(made, tmp_path: Path) -> None:
    round_, answered = made
    path = round_file(tmp_path, 3)
    write_round(path, round_, answered)
    found = read_round(path)
    assert path == tmp_path / "rollouts" / "round_00000003.parquet"
    assert (found.number, found.seconds, found.settings, found.weights) == (3, round_.seconds, "settings", 77)
    assert len(found.groups) == len(round_.groups) < len(answered)
    for own, other in zip(found.groups, round_.groups, strict=True):
        assert (own.row, own.number, own.finished) == (other.row, other.number, other.finished)
        assert np.array_equal(own.prompt, other.prompt) and own.prompt.dtype == np.int32
        assert own.stats.keys() == other.stats.keys() and own.columns.keys() == other.columns.keys()
        for name, numbers in other.stats.items():
            np.testing.assert_array_equal(own.stats[name], numbers, err_msg=name)
        for name, column in other.columns.items():
            for x, y in zip(own.columns[name], column, strict=True):
                assert x.dtype == y.dtype == np.float32 and x.tobytes() == y.tobytes()
        for x, y in zip(own.completions, other.completions, strict=True):
            assert x.dtype == np.int32 and np.array_equal(x, y)


def test_it_can_be_looked_at(made, tmp_path: Path) -> None:
    round_, answered = made
    write_round(tmp_path / "round.parquet", round_, answered)
    table = pd.read_parquet(tmp_path / "round.parquet")
    assert len(table) == 4 * len(answered)
    assert list(table.columns[:7]) == ["round", "group", "row", "data_source", "truth", "prompt", "completion"]
    kept = table[table.kept]
    assert set(kept.group) == {group.number for group in round_.groups}
    assert (table[~table.kept].row % 2 == 0).all() and table[~table.kept].old_logps.isna().all()
    assert table[~table.kept].reward.notna().all(), "what is left out can be looked at as well"
    assert table.completion[0] == answered[0].texts[0] and table.truth[0] == '"even"'
    assert {"reward", "parsed", "finished", "length", "mismatch"} <= set(table.columns)
    assert set(COLUMNS) & set(table.columns) == {"advantages", "old_logps", "ref_logps", "rollout_logps"}


def test_a_truth_that_is_no_text_is_spelled(made, tmp_path: Path) -> None:
    """Half a surrogate pair, as a JSON file may have it: the round is kept all the same."""
    round_, answered = made
    task = replace(answered[0].task, truth="half \ud83d, whole é")
    write_round(tmp_path / "round", round_, [replace(answered[0], task=task), *answered[1:]])
    told = pd.read_parquet(tmp_path / "round").truth[0]
    assert told == '"half \\ud83d, whole é"' and json.loads(told) == task.truth


def test_a_file_that_is_none_is_none(made, tmp_path: Path) -> None:
    path = tmp_path / "round.parquet"
    assert read_round(path) is None
    write_round(path, *made)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_round(path) is None
    path.write_bytes(b"")
    assert read_round(path) is None
    pd.DataFrame({"a": [1]}).to_parquet(path)
    assert read_round(path) is None


def test_nothing_is_left_of_a_write_that_failed(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cookbook_lib.training.rollouts.store.pq.write_table", full)
    with pytest.raises(CookbookError, match=r"round.parquet cannot be written \(No space left on device\): make room"):
        write_round(tmp_path / "round.parquet", *made)
    assert list(tmp_path.iterdir()) == []
