"""The measurement of SFT as a start, in its smallest setting: it runs, goes on where it stopped, and writes what it found."""

import json
import sys

import pytest

from cookbook_lib.config.places import HOME
from cookbook_lib.display import arms, saved_arms
from cookbook_lib.parallel.mesh import leave_world

sys.path.insert(0, str(HOME / "scripts"))
import measure_sft_first
import sft_first_report
import sft_first_world

SMALLEST = [*("--sizes", "8", "--seeds", "1", "--rates", "1e-3", "--steps", "2", "--prompts", "12", "--judgements", "6"),
            *("--sft-steps", "2", "--held-out", "12", "24", "--questions", "2")]  # fmt: skip


@pytest.fixture(autouse=True)
def _world(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield
    leave_world()


@pytest.mark.slow
def test_the_smallest_setting_runs_and_a_second_time_only_reads(tmp_path, capsys, monkeypatch):
    command = [*SMALLEST, "--folder", str(tmp_path / "runs"), "--write", str(tmp_path / "docs" / "page")]
    assert measure_sft_first.main(command) == 0
    lines = (tmp_path / "runs" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 3, "two SFT models, three reward models; the tried rate is the grid's"
    content = json.loads((tmp_path / "docs" / "page.json").read_text())
    assert {point["arm"] for point in content["figure"]["points"]} == set(sft_first_report.NAMES.values())
    assert all(0 <= point["value"] <= 1 and point["low"] is None for point in content["figure"]["points"])
    assert {row["pairs"] for row in content["differences"]} == {8, None}, "None: over all sizes"
    assert "random weights, 8 pairs" in str(saved_arms(tmp_path / "docs" / "page.json"))
    assert (tmp_path / "docs" / "page.svg").read_text().startswith("<?xml")
    page = tmp_path / "docs" / "page.md"
    page.write_text(page.read_text() + "\nNothing, at two steps.\n")
    monkeypatch.setattr(measure_sft_first, "run", lambda task, folder: pytest.fail(f"ran again: {task}"))
    assert measure_sft_first.main(command) == 0
    assert page.read_text().endswith("## What it says\n\nNothing, at two steps.\n"), "what somebody wrote is kept"
    assert len((tmp_path / "runs" / "results.jsonl").read_text().splitlines()) == 5


def test_pairs_are_classed_by_what_decides_them():
    pairs = sft_first_world.drawn_pairs(600, seed=3)
    by_class = {name: [p for p in pairs if p.of_class == name] for name in (*sft_first_world.CLASSES, None)}
    assert all(len(members) > 10 for members in by_class.values())
    assert all(p.by_form == 1.0 for p in by_class["form"]), "the look decides them"
    assert all(p.by_form == 0.0 for p in by_class[None]), "the look misleads, and they are left out"
    facts = by_class["recall"] + by_class["reading"]
    assert {quality for p in facts for quality in p.qualities} == {"exact", "partly", "wrong"}
    assert {p.kind for p in by_class["reading"]} == {"reading"}


def test_half_of_the_pairs_need_a_fact():
    halved = sft_first_world.halved(sft_first_world.drawn_pairs(100, seed=3))
    trained = sft_first_world.training_pairs(41, 3, frozenset())
    for pairs, form in ((halved, len(halved) // 2), (trained, 20)):
        assert sum(p.of_class == "form" for p in pairs) == form
        assert None not in {p.of_class for p in pairs}


def test_prompts_of_held_out_pairs_are_in_no_training_data():
    held_out = {p.prompt for p in sft_first_world.drawn_pairs(400, seed=1)}
    chats, judgements = sft_first_world.conversations(300, 5, held_out)
    assert len(chats) > 100 and len(judgements) == 900
    assert not held_out & {chat.messages[0]["content"] for chat in chats if len(chat.messages) == 2}
    assert not held_out & {p.prompt for p in sft_first_world.training_pairs(300, 2, held_out)}


def test_the_chosen_rate_is_the_best_on_validation_and_the_lowest_of_equals():
    trials = [{"arm": arm, "lr": lr} for arm in ("a", "b") for lr in (1e-4, 1e-3, 1e-2)]
    found = [{"val": value} for value in (0.6, 0.7, 0.7, 0.9, 0.5, 0.8)]
    assert measure_sft_first.best_rates(trials, found) == {"a": 1e-3, "b": 1e-4}


def test_an_interval_over_seeds_is_students():
    found = sft_first_report.interval([0.5, 0.6, 0.7])
    assert found["value"] == pytest.approx(0.6)
    assert found["high"] - found["value"] == pytest.approx(4.303 * 0.1 / 3**0.5)
    assert sft_first_report.interval([0.5]) == {"value": 0.5, "low": None, "high": None}


def test_a_panel_shows_its_points_intervals_and_references():
    points = [
        {"arm": "a", "pairs": n, "panel": "p", "value": 0.5, "low": 0.4, "high": 0.6, "seeds": [0.5]} for n in (8, 64)
    ]
    picture = arms(points, panels={"p": "all"}, references={"best possible": {"p": 1.0}}, title="T")
    assert str(picture) == "T\nall: a, 8 pairs: 50.0% [40.0%, 60.0%]; a, 64 pairs: 50.0% [40.0%, 60.0%]"
    svg = picture.render("svg").decode()
    assert svg.startswith("<?xml")
